"""Whether the answers that come through the server are the model's own."""

from __future__ import annotations

from typing import Any

from benchmarks.stage import Stage, say
from benchmarks.targets import Row

BATCH = 250  # divides the test set, so that every image is asked for exactly once
WAYS: dict[str, dict[str, Any]] = {
    "Recognize": {"mode": "single"},
    "RecognizeStream": {"mode": "stream"},
    "RecognizeBatch": {"mode": "batch", "batch_size": BATCH},
}


def measure_accuracy(stage: Stage) -> list[Row]:
    """Right answers on the whole MNIST test set, through each RPC and without a server."""
    if not stage.labelled:
        say("accuracy: left out, because no MNIST was found (set DIGITSERVE_DATA)")
        return []
    say("accuracy, through each RPC")
    alone = stage.raw("--accuracy", "--images", stage.images)
    images = alone["images"]
    expected = 100 * alone["correct"] / images
    rows = []
    for name, how in WAYS.items():
        calls = images // BATCH if how["mode"] == "batch" else images
        figures = stage.load(stage.server, concurrency=16, count=calls, warmup_s=0.0, **how)
        raw = {"correct": figures.correct, "checked": figures.checked, "alone": alone}
        value = 100 * figures.correct / figures.checked
        what = f"accuracy served by {name}, {figures.checked:,} digits"
        rows.append(Row(what, value, "%", expected, "exactly", digits=2, raw=raw))
    return rows
