"""The model's ceiling: the same ONNX file in plain onnxruntime, in a process of its own, with no server anywhere.

Prints one JSON object: images per second, the median time of a run, and with labelled images the accuracy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from digitserve.bench.images import load_images
from digitserve.bench.settings import BenchError

from server.graph import keep_only

WARMUP_S = 0.5
OUTPUT = "probabilities"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
USUAL_WAYS = ("default", "no-spinning")
WAYS = (*USUAL_WAYS, "split", "answers")


@dataclass(frozen=True, slots=True)
class RawFigures:
    """`run_ms` is the median of all runs."""

    images_per_s: float
    run_ms: float
    batch: int
    threads: int
    way: str
    provider: str


def open_session(
    model: Path, threads: int, *, spinning: bool = True, evidence: bool = True, provider: str = "cpu"
) -> ort.InferenceSession:
    """A session with `threads` threads. Raises BenchError where onnxruntime would take another provider instead."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    wanted = PROVIDERS[provider]
    if provider == "cuda":
        ort.preload_dlls()
    if wanted not in ort.get_available_providers():
        raise BenchError(f"this onnxruntime has no {wanted}")
    content = model.read_bytes()
    session = ort.InferenceSession(content if evidence else keep_only(content, OUTPUT), options, providers=[wanted])
    if session.get_providers()[0] != wanted:
        raise BenchError(f"onnxruntime fell back from {wanted} to {session.get_providers()[0]}")
    return session


def measure_raw(
    model: Path, pixels: npt.NDArray[np.uint8], *, threads: int, way: str, provider: str, seconds: float
) -> RawFigures:
    """Runs the whole of `pixels` (N, h, w) as one batch, again and again.

    The ways: onnxruntime's defaults; threads that sleep instead of spinning; one single-threaded session per thread, each
    with its own batches; and the defaults with a graph that has no evidence, which our server makes of the file, and which
    nobody would have who just opens it.
    """
    width = threads if way == "split" else 1
    share = 1 if way == "split" else threads
    how = {"spinning": way in {"default", "answers"}, "evidence": way != "answers"}
    sessions = [open_session(model, share, provider=provider, **how) for _ in range(width)]
    for session in sessions:
        _run_for(session, pixels, WARMUP_S / width)
    runs_s: list[list[float]] = [[] for _ in sessions]
    threads_running = [
        threading.Thread(target=lambda one=session, log=log: log.extend(_run_for(one, pixels, seconds)))
        for session, log in zip(sessions, runs_s, strict=True)
    ]
    started_s = time.perf_counter()
    for thread in threads_running:
        thread.start()
    for thread in threads_running:
        thread.join()
    elapsed_s = time.perf_counter() - started_s
    times_s = [one for log in runs_s for one in log]
    rate = len(times_s) * len(pixels) / elapsed_s
    return RawFigures(rate, statistics.median(times_s) * 1000, len(pixels), threads, way, provider)


def _run_for(session: ort.InferenceSession, pixels: npt.NDArray[np.uint8], seconds: float) -> list[float]:
    times_s: list[float] = []
    stop_s = time.perf_counter() + seconds
    while (started_s := time.perf_counter()) < stop_s or not times_s:
        session.run([OUTPUT], {"image": pixels})
        times_s.append(time.perf_counter() - started_s)
    return times_s


def predict(model: Path, pixels: npt.NDArray[np.uint8], *, provider: str = "cpu") -> npt.NDArray[np.float32]:
    """Probabilities (N, classes), in batches of 250."""
    session = open_session(model, 0, provider=provider)
    batches = [pixels[start : start + 250] for start in range(0, len(pixels), 250)]
    return np.concatenate([session.run([OUTPUT], {"image": batch})[0] for batch in batches])


def measure_accuracy(model: Path, source: str) -> dict[str, Any]:
    """How many of the labelled images of `source` the model reads right."""
    images = load_images(source)
    if images.labels is None:
        raise BenchError(f"{source} has no labels")
    correct = int((predict(model, images.pixels).argmax(1) == images.labels).sum())
    return {"correct": correct, "images": len(images)}


def main() -> int:
    parser = argparse.ArgumentParser(description="onnxruntime by itself")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", default="synthetic")
    parser.add_argument("--accuracy", action="store_true", help="count right answers instead of time")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, default="default")
    parser.add_argument("--provider", choices=sorted(PROVIDERS), default="cpu")
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    try:
        if args.accuracy:
            print(json.dumps(measure_accuracy(args.model, args.images)))
            return 0
        pixels = np.resize(load_images(args.images).pixels[: args.batch], (args.batch, 28, 28))
        how = {"threads": args.threads, "way": args.way, "provider": args.provider, "seconds": args.seconds}
        print(json.dumps(asdict(measure_raw(args.model, pixels, **how))))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
