"""What is written for Envoy is deploy/envoy.yaml with other places, and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.bootstrap import TEMPLATE, Places, list_origins, make_bootstrap
from deploy.descriptor import DESCRIPTOR, build_descriptor

OWN = list_origins("127.0.0.1", 8080, ())
PLACES = Places("127.0.0.1", 8080, 9901, "127.0.0.1", 50051, Path("/page"), OWN, 64 * 1024 * 1024)


def leaves(node: Any, path: str = "") -> dict[str, Any]:
    """Every value of a parsed file by its path."""
    if isinstance(node, dict):
        return {key: value for name in node for key, value in leaves(node[name], f"{path}/{name}").items()}
    if isinstance(node, list):
        return {key: value for index, each in enumerate(node) for key, value in leaves(each, f"{path}/{index}").items()}
    return {path: node}


def changes(places: Places) -> dict[str, Any]:
    old = leaves(yaml.safe_load(TEMPLATE.read_text(encoding="utf-8")))
    new = leaves(yaml.safe_load(make_bootstrap(places)))
    return {path.rpartition("/")[2]: new.get(path) for path in old.keys() | new.keys() if old.get(path) != new.get(path)}


def test_the_descriptor_is_not_stale() -> None:
    assert DESCRIPTOR.read_bytes() == build_descriptor(), "stale: run make protos"


def test_the_default_places_are_those_of_the_file() -> None:
    assert changes(PLACES) == {"proto_descriptor": str(DESCRIPTOR), "file_path_prefix": "/page"}


def test_other_ports_are_set_and_admin_stays_on_loopback() -> None:
    moved = dataclasses.replace(PLACES, page_host="0.0.0.0", page_port=1, admin_port=2, server_port=3)
    root = yaml.safe_load(make_bootstrap(moved))
    found = {path: value for path, value in leaves(root).items() if path.endswith(("/port_value", "/address"))}
    assert sorted(map(str, found.values())) == ["0.0.0.0", "1", "127.0.0.1", "127.0.0.1", "2", "3"]
    assert root["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_the_sockets_of_workers_stand_in_the_place_of_the_port() -> None:
    root = yaml.safe_load(make_bootstrap(dataclasses.replace(PLACES, sockets=("/run/s.1", "/run/s.2"))))
    (cluster,) = root["static_resources"]["clusters"]
    (servers,) = cluster["load_assignment"]["endpoints"]
    assert [each["endpoint"] for each in servers["lb_endpoints"]] == [
        {"address": {"pipe": {"path": "/run/s.1"}}},
        {"address": {"pipe": {"path": "/run/s.2"}}},
    ]
    servers["lb_endpoints"] = yaml.safe_load(make_bootstrap(PLACES))["static_resources"]["clusters"][0]["load_assignment"][
        "endpoints"
    ][0]["lb_endpoints"]
    assert root == yaml.safe_load(make_bootstrap(PLACES)), "nothing else is changed"


def test_origins_are_the_same_for_both_filters() -> None:
    more = dataclasses.replace(PLACES, origins=list_origins("::1", 80, ("https://page.example", "http://localhost")))
    found = leaves(yaml.safe_load(make_bootstrap(more)))
    exact = [value for path, value in found.items() if path.endswith("/exact") and value.startswith("http")]
    assert exact == ["http://[::1]", "http://127.0.0.1", "http://localhost", "https://page.example"] * 2


@pytest.mark.parametrize(("host", "first"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("192.0.2.7", "192.0.2.7")])
def test_this_machine_always_belongs_to_the_pages_own_origins(host: str, first: str) -> None:
    own = list_origins(host, 8080, ())
    assert own[0] == f"http://{first}:8080"
    assert {"http://127.0.0.1:8080", "http://localhost:8080"} <= set(own)


def test_json_is_never_larger_than_what_the_server_takes() -> None:
    assert changes(dataclasses.replace(PLACES, max_message_bytes=4096)) == {
        "proto_descriptor": str(DESCRIPTOR),
        "file_path_prefix": "/page",
        "max_request_bytes": 4096,
        "max_request_body_size": 4096,
        "max_response_body_size": 4096,
        "start": 4097,
    }
