"""Every metric, once: its name with its unit, its kind, labels and buckets, what it means, and where its value is read."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from server.histogram import CONFIDENCE, IMAGES, SECONDS, Labels

if TYPE_CHECKING:
    from server.recorder import Calls, ModelRecord, Recorder
    from server.servicer import Served

MAX_CLASSES = 100  # a model with more has no counter for each: every one is a time series in somebody's database
MODEL = ("model", "version")

Values: TypeAlias = Iterable[tuple[Labels, Any]]


@dataclass(frozen=True, slots=True)
class Metric:
    """`read` gives a value for each combination of labels: a number, or what Histogram.read() returns.

    Of several server processes, counters and histograms are added up; `over_workers` makes one gauge of theirs.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    read: Callable[[Recorder], Values]
    buckets: tuple[float, ...] = ()
    over_workers: Callable[[Iterable[float]], float] = sum


def _flatten(pairs: Iterable[tuple[Labels, Any]]) -> Iterator[tuple[Labels, Any]]:
    """What is read as a mapping has a value for each of its keys, which are one more label."""
    for labels, value in pairs:
        if isinstance(value, Mapping):
            yield from (((*labels, key), each) for key, each in value.items())
        else:
            yield labels, value


def _of_calls(read: Callable[[Calls], Any]) -> Callable[[Recorder], Values]:
    """Of the RPCs that somebody has called: most of the two dozen are never called, and a histogram has many lines."""
    return lambda seen: _flatten(((name,), read(calls)) for name, calls in seen.calls.items() if calls.begun)


def _of_models(read: Callable[[Served, ModelRecord], Any]) -> Callable[[Recorder], Values]:
    return lambda seen: _flatten((labels, read(one, record)) for labels, one, record in seen.list_models())


def _count_results(one: Served, record: ModelRecord) -> dict[str, int]:
    return record.results | {"blank": record.results["blank"] + one.blank_images}


def _count_classes(one: Served, record: ModelRecord) -> dict[str, int]:
    names = one.card.class_names
    return dict(zip(names, record.classes.tolist(), strict=True)) if len(names) <= MAX_CLASSES else {}


def _name_build(seen: Recorder) -> Values:
    packages = ("digitserve", "onnxruntime", "grpcio")
    yield (*map(_find_version, packages), platform.python_version()), 1


