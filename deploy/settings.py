"""What `python -m deploy` itself can be told. Everything else is a setting of the server and goes to it unchanged.

A setting `page_port` is the flag --page-port and the environment variable DIGITSERVE_PAGE_PORT; the flag wins.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from server.config import ENVIRONMENT_PREFIX, SettingError, Settings, read_settings

ORIGIN = re.compile(r"https?://[^/\s,]+")
_MEANINGS = {
    "page_host": ("127.0.0.1", "address of the page, of grpc-web and of JSON"),
    "page_port": ("8080", "their port; 0 takes a free one"),
    "page": ("clients/web/dist", "folder of the built page"),
    "origins": ("", "further origins whose pages may call, with commas: https://a.example,https://b.example"),
    "admin_port": ("9901", "port of Envoy's admin interface, on 127.0.0.1 only; 0 takes a free one"),
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """How server and Envoy run together. `server` is what the server makes of `server_flags` and the environment."""

    page_host: str
    page_port: int
    page: Path
    origins: tuple[str, ...]
    admin_port: int
    server_flags: tuple[str, ...]
    server: Settings


def read_deployment(arguments: Sequence[str], environment: Mapping[str, str]) -> Deployment:
    """Settings from flags, then environment variables, then defaults.

    Raises:
        SettingError: a value that can't be meant, here or in the server.
        SystemExit: for --help.
    """
    given, rest = _make_parser().parse_known_args(arguments)
    values: dict[str, tuple[str, str]] = {}
    for name, (default, _) in _MEANINGS.items():
        flag, variable = "--" + name.replace("_", "-"), ENVIRONMENT_PREFIX + name.upper()
        text = getattr(given, name)
        values[name] = (flag, text) if text is not None else (variable, environment.get(variable, default))
    server = read_settings(rest, environment)
    if server.tls_certificate:
        raise SettingError("tls_certificate is for python -m server alone: the Envoy that is started with it speaks plain gRPC")
    return Deployment(
        page_host=values["page_host"][1],
        page_port=_parse_port(*values["page_port"]),
        page=Path(values["page"][1]).absolute(),
        origins=_parse_origins(*values["origins"]),
        admin_port=_parse_port(*values["admin_port"]),
        server_flags=tuple(rest),
        server=server,
    )


def _parse_port(source: str, text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise SettingError(f"{source} must be a port from 0 to 65535, not {text!r}")
    return int(text)


def _parse_origins(source: str, text: str) -> tuple[str, ...]:
    origins = tuple(each.strip() for each in text.split(",") if each.strip())
    for origin in origins:
        if not ORIGIN.fullmatch(origin):
            raise SettingError(f"{source} must hold origins such as https://page.example:8443, not {origin!r}")
    return origins


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingError(f"{message} (see --help)")


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m deploy",
        description="Starts the server, Envoy and the page together, and stops them together.",
        epilog=f"Every flag is an environment variable, too: --page-port is {ENVIRONMENT_PREFIX}PAGE_PORT. "
        "All other flags go to the server: python -m server --help lists them.",
        allow_abbrev=False,
    )
    for name, (default, meaning) in _MEANINGS.items():
        shown = f"{meaning} (default: {default or 'none'})"
        parser.add_argument("--" + name.replace("_", "-"), metavar=name.upper(), help=shown)
    return parser
