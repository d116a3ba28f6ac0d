"""`python -m train`: from images to a checkpoint; and the other commands, each in a module of its own.

A run writes into a folder of its own, runs/<time>-<seed>:
    settings.json    what was asked for, where the code came from, versions, checksums of the data
    metrics.jsonl    one line for each epoch
    log.txt          what was said, and when
    last.pt          the latest epoch: --resume continues from it exactly
    best.pt          the best epoch by validation: what export takes
    report.html      the evaluation, with pictures; evaluation.json holds its numbers
    result.json      the test set's verdict on best.pt, looked at once, at the end
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from train.augment import AUGMENTATIONS
from train.checkpoint import load_checkpoint, write_json
from train.command import conclude
from train.data import cache_folder
from train.datasets import LOADERS, load_dataset
from train.errors import SettingsError
from train.evaluate import confusion, predict, score
from train.loop import Epoch, Trainer, load_network
from train.model import NETWORKS
from train.reframe import load_reframed
from train.settings import HEARD, Settings
from train.strangers import foreign_letters, load_strangers
from train.teachers import checksums, load_teachers
from train.tensorboard import record, require_tensorboard

COMMANDS = {
    "compare": ("train.compare", "train several networks by the same recipe and put them into one table"),
    "doubt": ("train.doubt", "teach a trained network to know when there is nothing for it to read"),
    "evaluate": ("train.evaluation", "measure a checkpoint or a published model, and write a report with pictures"),
    "pack": ("train.pack", "frame a folder of pictures and pack it into one HDF5 file"),
    "unpack": ("train.unpack", "write a dataset out as picture files"),
}
FLAGS: tuple[tuple[str, type, str], ...] = (
    ("dataset", str, f"what to read: {', '.join(LOADERS)}, folder:PATH, or several joined by +"),
    ("network", str, f"one of: {', '.join(NETWORKS)}"),
    ("epochs", int, "how often to go through the images"),
    ("seed", int, "the same seed gives the same weights on the same machine"),
    ("batch_size", int, "images a step"),
    ("lr", float, "the peak of the learning rate's one cycle"),
    ("strangers_share", float, "so many pictures that are no character for each image, to be unsure about"),
    ("strange_dataset", str, "a dataset whose characters are strangers, too"),
    ("teachers_weight", float, "of the teachers' answer in the loss; the labels have the rest"),
    ("teachers_heard", str, f"at which images: {' or '.join(HEARD)}"),
    ("limit", int, "use only the first so many training images, and all extra ones; a few epochs of some 1,000 teach nothing"),
)
REPEATED = (
    ("--extra", "DATASET", "add its images to the training ones"),
    ("--teacher", "CHECKPOINT", "learn from what this network answers, too"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status; what goes wrong is one line on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in COMMANDS:
        module = importlib.import_module(COMMANDS[words[0]][0])
        return int(module.main(words[1:]))
    options = build_parser().parse_args(words)
    run: Run | None = None

    def work() -> None:
        nonlocal run
        run = Run(options)
        run.train()
        run.finish()
        if not options.no_report:
            run.report(options.data)

    return conclude("train", work, interrupted=lambda: run.how_to_resume() if run else "nothing was trained yet")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train",
        description="Train a network to read handwritten characters.",
        epilog="other commands, each with a --help of its own:\n"
        + "\n".join(f"  python -m train {name:<9} {meaning}" for name, (_, meaning) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="folder with the data (default: $DIGITSERVE_DATA, else a cache folder)")
    parser.add_argument("--output", type=Path, help="the run's folder (default: runs/<time>-<seed>)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: a GPU when there is one)")
    parser.add_argument("--resume", type=Path, metavar="CHECKPOINT", help="continue a run exactly, with its own settings")
    parser.add_argument("--no-report", action="store_true", help="leave out the evaluation with its pictures at the end")
    parser.add_argument("--tensorboard", action="store_true", help="note the metrics for TensorBoard, too, in the run's folder")
    parser.add_argument("--augmentation", choices=AUGMENTATIONS, help="how far images are moved, and spoilt (default: gentle)")
    for flag, what, text in REPEATED:
        parser.add_argument(flag, action="append", metavar=what, help=f"{text}; may be repeated")
    defaults = Settings()
    for name, kind, text in FLAGS:
        default = getattr(defaults, name)
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, help=text if default is None else f"{text} (default: {default})")
    return parser


class Run:
    """One call of the command: a trainer in its folder, and what is said to the person who waits."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.tensorboard: bool = options.tensorboard
        if self.tensorboard:
            require_tensorboard()
        if not options.no_report:  # better now than after the last epoch
            importlib.import_module("train.evaluation").require_matplotlib()
        checkpoint = load_checkpoint(options.resume) if options.resume else None
        self.settings = chosen_settings(options, checkpoint)
        self.device = choose_device(options.device)
        self.folder = options.resume.parent if options.resume else options.output or _new_folder(self.settings.seed)
        if checkpoint is None:
            refuse_used(self.folder)
        self.dataset = load_dataset(self.settings.dataset, options.data, self.settings.extra, self.settings.limit)
        reframed = load_reframed(self.dataset.train.images, cache_folder()) if self.settings.reframed_share else None
        strangers = self._load_strangers(options.data)
        teachers = load_teachers(self.settings.teachers, self.dataset.class_names, self.dataset.side)
        self.folder.mkdir(parents=True, exist_ok=True)  # now that all is there: a run that can't begin leaves no folder
        self.trainer = Trainer(
            self.settings, self.dataset, reframed, strangers, teachers, folder=self.folder, device=self.device
        )
        if checkpoint:
            self.trainer.restore(checkpoint)
        self._describe()

    def _load_strangers(self, folder: Path | None) -> Tensor | None:
        if not self.settings.strangers_share:
            return None
        drawn = load_strangers(self.dataset.train.images, cache_folder())
        if not self.settings.strange_dataset:
            return drawn
        return torch.cat((drawn, foreign_letters(load_dataset(self.settings.strange_dataset, folder), self.dataset.side)))

    def _describe(self) -> None:
        command = self.settings.command()
        about = {"command": command, "settings": self.settings.to_dict(), **self.trainer.provenance}
        about["teachers"] = checksums(self.settings.teachers)
        write_json(self.folder / "settings.json", about)
        self._say(f"{command}  on {about['device']}, into {self.folder}")

    def _say(self, line: str) -> None:
        """To the person who waits, and into the run's log."""
        print(line, flush=True)
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def train(self) -> None:
        epochs = self.trainer.run()
        if self.tensorboard:
            epochs = record(epochs, self.folder, self.trainer.epoch)
        for epoch in epochs:
            self._say(describe(epoch, self.settings.epochs))

    def finish(self) -> None:
        """Look at the test set, once, with the weights that validation chose."""
        best = load_checkpoint(self.folder / "best.pt")
        model = load_network(best, self.dataset.side)
        test = self.dataset.test
        logits = predict(model.to(self.device), test.images, device=self.device)
        found = score(logits, test.labels)
        result = {**asdict(found), "accuracy": found.accuracy, "interval_95": list(found.interval_95)}
        rest = {"epoch": best["epoch"], "minutes": self.trainer.minutes}
        write_json(self.folder / "result.json", {**result, **rest, "confusion": confusion(logits, test.labels).tolist()})
        self._say(f"test set: {found}; epoch {best['epoch']} of {self.settings.epochs}, {self.trainer.minutes:.1f} minutes")
        print(f"to export it: python -m export --checkpoint {self.folder / 'best.pt'}")

    def report(self, data: Path | None) -> None:
        """Measure best.pt from every side and put all into report.html."""
        evaluation = importlib.import_module("train.evaluation")  # which takes matplotlib
        evaluation.run(
            evaluation.build_parser().parse_args([str(self.folder / "best.pt"), *(["--data", str(data)] if data else [])])
        )

    def how_to_resume(self) -> str:
        last = self.folder / "last.pt"
        if not last.exists():
            return "no epoch was finished, so there is nothing to resume"
        epoch = load_checkpoint(last)["epoch"]
        return f"epoch {epoch} is safe in {last}; to go on: python -m train --resume {last}"


