"""`python -m export.page`: the models' pages in docs/models/, brought up to what their cards say.

A page is written by hand around one block, which is made from model.json and from nothing else, so that no number is copied.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- from model.json: python -m export.page -->", "<!-- end -->"
MODELS, PAGES = Path("models"), Path("docs/models")

Card = dict[str, Any]


def main() -> int:
    """Rewrite the block of every page whose model ships. Returns the exit status."""
    for path in sorted(MODELS.glob("*/*/model.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        page = PAGES / f"{card['name']}.md"
        if not page.is_file():
            print(f"export.page: {page} is missing: write it, with the lines {BEGIN!r} and {END!r}", file=sys.stderr)
            return 1
        page.write_text(renewed(page.read_text(encoding="utf-8"), card), encoding="utf-8")
    return 0


def renewed(page: str, card: Card) -> str:
    """The page with its block made anew. Raises ValueError if it has none."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page of {card['name']} lacks the lines {BEGIN!r} and {END!r}")
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts(card))
    return f"{before}{BEGIN}\n| | |\n|---|---|\n{rows}\n{END}{after}"


def facts(card: Card) -> Iterator[tuple[str, str]]:
    """What a reader wants to know of a model, in order."""
    metrics, data, training = card["metrics"], card.get("data", {}), card["training"]
    low, high = metrics["interval_95"]
    yield "classes", f"{len(card['class_names'])}: {' '.join(card['class_names'])}"
    yield "accuracy", f"{metrics['accuracy']:.2%} of {metrics['n']:,} test images ({low:.2%} to {high:.2%})"
    yield "unsure below", f"probability {card['threshold']:.3f}"
    yield "input", f"{card['input']['height']} x {card['input']['width']} grey pixels, light ink on black"
    yield "cost", f"{card['multiply_adds'] / 1e6:.2f} M multiply-adds, {card['parameters'] / 1e3:.1f} k weights"
    yield "file", f"{card['size_bytes'] / 1000:.0f} kB, ONNX opset {card['opset']}"
    for name in ("title", "source", "licence", "split"):
        if data.get(name):
            yield ("data" if name == "title" else name), data[name]
    yield "trained by", f"`{training['command']}`"
    yield "at commit", f"{training['commit'][:7]}, best of {training['epochs']} epochs: {training['best_epoch']}"
    yield "on", f"{training['device']}, {training['minutes_to_best']:.0f} minutes to that epoch"
    if adopted := training.get("adopted"):
        yield "weights", f"adopted from the file that was published then, sha256 {adopted[:12]}"
    if doubt := training.get("doubt"):
        yield "doubts by", f"`{doubt['command']}`, at commit {doubt['commit'][:7]}"


if __name__ == "__main__":
    sys.exit(main())
