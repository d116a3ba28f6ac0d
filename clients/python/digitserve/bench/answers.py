"""What a call came to, whatever kind of call it was."""

from __future__ import annotations

from typing import Any, NamedTuple

import grpc.aio

OK = "OK"
GONE = "UNAVAILABLE"  # no server was there, or it went
NOT_SENT = "NOT_SENT"  # no status of gRPC: the load process itself did not make the call


class Answer(NamedTuple):
    """What one call came to. `correct`: how many images were read right; None where nobody knows."""

    code: str
    images: int = 0
    correct: int | None = None
    queue_ms: float = 0.0
    compute_ms: float = 0.0
    batch_size: int = 0
    message: str = ""


def read_response(response: Any, texts: list[str] | None, index: int) -> Answer:
    """From a RecognizeResponse, or from the client's Recognition, which has the same names."""
    timing = response.timing
    correct = None if texts is None else int(response.text == texts[index])
    return Answer(OK, 1, correct, timing.queue_ms, timing.compute_ms, timing.batch_size)


def failure(error: Any) -> Answer:
    """By the status of a gRPC error, or the `code` of the client's own; without either, by the exception's name."""
    code = getattr(error, "code", None)
    code = code() if callable(code) else code
    details = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
    return Answer(str(getattr(code, "name", code) or type(error).__name__), message=details or "")
