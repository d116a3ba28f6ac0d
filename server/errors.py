"""What can go wrong, and the gRPC status that each case becomes.

RecognizerError
├── InvalidRequest        INVALID_ARGUMENT    the request can never succeed; names the field
│   └── InvalidImage      INVALID_ARGUMENT    ... because of the image
├── Unsupported           UNIMPLEMENTED       part of a protocol that this server speaks, but not of this server
│   └── UnsupportedLayout UNIMPLEMENTED       ... because it does not read this layout
├── ModelNotFound         NOT_FOUND           no such model or version
├── ModelRefused          FAILED_PRECONDITION  the version that was to be loaded can't be served
├── Unauthenticated       UNAUTHENTICATED     no token that this server knows
├── QueueFull             RESOURCE_EXHAUSTED  the tray is full; says when to come back
│   └── WaitTooLong       RESOURCE_EXHAUSTED  ... or not so full, but the answer would come too late
├── Unavailable           UNAVAILABLE         safe to retry
│   ├── NotReady          UNAVAILABLE         ... because the model keeps failing
│   └── Draining          UNAVAILABLE         ... because the server is going away
├── DeadlinePassed        DEADLINE_EXCEEDED   the caller's deadline passed before the answer
└── InferenceFailed       INTERNAL            the batch failed; the caller learns no more than its id

This module imports nothing of gRPC: training uses the framing routine, which raises InvalidImage.
"""

from __future__ import annotations


class RecognizerError(Exception):
    """Base of everything that the server tells a caller. `code` is the name of the gRPC status."""

    code = "INTERNAL"

    def __init__(self, message: str, *, field: str = "", retry_after_ms: float = 0.0) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_ms = retry_after_ms


class InvalidRequest(RecognizerError):
    """The request can never succeed; `field` is the part of it that is wrong."""

    code = "INVALID_ARGUMENT"


class InvalidImage(InvalidRequest):
    """The image can't be read, or is not what the layout asks for."""


class Unsupported(RecognizerError):
    """Part of a protocol that this server speaks, but not of this server; the message names it."""

    code = "UNIMPLEMENTED"


class UnsupportedLayout(Unsupported):
    """The layout is part of the contract, but this server does not read it."""


class ModelNotFound(RecognizerError):
    """No model of that name, version or label is served."""

    code = "NOT_FOUND"


class ModelRefused(RecognizerError):
    """A version that was to be loaded can't be served; the message says why."""

    code = "FAILED_PRECONDITION"


class Unauthenticated(RecognizerError):
    """The call shows no token that this server knows."""

    code = "UNAUTHENTICATED"


class QueueFull(RecognizerError):
    """The tray is full; `retry_after_ms` says when it should have room again."""

    code = "RESOURCE_EXHAUSTED"


class WaitTooLong(QueueFull):
    """The request can't be answered in time; `retry_after_ms` is what it would have waited, 0 where waiting won't help."""


class Unavailable(RecognizerError):
    """Not now, but another attempt may succeed."""

    code = "UNAVAILABLE"


class NotReady(Unavailable):
    """The model keeps failing; another server may do better."""


class Draining(Unavailable):
    """The server is going away and accepts no more."""


class DeadlinePassed(RecognizerError):
    """The caller's deadline passed before its answer."""

    code = "DEADLINE_EXCEEDED"


class InferenceFailed(RecognizerError):
    """The batch failed on the execution provider."""

    code = "INTERNAL"
