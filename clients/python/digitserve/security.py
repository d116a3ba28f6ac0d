"""How a client knows its server, and how the server knows the client: TLS, and a bearer token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

TOKEN = re.compile(r"[!-~]+")  # what a header's word may hold (RFC 6750 allows less)


@dataclass(frozen=True, slots=True)
class TLS:
    """An encrypted connection.

    Attributes:
        authorities: PEM file of whom the server's certificate must come from; None for those that gRPC comes with.
        certificate: PEM file of the caller's own certificate with its chain, where the server wants one (mTLS).
        key: PEM file of that certificate's private key.
    """

    authorities: Path | str | None = None
    certificate: Path | str | None = None
    key: Path | str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: one of them is missing")

    def credentials(self) -> grpc.ChannelCredentials:
        """For a channel of one's own. Raises OSError if a file can't be read."""
        authorities, key, certificate = (
            None if path is None else Path(path).read_bytes() for path in (self.authorities, self.key, self.certificate)
        )
        return grpc.ssl_channel_credentials(authorities, key, certificate)


class Signed:
    """A call of a stub that shows the token each time."""

    def __init__(self, call: Any, token: str) -> None:
        self._call = call
        self._metadata = (("authorization", f"Bearer {token}"),)

    def __call__(self, *request: Any, **options: Any) -> Any:
        return self._call(*request, metadata=self._metadata, **options)

    def future(self, request: Any, **options: Any) -> Any:
        """Of a blocking stub: the call, under way."""
        return self._call.future(request, metadata=self._metadata, **options)


def checked_token(token: str) -> str:
    """A token is one word of a header; "" is none. Raises ValueError, which does not show it, or TypeError."""
    if not isinstance(token, str):
        raise TypeError(f"token is of type {type(token).__name__}: give a str")
    if token and not TOKEN.fullmatch(token):
        raise ValueError("token holds a space, a line break or a sign that is not ASCII: is there more in it than the token?")
    return token
