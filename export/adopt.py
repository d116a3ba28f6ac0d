"""`python -m export.adopt models/digits/1 --output runs/digits`: the way back, from a published model to a checkpoint.

Checkpoints do not ship, published models do. One that is adopted can be evaluated, teach others, learn to doubt and be exported
again, without the hours that it took to train. It cannot be trained on: what the optimizer knew is not in the file.

Weights come back as export left them, with batch norm, pixel scale and temperature multiplied into them, and those of a large
network rounded to half precision; so batch norm is adopted as one that changes nothing, and the temperature as 1: a teacher who
was adopted is as certain as what is served, not as what was trained.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from export.onnx import scale_first_convolution
from export.verify import verify
from server.repository import CARD, MODEL
from train.checkpoint import save_checkpoint
from train.command import conclude
from train.errors import CheckpointError
from train.loop import build_model
from train.main import build_parser as training_parser
from train.main import chosen_settings
from train.model import Convolution, Doubt, Recognizer
from train.settings import Settings

TRIED = 256  # images of noise, on which the rebuilt network must answer as the file does

Card = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status; what goes wrong is one line on stderr."""
    options = build_parser().parse_args(arguments)
    return conclude("export.adopt", lambda: run(options), interrupted=lambda: "nothing was adopted")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export.adopt", description="Make a checkpoint of a published model.")
    parser.add_argument("version", type=Path, help="the folder of one version, such as models/digits/1")
    parser.add_argument("--output", type=Path, required=True, help="the folder that best.pt is to lie in, such as runs/digits")
    return parser


def run(options: argparse.Namespace) -> None:
    """Read, rebuild, compare, write: each step raises, and nothing is written before the last."""
    target = options.output / "best.pt"
    if target.exists():
        raise CheckpointError(f"{target} is there already; choose another --output")
    card, published = read(options.version)
    try:
        settings = settings_of(card)
        model = rebuild(card, settings, published)
        checkpoint = describe(card, settings, model)
    except KeyError as error:
        raise CheckpointError(f"{options.version} cannot be adopted: {error.args[0]} is missing") from error
    verify(model, 1.0, published, noise(card["input"]["height"]))
    options.output.mkdir(parents=True, exist_ok=True)
    save_checkpoint(target, checkpoint)
    print(f"written to {target}")


def read(version: Path) -> tuple[Card, onnx.ModelProto]:
    """A version's card and its float32 model.

    Raises:
        CheckpointError: one of the two is missing, or is not what it should be.
    """
    try:
        content = (version / MODEL).read_bytes()
        card: Card = json.loads((version / CARD).read_text(encoding="utf-8"))
        known = card["sha256"]
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{version / CARD} is not a model's card") from error
    if hashlib.sha256(content).hexdigest() != known:
        raise CheckpointError(f"{version / MODEL} is not the file that its card tells of: the checksums differ")
    return card, onnx.load_from_string(content)


def settings_of(card: Card) -> Settings:
    """Those of the training command that the card tells of.

    Raises:
        CheckpointError: it is not a command of this program, or one of another version.
    """
    words = shlex.split(card["training"]["command"])
    options, unknown = training_parser().parse_known_args(words[3:])
    if words[:3] != ["python", "-m", "train"] or unknown:
        raise CheckpointError(f"the model was not trained by this program, but by {card['training']['command']!r}")
    return chosen_settings(options, None)


@torch.no_grad()
def rebuild(card: Card, settings: Settings, published: onnx.ModelProto) -> Recognizer:
    """The network with the file's weights. Raises KeyError where the file has no such weight."""
    weights = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in published.graph.initializer}
    side = card["input"]["height"]
    model = build_model(settings, len(card["class_names"]), side)
    for name, module in model.named_modules():
        if isinstance(module, Convolution):
            conv, norm = module
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            fill(conv.weight, weights[f"{name}.0.weight"])
            fill(norm.bias, weights[f"{name}.0.bias"])
            norm.running_var.fill_(1 - norm.eps)  # type: ignore[union-attr]
    scale_first_convolution(model.features, 255)
    fill(model.classifier.weight, weights["head.weight"])
    fill(model.classifier.bias, weights["head.bias"])
    if "doubt" in card["training"]:
        model.doubt = Doubt(model.network)
        for name, values in model.doubt.named_parameters():
            fill(values, weights[f"doubt.{name}"])
    return model.eval()


def fill(values: Tensor, found: Tensor) -> None:
    """Take over what was found, which has as many values. Raises CheckpointError where it has not."""
    if values.numel() != found.numel():
        raise CheckpointError(f"the model is not of its card's network: weights {list(found.shape)} for {list(values.shape)}")
    values.copy_(found.view_as(values))


def describe(card: Card, settings: Settings, model: Recognizer) -> dict[str, Any]:
    """The checkpoint of a rebuilt network. Raises KeyError where the card does not tell enough."""
    training, weights = card["training"], model.state_dict()
    network = {name: value for name, value in weights.items() if not name.startswith("doubt.")}
    checkpoint = {
        "settings": settings.to_dict(),
        "class_names": card["class_names"],
        "epoch": training["best_epoch"],
        "minutes": training["minutes_to_best"],
        "weights": network,
        "ema": network,
        "optimizer": {},
        "scheduler": {},
        "generator": torch.Generator().get_state(),
        "best": {},
        "calibration": {"temperature": 1.0, "threshold": card["threshold"]},
        "provenance": {**source_of(training), "data_sha256": card["data"]["sha256"], "adopted": card["sha256"]},
    }
    if model.doubt is not None:
        told = training["doubt"]
        doubt = {"weights": model.doubt.state_dict(), "command": told["command"], "provenance": source_of(told)}
        checkpoint["doubt"] = doubt
    return checkpoint


def noise(side: int) -> Tensor:
    """Images (TRIED, side, side) uint8 of any grey: no dataset is needed to see whether two networks are the same."""
    return torch.randint(256, (TRIED, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def source_of(told: Card) -> Card:
    """The code and the machine that a card names."""
    return {name: told[name] for name in ("commit", "dirty", "device", "versions")}


if __name__ == "__main__":
    sys.exit(main())
