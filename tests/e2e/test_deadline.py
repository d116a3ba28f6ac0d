"""Promises: a late caller is told so and a caller that went away is forgotten; neither is computed, neighbours are.

The server holds requests back for company, so that all calls of a test meet in one batch; the size of that batch, which
each answer tells, shows who was in it.
"""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from digitserve.v1 import recognizer_pb2 as pb
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub

from tests.conftest import StartServer
from tests.details import read_failure
from tests.e2e.conftest import Reference
from tests.mnist import Digits

WINDOW_MS = 600


@pytest.fixture(scope="module")
def patient(start_server: StartServer) -> RecognizerStub:
    return start_server("--max-queue-delay-ms", str(WINDOW_MS)).stub()


@pytest.fixture(scope="module")
def request_(mnist_test: Digits) -> pb.RecognizeBatchRequest:
    return pb.RecognizeBatchRequest(images=mnist_test.images[0].tobytes())


def test_calls_meet_in_a_batch(patient: RecognizerStub, request_: pb.RecognizeBatchRequest) -> None:
    calls = [patient.RecognizeBatch.future(request_, timeout=60) for _ in range(3)]
    assert [call.result().timing.batch_size for call in calls] == [3, 3, 3]


def test_a_late_call_is_told_so_in_time_and_not_computed(
    patient: RecognizerStub, request_: pb.RecognizeBatchRequest, reference: Reference
) -> None:
    late = patient.RecognizeBatch.future(request_, timeout=WINDOW_MS / 3e3)
    neighbour = patient.RecognizeBatch.future(request_, timeout=60)
    error: Any = late.exception()
    assert read_failure(error).code == "DEADLINE_EXCEEDED"
    assert not neighbour.done(), "the late caller must hear of it at its deadline, not when the batch is ready"
    assert neighbour.result().timing.batch_size == 1
    assert neighbour.result().classes == [int(reference.probabilities[0].argmax())]


def test_a_call_that_was_cancelled_is_not_computed(
    patient: RecognizerStub, request_: pb.RecognizeBatchRequest, reference: Reference
) -> None:
    gone = patient.RecognizeBatch.future(request_, timeout=60)
    neighbour = patient.RecognizeBatch.future(request_, timeout=60)
    gone.cancel()
    assert neighbour.result().timing.batch_size == 1
    assert neighbour.result().classes == [int(reference.probabilities[0].argmax())]


def test_a_deadline_that_has_passed_already_is_refused(patient: RecognizerStub, request_: pb.RecognizeBatchRequest) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        patient.RecognizeBatch(request_, timeout=1e-6)
    assert read_failure(caught.value).code == "DEADLINE_EXCEEDED"
