"""What one run of the benchmark does, checked before anything starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from digitserve.arguments import MAX_TIMEOUT_S
from digitserve.channel import checked_target

Mode = Literal["single", "stream", "batch", "client"]
LayoutName = Literal["framed", "auto"]
Encoding = Literal["raw", "png"]

MODES: tuple[str, ...] = get_args(Mode)
LAYOUTS: tuple[str, ...] = get_args(LayoutName)
ENCODINGS: tuple[str, ...] = get_args(Encoding)

# Calls a second of one load process. It can't make a tenth of that; beyond, no rate is meant, and only its timetable is long.
MAX_RATE = 100_000.0


class BenchError(Exception):
    """The run can't start or can't go on. The message is one line, for the person at the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run. `concurrency`, `rate` and `count` are totals over all processes.

    `rate` (calls per second) makes the loop open: calls start at Poisson arrivals whether or not earlier ones have
    ended. Without it the loop is closed: `concurrency` calls are always in flight. `count` (calls) takes the place of
    `duration_s`. Raises BenchError if the settings contradict each other.
    """

    server: str = "localhost:50051"
    tls_authorities: str = ""  # PEM file; "" is plain gRPC
    model: str = ""
    mode: Mode = "single"
    batch_size: int = 256
    concurrency: int = 16
    rate: float | None = None
    processes: int = 1
    duration_s: float = 5.0
    count: int | None = None
    warmup_s: float = 1.0
    images: str = "synthetic"
    layout: LayoutName = "framed"
    encoding: Encoding = "raw"
    timeout_s: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_ranges()
        try:
            checked_target(self.server)
        except ValueError as error:
            raise BenchError(f"--server: {error}") from None
        if self.mode in ("batch", "client") and self.encoding != "raw":
            raise BenchError(f"--encoding {self.encoding} is for --mode single or stream; {self.mode} sends pixels")
        if self.rate is None and self.concurrency < self.processes:
            raise BenchError(f"--concurrency {self.concurrency} is less than --processes {self.processes}")
        if self.count is not None and self.count < self.processes:
            raise BenchError(f"--count {self.count} is less than --processes {self.processes}")

    def _check_ranges(self) -> None:
        for name in ("batch_size", "concurrency", "processes", "count"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise BenchError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
        for name in ("rate", "duration_s", "timeout_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise BenchError(f"--{name.removesuffix('_s')} must be a number above 0, not {value}")
        if self.rate is not None and self.rate > MAX_RATE * self.processes:
            raise BenchError(f"--rate must be at most {MAX_RATE:,.0f} for each of the --processes, not {self.rate:g}")
        if self.timeout_s > MAX_TIMEOUT_S:
            raise BenchError(f"--timeout must be a year at most, {MAX_TIMEOUT_S:g}, not {self.timeout_s:g}")
        if not 0 <= self.warmup_s < float("inf"):
            raise BenchError(f"--warmup must be a number of seconds, 0 or more, not {self.warmup_s}")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
