"""`python -m train evaluate`: how good a network is, how honest, and what it does outside its test set; with pictures.

An evaluation writes into the checkpoint's own folder, or into --output:
    report.html        everything in one file
    evaluation.json    every number
    curves.png, classes.png, confusion.png, reliability.png, mistakes.png, corruptions.png, real.png   what applies
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from train.checkpoint import load_checkpoint
from train.command import check_writable, conclude
from train.data import Dataset, Images, cache_folder
from train.datasets import LOADERS, load_dataset
from train.errors import CheckpointError, DataError, SettingsError
from train.evaluate import answer
from train.loop import load_network
from train.metrics import Evaluation, Reader, measure_corruptions, measure_letters, measure_strangers, read_real
from train.settings import Settings

SUMMARY = "measure a checkpoint or a published model, and write a report with pictures"
ONNX = ".onnx"
BATCH_SIZE = 250


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns the exit status; what goes wrong is one line on stderr."""
    options = build_parser().parse_args(arguments)
    return conclude("evaluate", lambda: run(options), interrupted=lambda: "no report was written")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train evaluate", description=f"{SUMMARY[0].upper()}{SUMMARY[1:]}.")
    parser.add_argument(
        "model", type=Path, help="what training wrote, runs/.../best.pt, or a .onnx file with model.json beside it"
    )
    parser.add_argument("--data", type=Path, help="folder with the data (default: $DIGITSERVE_DATA, else a cache folder)")
    parser.add_argument("--dataset", help=f"whose test set: {', '.join(LOADERS)} ... (default: what it was trained on)")
    parser.add_argument("--output", type=Path, help="where to write (default: the checkpoint's folder; runs/<name>-<version>)")
    parser.add_argument("--corruptions", action="store_true", help="measure corrupted images and strangers, too (minutes)")
    parser.add_argument(
        "--realworld", type=Path, metavar="FOLDER", help="measure its pictures, named in labels.csv: file,label"
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Measure, then say it, then write it: each step raises, and nothing is written before the last."""
    require_matplotlib()
    folder = output_folder(options)
    check_writable(folder)
    evaluation = measure(options)
    say(evaluation)
    write(evaluation, folder)
    print(f"written to {folder / 'report.html'}")


def measure(options: argparse.Namespace) -> Evaluation:
    """Everything that was asked for."""
    reader, dataset = load_model(options)
    test = fit_labels(reader, dataset)
    evaluation = Evaluation(
        reader,
        test,
        reader.answer(test.images),
        origin=dataset.origin.title or dataset.origin.name,
        command=command_of(options),
        curves=read_curves(options.model.with_name("metrics.jsonl")),
    )
    if options.corruptions:
        evaluation = replace(
            evaluation,
            corrupted=measure_corruptions(reader, test, cache_folder()),
            strangers=measure_strangers(reader, test.images.numpy()),
            letters=measure_letters(reader, options.data),
        )
    if options.realworld:
        evaluation = replace(evaluation, real=read_real(reader, options.realworld, dataset.side))
    return evaluation


def load_model(options: argparse.Namespace) -> tuple[Reader, Dataset]:
    """The network, and the dataset whose test set it is to read: the one that it was trained on, or another.

    Raises:
        CheckpointError: the file is no model, or has been changed since it was published.
        DataError: the dataset can't be had.
    """
    path: Path = options.model
    if path.suffix == ONNX:
        card = read_card(path)
        dataset = load_dataset(options.dataset or dataset_of(card), options.data)
        return load_onnx(path, card, dataset.side), dataset
    checkpoint = load_checkpoint(path)
    settings = Settings.from_dict(checkpoint["settings"])
    dataset = load_dataset(options.dataset or settings.dataset, options.data)
    return restore(checkpoint, settings, dataset.side), dataset


def restore(checkpoint: dict[str, Any], settings: Settings, side: int) -> Reader:
    """The averaged network of a checkpoint, calibrated as it would be published."""
    names, model = tuple(checkpoint["class_names"]), load_network(checkpoint, side)
    temperature, threshold = (float(checkpoint["calibration"][name]) for name in ("temperature", "threshold"))
    title = f"network {settings.network}, seed {settings.seed}, epoch {checkpoint['epoch']}"
    return Reader(title, names, threshold, partial(answer, model, temperature))


def load_onnx(path: Path, card: dict[str, Any], side: int) -> Reader:
    """A published model in onnxruntime on the CPU."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise SettingsError(f"{path} needs onnxruntime, which is not installed: pip install onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError:
        raise
    except Exception as error:  # it has a dozen of its own, without a base
        raise CheckpointError(f"{path} is no ONNX model, or a damaged one") from error
    if (card["input"]["height"], card["input"]["width"]) != (side, side):
        raise DataError(f"{path} takes images of {card['input']['height']} pixels a side, and the dataset has {side}")

    def read(images: Tensor) -> Tensor:
        parts = torch.split(images, BATCH_SIZE)
        return torch.cat([torch.from_numpy(session.run(["probabilities"], {"image": part.numpy()})[0]) for part in parts])

    which = "" if path.name == "model.onnx" else f", {path.name}"
    return Reader(f"{card['name']}:{card['version']}{which}", tuple(card["class_names"]), float(card["threshold"]), read)


def read_card(path: Path) -> dict[str, Any]:
    """The model.json beside a model, with all that is needed here.

    Raises:
        CheckpointError: there is none, or it is something else, or belongs to another file.
    """
    place = path.with_name("model.json")
    try:
        content = path.read_bytes()
        card = json.loads(place.read_text(encoding="utf-8"))
        wanted = [card[key] for key in ("name", "version", "class_names", "threshold", "sha256")]
        wanted += [card["input"][key] for key in ("height", "width")]
        wanted.append(checksum_of(path.name, card))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no file {error.filename}: a published model is a .onnx file with model.json beside it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{place} is no model's card: {' '.join(str(error).split())}") from error
    if hashlib.sha256(content).hexdigest() != checksum_of(path.name, card):
        raise CheckpointError(f"{path} is not the file that {place.name} describes: its checksum is another")
    return dict(card)


def checksum_of(file: str, card: dict[str, Any]) -> str:
    """What a card says of a file: the model itself, unless it is one of the variants."""
    variants = card.get("variants", {}).values()
    return next((str(variant["sha256"]) for variant in variants if variant["file"] == file), str(card["sha256"]))


def dataset_of(card: dict[str, Any]) -> str:
    """What a published model was trained on, from the command that trained it."""
    words = str(card.get("training", {}).get("command", "")).split()
    return words[words.index("--dataset") + 1] if "--dataset" in words[:-1] else Settings().dataset


def fit_labels(reader: Reader, dataset: Dataset) -> Images:
    """The test set with the network's own class numbers.

    Raises:
        DataError: it has a class that the network does not know.
    """
    if missing := [name for name in dataset.class_names if name not in reader.class_names]:
        raise DataError(f"{reader.title} does not know all classes of {dataset.origin.name}: {', '.join(missing)}")
    places = torch.tensor([reader.class_names.index(name) for name in dataset.class_names])
    return Images(dataset.test.images, places[dataset.test.labels])


def read_curves(path: Path) -> list[dict[str, float]]:
    """The epochs of a run; none where there is no such file, as beside a published model."""
    names = ("epoch", "loss", "accuracy", "validation_loss", "validation_accuracy")
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [{name: row[name] for name in names} for row in rows]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def say(evaluation: Evaluation) -> None:
    from train.report import tell

    print("\n".join(tell(evaluation)))


def require_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise SettingsError("the report's pictures need matplotlib, which is not installed: pip install matplotlib")


def command_of(options: argparse.Namespace) -> str:
    """The command without this machine's paths."""
    words = ["python -m train evaluate", options.model.name]
    words += ["--dataset", options.dataset.partition(":")[0]] if options.dataset else []
    words += ["--corruptions"] if options.corruptions else []
    words += ["--realworld", options.realworld.name] if options.realworld else []
    return " ".join(words)


def output_folder(options: argparse.Namespace) -> Path:
    """--output, else the run's folder. A published model's folder is the server's: beside it nothing is written."""
    path: Path = options.model
    if options.output or path.suffix != ONNX:
        return options.output or path.parent
    card = read_card(path)
    variant = path.name.removeprefix("model").removesuffix(ONNX).replace(".", "-")
    return Path("runs") / f"{card['name']}-{card['version']}{variant}"


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write all files, each whole or not at all."""
    from train.report import compose, draw

    pictures = draw(evaluation)
    numbers = json.dumps(evaluation.numbers(), indent=2, ensure_ascii=False) + "\n"
    files = {f"{picture.name}.png": picture.light for picture in pictures}
    files |= {"evaluation.json": numbers.encode(), "report.html": compose(evaluation, pictures).encode()}
    folder.mkdir(parents=True, exist_ok=True)
    partials = {name: folder / f".{name}.{os.getpid()}.part" for name in files}
    try:
        for name, content in files.items():
            partials[name].write_bytes(content)
        for name, partial in partials.items():
            partial.replace(folder / name)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
