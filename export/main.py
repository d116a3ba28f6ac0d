"""`python -m export`: from a checkpoint to a published model, or to one line that says why not."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from export.golden import choose_golden
from export.onnx import OPSET, to_onnx
from export.publish import check_target, publish
from export.storage import serialize
from export.timing import measure
from export.variants import FILES, Made, describe_variants, make_variants, table
from export.verify import Graph, verify
from server.labels import STABLE, move_labels
from server.repository import CARD, RepositoryError
from train.checkpoint import load_checkpoint
from train.command import check_writable, conclude
from train.data import Dataset, checksums
from train.datasets import load_dataset
from train.doubt import describe as describe_doubt
from train.evaluate import Score
from train.loop import load_network
from train.networks import NETWORKS, Cost, cost, doubt_cost
from train.settings import Settings

MAX_BATCH_SIZE = 256
TIMED_IMAGES = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status; what goes wrong is one line on stderr."""
    options = build_parser().parse_args(arguments)
    return conclude("export", lambda: run(options), interrupted=lambda: "nothing was published")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description="Publish a checkpoint as an ONNX model.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="what training wrote: runs/.../best.pt")
    parser.add_argument("--name", default="digits", help="the model's name (default: digits)")
    parser.add_argument("--version", default="1", help="the model's version, a whole number (default: 1)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="the model repository (default: models)")
    parser.add_argument("--data", type=Path, help="folder with MNIST (default: $DIGITSERVE_DATA, else a cache folder)")
    parser.add_argument(
        "--variants",
        type=parse_variants,
        default=list(FILES),
        metavar=",".join(FILES),
        help="what to publish, fp32 in any case (default: all that are as accurate as fp32, to 0.05 points)",
    )
    parser.add_argument("--force", action="store_true", help="replace a version that is published already")
    return parser


def parse_variants(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in FILES]:
        raise argparse.ArgumentTypeError(f"no variant {unknown[0]!r}; there are: {', '.join(FILES)}")
    return names


def run(options: argparse.Namespace) -> None:
    """Load, export, verify, measure, publish: each step raises, and nothing is written before the last."""
    check_target(options.models, options.name, options.version, force=options.force)
    check_writable(options.models)
    checkpoint = load_checkpoint(options.checkpoint)
    settings = Settings.from_dict(checkpoint["settings"])
    data = load_dataset(settings.dataset, options.data, settings.extra)
    model = load_network(checkpoint, data.side)
    temperature = float(checkpoint["calibration"]["temperature"])
    exported = to_onnx(model, temperature, data.side)
    difference = verify(model, temperature, exported, data.test.images)
    print(f"verified: probabilities within {difference.probabilities:.1g} of torch, evidence {difference.evidence:.1g}")
    found = Graph(serialize(exported).content).score(data.test.images, data.test.labels)  # of the file, not only the graph
    print(f"test set, in onnxruntime: {found}")
    made = make_variants(exported, found, options.variants, data)
    card = describe(options, checkpoint, settings, data, found) | compare(made, data)
    graphs = [Graph(content) for content in made.contents().values()]
    card["golden"] = choose_golden(graphs, data.test, card["class_names"], card["threshold"])
    files = {FILES[name]: content for name, content in made.contents().items()}
    before = find_stable(options.models, options.name)
    target = publish(options.models, options.name, options.version, files=files, card=card, force=options.force)
    print(f"published {target}")
    warn_if_worse(before, find_stable(options.models, options.name))


def find_stable(models: Path, name: str) -> dict[str, Any]:
    """The card of the version that servers take for `name`; an empty one where there is none, or none of ours."""
    try:
        version = move_labels(models, name, ())[STABLE]
        card = json.loads((models / name / version / CARD).read_bytes())
        return {key: card[key] for key in ("name", "version", "metrics")}
    except (KeyError, OSError, RepositoryError, TypeError, ValueError):
        return {}


def warn_if_worse(before: dict[str, Any], after: dict[str, Any]) -> None:
    """What is labelled stable is what servers take, at once if they run."""
    if not before or before["version"] == after["version"]:
        return
    old, new = before["metrics"], after["metrics"]
    if old["dataset"] == new["dataset"] and old["accuracy"] > new["accuracy"]:
        print(
            f"warning: servers take it from now on, and it reads {new['accuracy']:.2%} of the test images where version "
            f"{before['version']} reads {old['accuracy']:.2%}; back: "
            f"python -m server.labels {before['name']} {STABLE}={before['version']}",
            file=sys.stderr,
        )


def compare(made: Made, data: Dataset) -> dict[str, Any]:
    """Measure the variants, print what comes of it, and return it for the card."""
    measured = measure(made.contents(), data.test.images[:TIMED_IMAGES].numpy())
    described = describe_variants(made, measured)
    print(f"\n{table(made, measured)}\n")
    for name, reason in made.left_out.items():
        print(f"{name} is left out: {reason}")
    for device, name in described["best"].items():
        print(f"best on {device}: {name} ({described['measured'][device]})")
    return described


def describe(
    options: argparse.Namespace, checkpoint: dict[str, Any], settings: Settings, data: Dataset, found: Score
) -> dict[str, Any]:
    """The model's card: what the server needs, what it is worth, and where it comes from."""
    network = NETWORKS[settings.network]
    names, title = checkpoint["class_names"], data.origin.title or data.origin.name
    spent = cost(network, len(names), data.side)
    doubting = doubt_cost(network, data.side) if checkpoint.get("doubt") else Cost(0, 0)
    return {
        "description": f"Handwritten characters {describe_classes(names)}, trained on {title} (network {network.name}).",
        "labels": ["stable"],
        "class_names": names,
        "input": {"height": data.side, "width": data.side},
        "max_batch_size": MAX_BATCH_SIZE,
        "opset": OPSET,
        "multiply_adds": spent.multiply_adds + doubting.multiply_adds,
        "parameters": spent.parameters + doubting.parameters,
        "threshold": checkpoint["calibration"]["threshold"],
        "metrics": {
            "dataset": f"test images of {title}",
            "n": found.n,
            "accuracy": found.accuracy,
            "interval_95": list(found.interval_95),
            "errors": found.errors,
        },
        "data": {**data.origin._asdict(), "sha256": checksums(data)},
        "training": training_card(checkpoint, settings) | describe_doubt(checkpoint),
        "export": {"command": _command(options), "date": date.today().isoformat()},
    }


def describe_classes(names: list[str]) -> str:
    """In few words: "0 to 9", or all of them."""
    spelt = "".join(names)
    consecutive = len(spelt) == len(names) and all(ord(b) - ord(a) == 1 for a, b in pairwise(spelt))
    return f"{names[0]} to {names[-1]}" if consecutive else ", ".join(names)


def training_card(checkpoint: dict[str, Any], settings: Settings) -> dict[str, Any]:
    source = checkpoint["provenance"]
    adopted = {"adopted": source["adopted"]} if "adopted" in source else {}  # the published file whose weights these are
    return {
        "command": settings.command(),
        "commit": source["commit"],
        "dirty": source["dirty"],
        "seed": settings.seed,
        "epochs": settings.epochs,
        "best_epoch": checkpoint["epoch"],  # by validation; its weights are the ones published
        "minutes_to_best": round(checkpoint["minutes"], 1),
        "device": source["device"],
        "versions": source["versions"],
        **adopted,
    }


def _command(options: argparse.Namespace) -> str:
    """The command without this machine's paths."""
    chosen = "" if set(options.variants) == set(FILES) else f" --variants {','.join(options.variants)}"
    return f"python -m export --checkpoint {options.checkpoint.name} --name {options.name} --version {options.version}{chosen}"
