"""Every setting of the server, once: its name, default, meaning and limits.

A setting `max_batch_size` is the flag --max-batch-size, the environment variable DIGITSERVE_MAX_BATCH_SIZE and the key
max_batch_size of a TOML file; the flag wins over the variable, and the variable over the file.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

ENVIRONMENT_PREFIX = "DIGITSERVE_"
# Those of our other programs: the launcher, the clients, training and the tests.
OTHERS = {"ADMIN_PORT", "BROWSER", "CONFIG", "DATA", "ORIGINS", "PAGE", "PAGE_HOST", "PAGE_PORT", "PYTHON", "SERVER", "TOKEN"}
MAX_WORKERS = 256


class SettingError(Exception):
    """A setting has a value that can't be meant; the message names it and says what is accepted."""


def _setting(
    default: Any, meaning: str, *, at_least: float | None = None, at_most: float | None = None, one_of: str = ""
) -> Any:
    limits = {"meaning": meaning, "at_least": at_least, "at_most": at_most, "one_of": tuple(one_of.split())}
    return dataclasses.field(default=default, metadata=limits)


@dataclass(frozen=True, slots=True)
class Settings:
    """How this server runs. Units are in the names; every field's meaning is its help text."""

    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for every interface")
    port: int = _setting(50051, "port to listen on; 0 takes a free one", at_least=0, at_most=65535)
    socket: str = _setting(
        "", "path of a Unix socket to listen on, too; of several workers, each has one: PATH.1, PATH.2; none: the port alone"
    )
    tls_certificate: str = _setting("", "PEM file of the certificate with its chain; none: plain gRPC")
    tls_key: str = _setting("", "PEM file of the certificate's private key")
    tls_client_authorities: str = _setting(
        "", "PEM file of the authorities that callers' certificates must come from; none: any caller"
    )
    tokens: str = _setting(
        "", "file of the tokens that callers must show one of (python -m server.tokens makes them); none: any caller"
    )
    models: Path = _setting(Path("models"), "folder of the model repository")
    repository_poll_s: float = _setting(
        0.5, "look for new versions and moved labels so often; 0: only at the start", at_least=0, at_most=3600
    )
    model_control: bool = _setting(False, "let callers load and unload models, by the Open Inference Protocol")
    execution_provider: str = _setting(
        "auto", "what runs the model: cuda refuses to start without it, auto falls back to cpu", one_of="auto cpu cuda"
    )
    cuda_graphs: bool = _setting(True, "on CUDA: replay one captured graph for each batch bucket")
    instances: int = _setting(
        0, "batches that run at the same time; 0: one for each core that a worker has, on CUDA one", at_least=0, at_most=256
    )
    workers: str = _setting("1", "server processes on the one port; auto: one for each core")
    max_batch_size: int = _setting(
        0, "images in one batch; 0: what the model publishes, less if that takes too long", at_least=0, at_most=4096
    )
    max_queue_size: int = _setting(
        16384, "images of each priority that may wait before calls are refused", at_least=1, at_most=10_000_000
    )
    max_queue_wait_ms: float = _setting(
        0.0,
        "an interactive request that would wait longer is refused at once; 0: 80 ms, or the time of twelve images if longer",
        at_least=0,
        at_most=3_600_000,
    )
    max_queue_delay_ms: float = _setting(
        0.0, "hold a request back so long for company; 0: never (batches still form under load)", at_least=0, at_most=1000
    )
    inline_ms: float = _setting(
        1.0, "a batch that takes less than this runs without waking a thread; 0: never", at_least=0, at_most=10
    )
    crowd_gather_ms: float = _setting(
        2.0, "in a crowd of single calls or of requests of streams, gather them for so long; 0: never", at_least=0, at_most=100
    )
    max_message_bytes: int = _setting(64 * 1024 * 1024, "largest request and answer", at_least=1024, at_most=2**31 - 1)
    max_connections: int = _setting(1000, "connections at a time; more are closed at once", at_least=1, at_most=1_000_000)
    max_streams: int = _setting(
        1000, "calls at a time on one connection; the client keeps the others back", at_least=1, at_most=1_000_000
    )
    keepalive_s: float = _setting(
        60.0, "ask a silent connection so often whether it lives; one that does not answer in a third of it is closed",
        at_least=1, at_most=7200,
    )  # fmt: skip
    max_pixels: int = _setting(
        16_777_216, "largest image, width x height; a JPEG may have twice as many pixels", at_least=784, at_most=2**28
    )
    max_decoding: int = _setting(
        256, "large images that may wait for their decoding before calls are refused", at_least=1, at_most=65536
    )
    max_decoding_bytes: int = _setting(
        256 * 1024 * 1024, "how much these may hold in all before calls are refused", at_least=1, at_most=2**40
    )
    stream_window: int = _setting(
        256, "unanswered requests on one stream before it is read no further", at_least=1, at_most=65536
    )
    drain_delay_s: float = _setting(
        0.0, "after SIGTERM, go on serving so long as NOT_SERVING, for load balancers to notice", at_least=0, at_most=600
    )
    drain_grace_s: float = _setting(
        20.0, "after that, let running calls take so long before they are cut off", at_least=0, at_most=600
    )
    event_loop: str = _setting("auto", "auto takes uvloop where it is installed", one_of="auto asyncio uvloop")
    one_core: bool = _setting(True, "keep a single worker's event loop and gRPC's threads on one core; what computes uses all")
    log_level: str = _setting("info", "least severe message that is logged", one_of="debug info warning error")
    log_format: str = _setting("text", "lines to read, or one JSON object a line", one_of="text json")
    metrics_host: str = _setting("127.0.0.1", "address of the metrics; 0.0.0.0 for every interface")
    metrics_port: int = _setting(
        -1, "port of the metrics for Prometheus; -1: no metrics, 0 takes a free one", at_least=-1, at_most=65535
    )

    traces: str = _setting("", "OTLP endpoint that gets a trace of each call, such as http://127.0.0.1:4317; none: no traces")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        if self.model_control and self.workers != "1":
            raise SettingError("model_control needs workers = 1: a call to load or unload reaches one worker alone")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise SettingError("tls_certificate and tls_key belong together: one of them is not set")
        if self.tls_client_authorities and not self.tls_certificate:
            raise SettingError(
                "tls_client_authorities needs tls_certificate and tls_key: without TLS, callers show no certificate"
            )
        if self.workers != "auto" and not (self.workers.isdecimal() and 1 <= int(self.workers) <= MAX_WORKERS):
            raise SettingError(f"workers must be auto or a number from 1 to {MAX_WORKERS}, not {self.workers!r}")
        if not self.host or not self.metrics_host:
            raise SettingError("host and metrics_host must not be empty: 0.0.0.0 is every address of this machine")
        if self.port == self.metrics_port > 0 and self.host == self.metrics_host:
            raise SettingError(f"port and metrics_port must differ, and both are {self.port}")
        if self.traces and not _is_endpoint(self.traces):
            raise SettingError(f"traces must be an address such as http://127.0.0.1:4317, not {_mask(self.traces)!r}")
        if self.workers != "1" and sys.platform != "linux":
            raise SettingError("workers must be 1 here: only Linux shares the calls to one port out among processes")


