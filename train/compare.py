"""`python -m train compare`: every network under the same recipe, and one table of what it reaches and what it costs.

A comparison writes into a folder of its own, runs/<time>-compare:
    comparison.md, comparison.json   the table, written anew after every run
    <network>-<seed>/                each run's metrics and checkpoints
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from train.checkpoint import load_checkpoint
from train.command import conclude
from train.data import Dataset, cache_folder
from train.datasets import LOADERS, load_dataset
from train.errors import SettingsError
from train.evaluate import predict, score
from train.loop import Trainer, build_model, load_weights
from train.model import NETWORKS, Recognizer, cost
from train.provenance import provenance
from train.ranking import Outcome, Row, Timings, summarize, to_markdown
from train.reframe import load_reframed
from train.settings import Settings
from train.strangers import load_strangers

SUMMARY = "train every network by the same recipe and table accuracy, size, speed and training time"


class Material(NamedTuple):
    """What all runs share: the data, its second copy and the pictures that are no character."""

    dataset: Dataset
    reframed: Tensor | None
    strangers: Tensor | None


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns the exit status; what goes wrong is one line on stderr."""
    options = build_parser().parse_args(arguments)
    comparison: Comparison | None = None

    def work() -> None:
        nonlocal comparison
        comparison = Comparison(options)
        comparison.run()

    return conclude("compare", work, interrupted=lambda: comparison.what_is_done() if comparison else "nothing was trained yet")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train compare", description=f"{SUMMARY[0].upper()}{SUMMARY[1:]}.")
    default, names = Settings(), ", ".join(NETWORKS)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME", help=f"which (default: {names})")
    parser.add_argument("--dataset", default=default.dataset, help=f"what to read: {', '.join(LOADERS)} (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="folder with the data (default: $DIGITSERVE_DATA, else a cache folder)")
    parser.add_argument("--epochs", type=int, default=default.epochs, help="for each run (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=default.lr, help="the learning rate's peak (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each network, seeds 0 to N-1 (default: 1)")
    parser.add_argument("--limit", type=int, help="use only the first so many training images")
    parser.add_argument("--output", type=Path, help="where to write (default: runs/<time>-compare)")
    return parser


class Comparison:
    """One call of the command: all runs, one after the other, in one folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.plan = list(_plan(options))
        self.settings = self.plan[0]
        self.seeds: int = options.seeds
        self.folder: Path = options.output or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-compare"
        if self.folder.is_dir() and any(self.folder.iterdir()):
            raise SettingsError(f"{self.folder} is not empty: a comparison takes a folder of its own")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.material = load_material(self.settings, options.data)
        self.networks = list(dict.fromkeys(settings.network for settings in self.plan))
        models = {name: self._build(name) for name in self.networks}
        self.timings = time_models(models, self.material.dataset.side)
        self.about = provenance(self.device)
        self.outcomes: list[Outcome] = []
        self.folder.mkdir(parents=True, exist_ok=True)

    def _build(self, network: str) -> Recognizer:
        """A network with its first weights, that can take the dataset's images: or it says so before anything is trained."""
        dataset = self.material.dataset
        model = build_model(replace(self.settings, network=network), len(dataset.class_names), dataset.side)
        predict(model, dataset.train.images[:1], device=torch.device("cpu"))
        return model

    def run(self) -> None:
        """Every run in turn; the table on disk always tells what is done."""
        with tqdm(self.plan, unit="run", disable=None) as bar:
            for settings in bar:
                bar.set_description(f"{settings.network}, seed {settings.seed}")
                outcome = self._train(settings)
                self.outcomes.append(outcome)
                self.write()
                said = f"validation {outcome.validation_accuracy:.2%}, test {outcome.test}, {outcome.minutes:.1f} minutes"
                bar.write(f"{settings.network}, seed {settings.seed}: {said}", file=sys.stdout)
        print(f"\n{self.table()}\nwritten to {self.folder / 'comparison.md'}")

    def _train(self, settings: Settings) -> Outcome:
        """Train one network; then look at the test set, once, with the weights that validation chose."""
        dataset, reframed, strangers = self.material
        folder = self.folder / f"{settings.network}-{settings.seed}"
        folder.mkdir()
        trainer = Trainer(settings, dataset, reframed, strangers, folder=folder, device=self.device)
        try:
            epochs = list(trainer.run())
        except SettingsError as error:
            raise SettingsError(f"{folder.name}: {error}") from error
        best = load_checkpoint(folder / "best.pt")
        load_weights(trainer.ema, best["ema"])
        test = score(predict(trainer.ema, dataset.test.images, device=self.device), dataset.test.labels)
        chosen = epochs[best["epoch"] - 1]
        return Outcome(settings.network, settings.seed, chosen.validation.accuracy, test, chosen.number, trainer.minutes)

    def rows(self) -> list[Row]:
        """One for each network that has a finished run."""
        dataset, rows = self.material.dataset, []
        for name in self.networks:
            if done := [outcome for outcome in self.outcomes if outcome.network == name]:
                spent = cost(NETWORKS[name], len(dataset.class_names), dataset.side)
                rows.append(summarize(done, spent, self.timings[name], self.about["device"]))
        return rows

    def table(self) -> str:
        """Markdown, headed by the command that makes it."""
        seeds = f"{self.seeds} seeds, medians" if self.seeds > 1 else "one seed"
        done = f"{len(self.outcomes)} of {len(self.plan)} runs done"
        note = f"{seeds}; times are medians in onnxruntime on one thread of the CPU; {done}."
        return "\n".join([f"`{self.command()}`", "", to_markdown(self.rows()), "", note, ""])

    def command(self) -> str:
        """The command without this machine's paths."""
        flags = {"dataset": self.settings.dataset, "epochs": self.settings.epochs, "seeds": self.seeds}
        if self.networks != list(NETWORKS):
            flags = {"networks": " ".join(self.networks), **flags}
        for name in ("lr", "limit"):
            if getattr(self.settings, name) != getattr(Settings(), name):
                flags[name] = getattr(self.settings, name)
        return " ".join(["python -m train compare", *(f"--{name} {value}" for name, value in flags.items())])

    def write(self) -> None:
        """Replace both files."""
        content: dict[str, Any] = {"command": self.command(), **self.about, "settings": self.settings.to_dict()}
        content["settings"] = {key: value for key, value in content["settings"].items() if key not in ("network", "seed")}
        content["rows"] = [asdict(row) for row in self.rows()]
        content["runs"] = [{**asdict(outcome), "test": asdict(outcome.test)} for outcome in self.outcomes]
        _replace(self.folder / "comparison.json", json.dumps(content, indent=2) + "\n")
        _replace(self.folder / "comparison.md", self.table())

    def what_is_done(self) -> str:
        if not self.outcomes:
            return "no run was finished, so there is no table"
        return f"{len(self.outcomes)} of {len(self.plan)} runs are in {self.folder / 'comparison.md'}"


def load_material(settings: Settings, folder: Path | None) -> Material:
    """Read the data and make, or find in the cache, what is derived from it."""
    dataset = load_dataset(settings.dataset, folder, limit=settings.limit)
    images, cache = dataset.train.images, cache_folder()
    reframed = load_reframed(images, cache) if settings.reframed_share else None
    strangers = load_strangers(images, cache) if settings.strangers_share else None
    return Material(dataset, reframed, strangers)


def time_models(models: dict[str, Recognizer], side: int) -> dict[str, Timings]:
    """Milliseconds an image in onnxruntime, measured before anything is trained: nothing else runs then, and export is tried.

    The import waits until here because export builds on train: no module of train needs export to be loaded.
    """
    from export.onnx import to_comparable
    from export.timing import median_ms

    return median_ms({name: to_comparable(model, side).SerializeToString() for name, model in models.items()}, side)


def _plan(options: argparse.Namespace) -> Iterator[Settings]:
    """The settings of every run; networks differ in nothing but their name."""
    if options.seeds < 1:
        raise SettingsError(f"seeds must be at least 1, not {options.seeds}")
    for name in dict.fromkeys(options.networks):
        for seed in range(options.seeds):
            shared = {key: getattr(options, key) for key in ("dataset", "epochs", "lr", "limit")}
            yield Settings(network=name, seed=seed, **shared)


def _replace(path: Path, text: str) -> None:
    """Write under a temporary name, then rename: a reader never meets half a table."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
