"""`python -m train doubt`: teach a trained network to know when there is nothing for it to read.

A small second network is learned beside the first, which stays as it is: from the means of all its maps, whether there is one
of the classes at all, and whether the first one reads it rightly (train/model.py, Doubt). So no answer changes, only how far it
is to be trusted.

Into the checkpoint go the second network, and the threshold below which an answer is `unsure` with it; nothing else changes in
the file, and the same command again leaves it the same. Beside it, doubt.json says what came of it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import trange

from train.augment import AUGMENTATIONS, fade
from train.checkpoint import load_checkpoint, save_checkpoint, write_json
from train.command import conclude
from train.data import Images, cache_folder
from train.datasets import load_dataset, with_validation
from train.errors import DataError, SettingsError
from train.evaluate import answer, as_input, choose_threshold
from train.loop import load_network
from train.model import Doubt, Recognizer, look
from train.provenance import provenance
from train.settings import Settings
from train.strangers import DOUBTFUL, foreign_letters, load_strangers

SUMMARY = "teach a trained network to know when there is nothing for it to read"
EACH, MOST = 6000, 2.0  # strangers of each kind, and of all kinds for each character
HELD_OUT = 20  # one stranger in so many is not learned, to see what it all came to
AUGMENTATION = AUGMENTATIONS["grainy"]  # whatever moved the network's own images: what is spoilt is not yet strange
CHARACTERS, STRANGERS, LETTERS = 512, 768, 152  # in a batch; letters are those strangers that are of another alphabet
LR = 0.006  # the peak of the one-cycle schedule
WEIGHT_DECAY = 0.1  # with 0.01 it doubts so fully that no threshold is left between that and certainty
UNSURE_SHARE = 0.0035  # of validation images; at 0.004 digits came out at 0.51 % of test images, where 0.5 is promised
ODDS = 50  # while it learns, three pictures in five are strangers; where it serves, one for so many characters is taken to be


class Seen(NamedTuple):
    """What the network saw in n images, float16: the means (n, m) of its maps; 1 where it is to be doubted, else 0 (n, 1)."""

    means: Tensor
    wanted: Tensor


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns the exit status; what goes wrong is one line on stderr."""
    options = build_parser().parse_args(arguments)
    return conclude("doubt", lambda: run(options), interrupted=lambda: f"{options.checkpoint} is as it was")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train doubt", description=f"{SUMMARY[0].upper()}{SUMMARY[1:]}.")
    parser.add_argument("checkpoint", type=Path, help="what training wrote, runs/.../best.pt; it is added to")
    parser.add_argument("--data", type=Path, help="folder with the data (default: $DIGITSERVE_DATA, else a cache folder)")
    parser.add_argument("--strange-dataset", help="its characters are to be doubted, such as letters among digits")
    parser.add_argument("--steps", type=int, default=5000, help="batches to learn from (default: 5000)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same weights (default: 0)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Learn, then say what came of it, then write: each step raises, and nothing is written before the last."""
    if options.steps < 1:
        raise SettingsError(f"steps must be above 0, not {options.steps}")
    checkpoint = load_checkpoint(options.checkpoint)
    settings = Settings.from_dict(checkpoint["settings"])
    dataset = with_validation(load_dataset(settings.dataset, options.data, settings.extra, settings.limit))
    assert dataset.validation is not None
    if len(dataset.train) < 2:
        raise DataError(f"{dataset.origin.name} is too small to learn doubt beside it: {len(dataset.train)} images to train on")
    drawn = load_strangers(dataset.train.images, cache_folder(), DOUBTFUL, EACH, MOST)
    strange_dataset = load_dataset(options.strange_dataset, options.data) if options.strange_dataset else None
    letters = (foreign_letters(strange_dataset, dataset.side),) if strange_dataset else ()
    held = max(len(drawn) // HELD_OUT, 1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    doubtless = {**checkpoint, "doubt": None}  # one that it learned before may be of another shape, and goes
    model, temperature = load_network(doubtless, dataset.side).to(device), float(checkpoint["calibration"]["temperature"])
    model.doubt = learn(model, dataset.train, (drawn[held:], *letters), options.steps, options.seed)
    known, strange = (
        answer(model, temperature, images.to(device)).amax(1).cpu() for images in (dataset.validation.images, drawn[:held])
    )
    threshold = choose_threshold(known, UNSURE_SHARE)
    unsure = [float((confidence < threshold).float().mean()) for confidence in (known, strange)]
    print(
        f"threshold {threshold:.3f}: unsure of {unsure[0]:.2%} of {len(known):,} validation images"
        f" and of {unsure[1]:.1%} of {held:,} strangers that it has not seen"
    )
    about = {"command": command_of(options), "provenance": provenance(device)}
    doubt = {"weights": model.doubt.cpu().state_dict(), **about}
    calibration = {**checkpoint["calibration"], "threshold": threshold}
    save_checkpoint(options.checkpoint, {**checkpoint, "doubt": doubt, "calibration": calibration})
    found = {"threshold": threshold, "unsure": {"validation": unsure[0], "strangers": unsure[1]}}
    write_json(options.checkpoint.with_name("doubt.json"), {**found, **about})
    print(f"written to {options.checkpoint}")


def learn(model: Recognizer, characters: Images, strangers: Sequence[Tensor], steps: int, seed: int) -> Doubt:
    """What tells characters that are read rightly from all else by the means of the network's maps.

    Args:
        characters: what the network has learned.
        strangers: drawn ones (m, side, side) uint8, and after them letters if there are any.
    """
    generator = torch.Generator().manual_seed(seed)
    seen = [_look_at(model, characters.images, generator, characters.labels)]
    seen += [_look_at(model, images, generator) for images in strangers]
    shares = (CHARACTERS, STRANGERS - LETTERS, LETTERS) if len(strangers) > 1 else (CHARACTERS, STRANGERS)
    scale, shift = _measure(seen[0].means)
    device = shift.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        doubt = Doubt(model.network).to(device)
    optimizer = torch.optim.AdamW(doubt.parameters(), LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    with trange(steps, desc="learning to doubt", unit="batch", disable=None, leave=False) as bar:
        for _ in bar:
            drawn = [_draw(part, count, generator) for part, count in zip(seen, shares, strict=True)]
            means, wanted = (torch.cat(part).float() for part in zip(*drawn, strict=True))
            loss = binary_cross_entropy_with_logits(doubt((means - shift) / scale), wanted)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return _settle(doubt, scale, shift).eval()


@torch.inference_mode()
def _look_at(model: Recognizer, images: Tensor, generator: torch.Generator, labels: Tensor | None = None) -> Seen:
    """Each image as it is, twice moved and spoilt, and once faded as well. What has no label is to be doubted in any case."""
    device, rows = next(model.parameters()).device, []
    for view in range(4):
        for index in torch.split(torch.arange(len(images)), 500):
            inputs = as_input(images[index].to(device))
            moved = AUGMENTATION(inputs, generator) if view else inputs
            seen = fade(moved, generator) if view == 3 else moved
            maps, means = look(model.features, seen)
            answers = model.classifier(model.pool(maps)).argmax(1)
            wrong = torch.ones_like(answers) if labels is None else answers != labels[index].to(device)
            rows.append(Seen(means.half(), wrong[:, None].half()))
    return Seen(*(torch.cat(column) for column in zip(*rows, strict=True)))


def _measure(means: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift of each column: a map that never says anything is not enlarged without end."""
    columns = means.float()
    return columns.std(0) + 1e-3, columns.mean(0)


def _draw(seen: Seen, count: int, generator: torch.Generator) -> Seen:
    """`count` rows by chance."""
    index = torch.randint(len(seen.means), (count,), generator=generator).to(seen.means.device)
    return Seen(seen.means[index], seen.wanted[index])


@torch.no_grad()
def _settle(doubt: Doubt, scale: Tensor, shift: Tensor) -> Doubt:
    """Multiply scale and shift into the first layer, and bring the odds of the last one to where it will serve."""
    first, last = doubt.layers[0], doubt.layers[-1]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    first.weight.div_(scale)
    first.bias.sub_(first.weight @ shift)
    last.bias.sub_(math.log(ODDS * STRANGERS / CHARACTERS))
    return doubt


def command_of(options: argparse.Namespace) -> str:
    """The command without this machine's paths: what differs from the defaults, and the seed."""
    words = ["python -m train doubt", options.checkpoint.name]
    words += ["--strange-dataset", options.strange_dataset.partition(":")[0]] if options.strange_dataset else []
    words += ["--steps", str(options.steps)] if options.steps != build_parser().get_default("steps") else []
    return " ".join([*words, "--seed", str(options.seed)])


def describe(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """For the model's card: how its doubt was learned, and by which code. Nothing where none was."""
    if not (doubt := checkpoint.get("doubt")):
        return {}
    told = {name: doubt["provenance"][name] for name in ("commit", "dirty", "device", "versions")}
    return {"doubt": {"command": doubt["command"], **told}}