def _check(field: dataclasses.Field[Any], value: Any) -> None:
    if "\0" in str(value):
        raise SettingError(f"{field.name} must not hold a null character")
    low, high, choices = field.metadata["at_least"], field.metadata["at_most"], field.metadata["one_of"]
    if choices and value not in choices:
        raise SettingError(f"{field.name} must be one of {', '.join(choices)}, not {value!r}")
    if low is not None and not (low <= value <= high and math.isfinite(value)):
        raise SettingError(f"{field.name} must be between {low} and {high}, not {value}")


def _is_endpoint(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port, or half an IPv6 address
        return False


def _mask(address: str) -> str:
    """The address without what it holds of a user's name and password."""
    return re.sub(r"//[^/]*@", "//***@", address)


class Command(NamedTuple):
    """What the command line asks for: to serve with these settings, or only to check them."""

    settings: Settings
    check: bool


def read_command(arguments: Sequence[str], environment: Mapping[str, str]) -> Command:
    """Settings from flags, then environment variables, then the file that --config names, then defaults.

    Raises:
        SettingError: an unknown flag or key, a file that can't be read, or a value that can't be meant.
        SystemExit: for --help.
    """
    flags = vars(_make_parser().parse_args(arguments))
    file = flags["config"] or environment.get(ENVIRONMENT_PREFIX + "CONFIG")
    values = _read_file(Path(file)) if file else {}
    for field in dataclasses.fields(Settings):
        text = flags[field.name]
        source = "--" + field.name.replace("_", "-")
        if text is None:
            source = ENVIRONMENT_PREFIX + field.name.upper()
            text = environment.get(source)
        if text is not None:
            values[field.name] = _parse(text, type(field.default), source)
    return Command(Settings(**values), flags["check"])


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings of a server that somebody else starts. Raises as read_command() does, and SettingError for --check."""
    settings, check = read_command(arguments, environment)
    if check:
        raise SettingError("--check is a flag of python -m server alone")
    return settings


def list_unknown(environment: Mapping[str, str]) -> list[str]:
    """The variables that begin as ours do and that no program of ours reads: most likely misspelt."""
    known = {ENVIRONMENT_PREFIX + name for name in OTHERS}
    known |= {ENVIRONMENT_PREFIX + field.name.upper() for field in dataclasses.fields(Settings)}
    return sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX) and name not in known)


def describe(settings: Settings) -> str:
    """All settings in one line, for people: without a password that an address may hold."""
    return " ".join(f"{field.name}={_mask(str(getattr(settings, field.name)))}" for field in dataclasses.fields(settings))


def write_flags(settings: Settings) -> list[str]:
    """The settings as a command line that read_command() takes."""
    return [f"--{field.name.replace('_', '-')}={getattr(settings, field.name)}" for field in dataclasses.fields(settings)]


def _read_file(path: Path) -> dict[str, Any]:
    """The settings that a TOML file holds, each of its own type."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingError(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not even UTF-8, or thousands of brackets
        raise SettingError(f"{path} is not TOML: {error}") from None
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    if unknown := [key for key in found if key not in fields]:
        meant = difflib.get_close_matches(unknown[0].replace("-", "_"), fields, 1)
        hint = f": did you mean {meant[0]}?" if meant else ""
        raise SettingError(f"{path} sets {', '.join(unknown)}, which no setting is called{hint}")
    return {key: _convert(value, type(fields[key].default), f"{key} in {path}") for key, value in found.items()}


def _convert(value: Any, kind: type, source: str) -> Any:
    """TOML tells numbers, words and booleans apart: so do we."""
    if kind not in (bool, int, float):
        if isinstance(value, str) or (kind is str and type(value) is int):  # workers = 2
            return _parse(str(value), kind, source)
    elif type(value) is kind or (kind is float and type(value) is int):
        return value
    expected = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "text in quotes")
    raise SettingError(f"{source} must be {expected}, not {value!r}")


def _parse(text: str, kind: type, source: str) -> Any:
    if kind is bool:
        if text.lower() in {"true", "1", "yes", "on"}:
            return True
        if text.lower() in {"false", "0", "no", "off"}:
            return False
        raise SettingError(f"{source} must be true or false, not {text!r}")
    try:
        if kind is int:
            return int(text)
        if kind is float:
            return float(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise SettingError(f"{source} must be {expected}, not {text!r}") from None
    return text if kind is str else Path(text)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingError(f"{message} (see --help)")


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m server",
        description="Serves handwritten-character models over gRPC.",
        epilog=f"Every flag is an environment variable, too: --max-batch-size is {ENVIRONMENT_PREFIX}MAX_BATCH_SIZE.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings, such as: max_batch_size = 64")
    parser.add_argument("--check", action="store_true", help="check the settings, print them and exit")
    for field in dataclasses.fields(Settings):
        meaning = f"{field.metadata['meaning']} (default: {field.default})"
        choices = field.metadata["one_of"]
        shown = "{" + ",".join(choices) + "}" if choices else type(field.default).__name__.replace("Posix", "").upper()
        parser.add_argument("--" + field.name.replace("_", "-"), metavar=shown, help=meaning)
    return parser
