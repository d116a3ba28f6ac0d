"""deploy/envoy.yaml for other places: the file is read, some values are set, and nothing else is changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.addresses import EVERY_ADDRESS, name_origin
from deploy.descriptor import DESCRIPTOR

TEMPLATE = Path(__file__).with_name("envoy.yaml")
Node = Any  # a part of the parsed file


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is. Hosts are addresses of this machine, ports are above 0, `page` is an absolute folder.

    `sockets` are those of the server's workers, where it has several: then Envoy calls them, and not the port that they share.
    """

    page_host: str
    page_port: int
    admin_port: int
    server_host: str
    server_port: int
    page: Path
    origins: tuple[str, ...]
    max_message_bytes: int
    sockets: tuple[str, ...] = ()


def make_bootstrap(places: Places) -> str:
    """Envoy's configuration, as text of a YAML file."""
    root: Node = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    listener = root["static_resources"]["listeners"][0]
    cluster = root["static_resources"]["clusters"][0]
    servers = cluster["load_assignment"]["endpoints"][0]
    _set_address(root["admin"], "127.0.0.1", places.admin_port)
    _set_address(listener, places.page_host, places.page_port)
    _set_address(servers["lb_endpoints"][0]["endpoint"], places.server_host, places.server_port)
    if places.sockets:
        servers["lb_endpoints"] = [{"endpoint": {"address": {"pipe": {"path": path}}}} for path in places.sockets]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    _set_filters({each["name"]: each["typed_config"] for each in manager["http_filters"]}, places)
    _set_routes(manager["route_config"]["virtual_hosts"][0], places)
    return yaml.safe_dump(root, sort_keys=False)


def list_origins(host: str, port: int, more: tuple[str, ...]) -> tuple[str, ...]:
    """The page's own origins, as a browser on this machine names them, and the further ones."""
    names = (EVERY_ADDRESS.get(host, host), "127.0.0.1", "localhost")
    return tuple(dict.fromkeys([*(name_origin(name, port) for name in names), *more]))


def _set_address(node: Node, host: str, port: int) -> None:
    node["address"]["socket_address"] = {"address": host, "port_value": port}


def _set_filters(filters: dict[str, Node], places: Places) -> None:
    listed = filters["envoy.filters.http.rbac"]["rules"]["policies"]["listed-page"]
    matches = [{"header": {"name": "origin", "string_match": {"exact": origin}}} for origin in places.origins]
    listed["permissions"] = [{"or_rules": {"rules": matches}}]
    transcoder = filters["envoy.filters.http.grpc_json_transcoder"]
    transcoder["proto_descriptor"] = str(DESCRIPTOR)
    for name, limit in (("whole", "max_request_bytes"), ("envoy.filters.http.grpc_json_transcoder", "max_request_body_size")):
        filters[name][limit] = min(filters[name][limit], places.max_message_bytes)
    transcoder["max_response_body_size"] = places.max_message_bytes
    filters["envoy.filters.http.file_server"]["path_mappings"][0]["file_path_prefix"] = str(places.page)


def _set_routes(virtual_host: Node, places: Places) -> None:
    cors = virtual_host["typed_per_filter_config"]["envoy.filters.http.cors"]
    cors["allow_origin_string_match"] = [{"exact": origin} for origin in places.origins]
    too_large = next(route for route in virtual_host["routes"] if route["name"] == "too-large")
    length = too_large["match"]["headers"][0]["range_match"]
    length["start"] = min(length["start"], places.max_message_bytes + 1)
