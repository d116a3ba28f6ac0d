"""What every part of the benchmark stands on: the two servers, the model, the images, and how long to measure."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from digitserve.bench.figures import Figures
from digitserve.bench.images import SYNTHETIC, load_images
from digitserve.bench.machine import count_cores
from digitserve.bench.measurement import measure
from digitserve.bench.settings import BenchError, Settings

from benchmarks.processes import ServerProcess, run_for_json


@dataclass(frozen=True, slots=True)
class Stage:
    """`images` is a source as in `digitserve bench --images`; `labelled` says whether its answers are known."""

    server: ServerProcess
    echo: ServerProcess
    model: Path
    images: str
    labelled: bool
    rounds: int
    seconds: float
    processes: int
    quick: bool
    soak: bool

    @property
    def cores(self) -> int:
        return count_cores()

    def load(self, target: ServerProcess, **settings: Any) -> Figures:
        """Loads `target` and returns the figures. Raises BenchError if a single call failed: such figures mean nothing."""
        warmup_s = min(1.0, self.seconds / 2)
        defaults = Settings(server=target.address, images=self.images, duration_s=self.seconds, warmup_s=warmup_s)
        figures = measure(replace(defaults, **settings)).figures
        if figures.failed:
            raise BenchError(f"{figures.failed} calls to {target.command[2]} failed: {figures.error_examples}")
        return figures

    def raw(self, *options: str) -> dict[str, Any]:
        """What benchmarks/raw.py prints."""
        words = ("benchmarks.raw", "--model", str(self.model), "--seconds", str(self.seconds), *options)
        result: dict[str, Any] = json.loads(run_for_json(*words))
        return result


def say(text: str) -> None:
    """Progress, for whoever waits: these measurements take minutes."""
    print(text, file=sys.stderr, flush=True)


def find_model(models: Path) -> Path:
    """The model file of the newest version of `digits`. Raises BenchError if there is none."""
    versions = [path for path in models.glob("digits/*/model.onnx") if path.parent.name.isdigit()]
    if not versions:
        raise BenchError(f"no digits/<version>/model.onnx in {models}: train and export one, or name another --models")
    return max(versions, key=lambda path: int(path.parent.name)).absolute()


def find_images(data: str) -> tuple[str, bool]:
    """Where the images come from, and whether their labels are known."""
    if not data:
        return SYNTHETIC, False
    return str(Path(data).absolute()), load_images(data).labels is not None
