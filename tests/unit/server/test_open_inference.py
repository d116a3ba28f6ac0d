"""The Open Inference Protocol's servicer without a socket: several versions, fairness, and what it tells the batcher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from server.batcher import Batcher
from server.catalog import Catalog
from server.errors import ModelNotFound
from server.health import HealthServicer
from server.intake import Intake
from server.job import Answer, Images, Rows
from server.labels import index_names, read_own_labels
from server.limits import Limits
from server.open_inference import OpenInferenceServicer
from server.servicer import RecognizerServicer, Served
from tests.in_process import CARD, read_stamps
from tests.open_inference import encoded_input, make_request, stamps
from tests.pictures import encode_grey
from tests.unit.server.vans import played

CARDS = [CARD, replace(CARD, version="2", labels=()), replace(CARD, name="letters", class_names=tuple("abcdefghij"))]


class Context:
    """As much of a gRPC context as is used."""

    def time_remaining(self) -> float | None:
        return None

    def invocation_metadata(self) -> Any:
        return ()


class NotingBatcher:
    """Answers at once, and remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def answer_at_once(self, images: Images, **how: Any) -> Answer | None:
        self.asked.append(("at once", how))
        return None

    def submit(self, images: Images, **how: Any) -> asyncio.Future[Answer]:
        self.asked.append(("submit", how))
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        rows: Rows = read_stamps(images, how["explain"])
        future.set_result(Answer(rows, 1.0, 2.0, len(images)))
        return future


def make_servicer(batcher: Any = None) -> OpenInferenceServicer:
    threads = ThreadPoolExecutor(1)
    named = index_names(CARDS, read_own_labels(CARDS), "digits")
    real = Batcher(read_stamps, Limits(inline_batch_size=16), threads)
    served = {id(card): Served(card, batcher or real, "CPUExecutionProvider") for card in CARDS}
    intake = Intake(threads, max_pixels=10**6, max_waiting=2, max_waiting_bytes=10**8)
    recognizer = RecognizerServicer({name: served[id(card)] for name, card in named.items()}, intake, stream_window=4)
    health = HealthServicer()
    health.report({name: True for name in named if name})
    catalog = Catalog(Path("models"), health)
    catalog.refused["letters", "2"] = "letters/2/model.json is missing"
    return OpenInferenceServicer(recognizer, health, catalog, control=False, max_answer_bytes=2**26)


@played
async def test_metadata_lists_every_version_of_the_model() -> None:
    servicer = make_servicer()
    described = await servicer.ModelMetadata(service_pb2.ModelMetadataRequest(name="digits"), Context())
    assert list(described.versions) == ["1", "2"]
    assert [list(output.shape) for output in described.outputs] == [[-1, 10], [-1, 10, -1, -1]]


@played
async def test_without_a_version_the_one_labelled_stable_answers() -> None:
    servicer = make_servicer()
    versions = [
        (await servicer.ModelInfer(make_request(1, model_version=one), Context())).model_version for one in ("", "1", "2")
    ]
    assert versions == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [("digits", "1", 2), ("digits", "2", 1), ("letters", "1", 0)]),
        ({"name": "digits"}, [("digits", "1", 2), ("digits", "2", 1)]),
        ({"name": "digits", "version": "1"}, [("digits", "1", 2)]),
        ({"name": "letters"}, [("letters", "1", 0)]),
    ],
)
def test_statistics_of_one_version_or_of_all(asked: dict[str, str], found: list[tuple[str, str, int]]) -> None:
    async def run() -> Any:
        servicer = make_servicer()
        for version in ("1", "2", ""):
            await servicer.ModelInfer(make_request(1, model_version=version), Context())
        return await servicer.ModelStatistics(service_pb2.ModelStatisticsRequest(**asked), Context())

    stats = asyncio.run(run()).model_stats
    assert [(one.name, one.version, one.inference_count) for one in stats] == found


@played
async def test_the_batchers_times_are_counted() -> None:
    servicer = make_servicer(NotingBatcher())
    for _ in range(3):
        await servicer.ModelInfer(make_request(1, 2), Context())
    (one,) = (await servicer.ModelStatistics(service_pb2.ModelStatisticsRequest(name="letters"), Context())).model_stats
    assert not one.inference_stats.success.count
    request = service_pb2.ModelStatisticsRequest(name="digits", version="1")
    (one,) = (await servicer.ModelStatistics(request, Context())).model_stats
    assert (one.inference_count, one.execution_count) == (6, 3)
    assert (one.inference_stats.queue.ns, one.inference_stats.compute_infer.ns) == (3_000_000, 6_000_000)


@played
async def test_a_lone_image_is_tried_at_once_and_may_gather_and_others_are_not() -> None:
    batcher = NotingBatcher()
    servicer = make_servicer(batcher)
    await servicer.ModelInfer(make_request(1), Context())
    await servicer.ModelInfer(make_request(1, 2), Context())
    assert [answer async for answer in servicer.ModelStreamInfer(in_turn(make_request(1)), Context())]
    asked = [(where, how.get("may_gather")) for where, how in batcher.asked]
    assert asked == [("at once", None), ("submit", True), ("submit", False), ("at once", None), ("submit", True)]


async def in_turn(*requests: Any) -> AsyncIterator[Any]:
    for request in requests:
        yield request


@played
async def test_between_small_image_files_others_have_their_turn() -> None:
    servicer = make_servicer()
    tensor = encoded_input([encode_grey(stamps(1)[0])] * 10)
    request = make_request(inputs=[tensor._get_tensor()], raw_input_contents=[tensor._get_content()])
    call, turns = asyncio.ensure_future(servicer.ModelInfer(request, Context())), 0
    while not call.done():
        await asyncio.sleep(0)  # no time passes
        turns += 1
    assert turns > 9
    assert np.frombuffer((await call).raw_output_contents[0], "<f4").size == 100


@played
async def test_the_index_lists_what_is_refused_unless_only_the_ready_are_asked_for() -> None:
    servicer = make_servicer()
    models = (await servicer.RepositoryIndex(service_pb2.RepositoryIndexRequest(), Context())).models
    assert [(one.name, one.version, one.state, one.reason) for one in models] == [
        ("digits", "1", "READY", ""),
        ("digits", "2", "READY", ""),
        ("letters", "1", "READY", ""),
        ("letters", "2", "UNAVAILABLE", "letters/2/model.json is missing"),
    ]
    models = (await servicer.RepositoryIndex(service_pb2.RepositoryIndexRequest(ready=True), Context())).models
    assert {one.state for one in models} == {"READY"}


@played
async def test_what_fails_within_a_stream_is_told_to_who_counts() -> None:
    servicer = make_servicer()
    told: list[Exception] = []
    servicer._recognizer.note_drop = told.append
    requests = in_turn(make_request(1, model_name="nobody"), make_request(1))
    answers = [answer async for answer in servicer.ModelStreamInfer(requests, Context())]
    assert [bool(answer.error_message) for answer in answers] == [True, False]
    assert [type(error) for error in told] == [ModelNotFound]
