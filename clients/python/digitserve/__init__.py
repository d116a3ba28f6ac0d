"""Client for digitserve: handwritten characters in, text out.

from digitserve import Client

with Client("localhost:50051") as client:
    print(client.recognize("seven.png").text)
"""

from __future__ import annotations

from digitserve.aio import AsyncClient
from digitserve.client import Client
from digitserve.errors import (
    ClientClosed,
    DeadlineExceeded,
    DigitserveError,
    Internal,
    InvalidImage,
    InvalidRequest,
    MessageTooLarge,
    ModelNotFound,
    Overloaded,
    RecognitionError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from digitserve.results import (
    Alternative,
    BatchRecognition,
    Box,
    Character,
    Evidence,
    Model,
    ModelVersion,
    Recognition,
    Timing,
)
from digitserve.security import TLS

__version__ = "0.1.0"

__all__ = [
    "TLS",
    "Alternative",
    "AsyncClient",
    "BatchRecognition",
    "Box",
    "Character",
    "Client",
    "ClientClosed",
    "DeadlineExceeded",
    "DigitserveError",
    "Evidence",
    "Internal",
    "InvalidImage",
    "InvalidRequest",
    "MessageTooLarge",
    "Model",
    "ModelNotFound",
    "ModelVersion",
    "Overloaded",
    "Recognition",
    "RecognitionError",
    "Timing",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "__version__",
]