@cache
def _find_version(package: str) -> str:
    """onnxruntime comes as one of two packages."""
    for name in (package, f"{package}-gpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


METRICS = (
    Metric(
        "digitserve_calls_total", "counter", ("method", "status"),
        "Calls that have ended, by their gRPC status.",
        lambda seen: _flatten(((name,), calls.read_statuses()) for name, calls in seen.calls.items()),
    ),
    Metric(
        "digitserve_call_seconds", "histogram", ("method",),
        "From the call's arrival in Python to its answer or error; a stream is one call.",
        _of_calls(lambda calls: calls.seconds.read()), SECONDS,
    ),
    Metric(
        "digitserve_running_calls", "gauge", ("method",),
        "Calls that have not ended yet.",
        _of_calls(lambda calls: calls.count_running()),
    ),
    Metric(
        "digitserve_drops_total", "counter", ("reason",),
        "Calls, and requests of a stream, that got an error for an answer, by the name of the error in server/errors.py; "
        "cancelled by the caller, or internal: a bug, which is in the log.",
        lambda seen: _flatten([((), seen.drops)]),
    ),
    Metric(
        "digitserve_framing_seconds", "histogram", ("where",),
        "Decoding and framing an image (or a batch that has to be looked at): on the event loop, or on a thread and then with "
        "the wait for it. What comes framed is not in it.",
        lambda seen: (((where,), histogram.read()) for where, histogram in seen.framing.items()), SECONDS,
    ),
    Metric(
        "digitserve_images_total", "counter", (*MODEL, "result"),
        "Images that were answered: sure, unsure (below the model's threshold) or blank.",
        _of_models(_count_results),
    ),
    Metric(
        "digitserve_answers_total", "counter", (*MODEL, "class"),
        f"Answers by class, without blank images. Models of more than {MAX_CLASSES} classes have none.",
        _of_models(_count_classes),
    ),
    Metric(
        "digitserve_confidence_ratio", "histogram", MODEL,
        "Probability of the answer, without blank images.",
        _of_models(lambda one, record: record.confidences.read()), CONFIDENCE,
    ),
    Metric(
        "digitserve_queue_wait_seconds", "histogram", MODEL,
        "From a request's arrival in the queue to the start of its first batch; 0 for one that is answered at once.",
        _of_models(lambda one, record: record.waits.read()), SECONDS,
    ),
    Metric(
        "digitserve_queue_images", "gauge", MODEL,
        "Images that wait.",
        _of_models(lambda one, record: one.batcher.waiting),
    ),
    Metric(
        "digitserve_predicted_wait_seconds", "gauge", MODEL,
        "How long an interactive request that came now would wait, as its admission is decided.",
        _of_models(lambda one, record: one.batcher.predict_wait_s()), over_workers=max,
    ),
    Metric(
        "digitserve_running_batches", "gauge", MODEL,
        "Batches that run on an instance now; those that run inline are never seen.",
        _of_models(lambda one, record: one.batcher.running),
    ),
    Metric(
        "digitserve_batches_total", "counter", (*MODEL, "reason"),
        "Batches by why they left: at_once (a lone request), same_round (those of one round of the event loop), gathered (a "
        "crowd), gathered_full (a crowd that was complete, or filled an inline batch), delay (max_queue_delay_ms), "
        "free_instance, full (and stood by while all instances worked), closing.",
        _of_models(lambda one, record: record.reasons),
    ),
    Metric(
        "digitserve_failed_batches_total", "counter", MODEL,
        "Batches that the model failed on.",
        _of_models(lambda one, record: record.failed),
    ),
    Metric(
        "digitserve_batch_images", "histogram", MODEL,
        "Images in a batch that has succeeded.",
        _of_models(lambda one, record: record.read_batch_sizes()), IMAGES,
    ),
    Metric(
        "digitserve_compute_seconds", "histogram", MODEL,
        "Running the model on a batch that has succeeded.",
        _of_models(lambda one, record: record.computes.read()), SECONDS,
    ),
    Metric(
        "digitserve_padding_images_total", "counter", MODEL,
        "Images that were computed for nothing, to fill a batch up to a bucket. On CUDA only.",
        _of_models(lambda one, record: record.count_padding()),
    ),
    Metric(
        "digitserve_serving", "gauge", (),
        "1 while health says SERVING, 0 before, while draining and while a model keeps failing. With workers: while one does.",
        lambda seen: [((), int(seen.health.is_serving()))], over_workers=max,
    ),
    Metric(
        "digitserve_model_info", "gauge", (*MODEL, "provider"),
        "1 for each model that is served: its version and what runs it.",
        _of_models(lambda one, record: {one.provider: 1}), over_workers=max,
    ),
    Metric(
        "digitserve_refused_versions", "gauge", MODEL,
        "1 for each version that lies in the model repository and is no good.",
        lambda seen: ((version, 1) for version in seen.refused), over_workers=max,
    ),
    Metric(
        "digitserve_build_info", "gauge", ("version", "onnxruntime", "grpcio", "python"),
        "1, with the versions of what runs.",
        _name_build, over_workers=max,
    ),
    Metric(
        "digitserve_workers", "gauge", (),
        "Server processes that serve and have answered this scrape.",
        lambda seen: [((), 1)],
    ),
    Metric(
        "digitserve_worker_restarts_total", "counter", (),
        "Server processes that ended by themselves and were started again.",
        lambda seen: [((), 0)],
    ),
)  # fmt: skip
