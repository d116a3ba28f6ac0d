"""Everything that this client raises by itself.

DigitserveError
├── RecognitionError          a call ended in a gRPC status other than OK
│   ├── InvalidRequest        INVALID_ARGUMENT    can never succeed; `field` names the part that is wrong
│   │   ├── InvalidImage      INVALID_ARGUMENT    ... because of the image
│   │   └── MessageTooLarge   RESOURCE_EXHAUSTED  ... because it is over a limit on message sizes
│   ├── ModelNotFound         NOT_FOUND           no such model, version or label
│   ├── Overloaded            RESOURCE_EXHAUSTED  the server's tray is full; `retry_after_s` says when to come back
│   ├── Unavailable           UNAVAILABLE         no server there, or it is starting or draining; retries were made
│   ├── DeadlineExceeded      DEADLINE_EXCEEDED   no answer in time
│   ├── Unauthenticated       UNAUTHENTICATED     no token or a wrong one (PERMISSION_DENIED, too)
│   ├── Unimplemented         UNIMPLEMENTED       a layout or a call that this server does not know
│   └── Internal              INTERNAL            the server failed, or its answer makes no sense (all other statuses, too)
└── ClientClosed              CANCELLED           the client was closed before the answer

Arguments that are wrong before anything is sent raise ValueError or TypeError, and a file that can't be read raises
OSError, as everywhere in Python.
"""

from __future__ import annotations

import copy
from typing import TypeVar


class DigitserveError(Exception):
    """Base of all errors here.

    Attributes:
        code: name of the gRPC status, such as "NOT_FOUND".
        message: what is wrong, in one line.
        field: path of the request's field that is wrong, such as "image.encoded"; "" where none is.
        retry_after_s: when to come back, in seconds; None where the server did not say.
    """

    code = "UNKNOWN"

    def __init__(self, message: str, *, field: str = "", retry_after_s: float | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class RecognitionError(DigitserveError):
    """A call ended in a gRPC status other than OK."""


class InvalidRequest(RecognitionError):
    """The request can never succeed; `field` is the part of it that is wrong."""

    code = "INVALID_ARGUMENT"


class InvalidImage(InvalidRequest):
    """The image can't be read, or is not what the layout asks for."""


class MessageTooLarge(InvalidRequest):
    """The request or its answer is over the client's or the server's limit on message sizes."""

    code = "RESOURCE_EXHAUSTED"


class ModelNotFound(RecognitionError):
    """No model of that name, version or label is served."""

    code = "NOT_FOUND"


class Overloaded(RecognitionError):
    """The server's tray is full; `retry_after_s` says when it should have room again."""

    code = "RESOURCE_EXHAUSTED"


class Unavailable(RecognitionError):
    """No server answers, or it is starting, draining or unhealthy. The retries are already used up."""

    code = "UNAVAILABLE"


class DeadlineExceeded(RecognitionError):
    """No answer within `timeout_s`."""

    code = "DEADLINE_EXCEEDED"


class Unauthenticated(RecognitionError):
    """The server wants a token, or another one."""

    code = "UNAUTHENTICATED"


class Unimplemented(RecognitionError):
    """The contract knows this layout or call, but this server does not."""

    code = "UNIMPLEMENTED"


class Internal(RecognitionError):
    """The server failed in a way that it did not foresee, or answered nonsense."""

    code = "INTERNAL"


class ClientClosed(DigitserveError):
    """The client was closed before the answer, or is used after that."""

    code = "CANCELLED"

    def __init__(self, message: str = "the client is closed") -> None:
        super().__init__(message)


_BY_CODE: dict[str, type[RecognitionError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "NOT_FOUND": ModelNotFound,
    "RESOURCE_EXHAUSTED": Overloaded,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": Unauthenticated,
    "UNIMPLEMENTED": Unimplemented,
}

# gRPC itself refuses a message over a limit with RESOURCE_EXHAUSTED, as if waiting could help. Only its text tells.
_GRPC_SIZE_REFUSAL = "larger than max"


def error_from_status(code: str, message: str, *, field: str = "", retry_after_s: float | None = None) -> RecognitionError:
    """The error of a status, as a call or an element of a stream ended in it."""
    kind = _BY_CODE.get(code, Internal)
    if kind is InvalidRequest and field.partition(".")[0] in {"image", "images"}:
        kind = InvalidImage
    if kind is Overloaded and _GRPC_SIZE_REFUSAL in message:
        kind = MessageTooLarge
    return kind(message, field=field, retry_after_s=retry_after_s, code=code)


ErrorT = TypeVar("ErrorT", bound=DigitserveError)


def own_copy(error: ErrorT) -> ErrorT:
    """A second error just like it: one that several callers share would gather the tracebacks of all of them."""
    twin = copy.copy(error)
    twin.__cause__ = error.__cause__
    return twin