def chosen_settings(options: argparse.Namespace, checkpoint: dict[str, Any] | None) -> Settings:
    """The defaults with what the command line changes; a resumed run keeps its own, since exactness is its promise."""
    given = {name: getattr(options, name) for name, _, _ in FLAGS if getattr(options, name) is not None}
    given |= {name: tuple(value) for name, value in (("extra", options.extra), ("teachers", options.teacher)) if value}
    if options.augmentation:
        given["augmentation"] = AUGMENTATIONS[options.augmentation]
    if checkpoint is None:
        return replace(Settings(), **given)
    if given or options.output:
        named = [flag_of(name) for name in (*given, *(["output"] if options.output else []))]
        raise SettingsError(f"{', '.join(named)} cannot go with --resume: a resumed run keeps its own settings")
    return Settings.from_dict(checkpoint["settings"])


def flag_of(setting: str) -> str:
    """`--batch-size` for batch_size; `--teacher` for teachers, since it names one at a time."""
    repeated = isinstance(getattr(Settings(), setting, None), tuple)
    return f"--{(setting.removesuffix('s') if repeated else setting).replace('_', '-')}"


def choose_device(name: str) -> torch.device:
    """The device that was asked for; `auto` takes CUDA when there is a GPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise SettingsError(f"device {name!r} is unknown; there are: cpu, cuda, auto")
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda: PyTorch sees no GPU here")
    return torch.device(name)


def describe(epoch: Epoch, epochs: int) -> str:
    return (
        f"epoch {epoch.number:>{len(str(epochs))}}/{epochs}  loss {epoch.loss:.4f}  accuracy {epoch.accuracy:.2%}"
        f"  validation {epoch.validation.accuracy:.2%}  {epoch.seconds:.1f} s"
    )


def _new_folder(seed: int) -> Path:
    return Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{seed}"


def refuse_used(folder: Path) -> None:
    if (folder / "last.pt").exists():
        raise SettingsError(f"{folder} holds a run already; to continue it: --resume {folder / 'last.pt'}")
