"""Bearer tokens: who may call. `python -m server.tokens NAME` makes one.

The file holds what tokens hash to, so that nobody who reads it can call. Tokens are 256 random bits, which nobody finds by
trying: a plain SHA-256 is enough, and is no cost to a call that a slow hash for passwords would be.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc

from server.errors import Unauthenticated
from server.statuses import abort

logger = logging.getLogger("digitserve.tokens")

LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63}) sha256:([0-9a-f]{64})")
LOOK_EVERY_S = 1.0
OPEN_TO_ALL = "/grpc.health.v1.Health/"  # probes have no token


class TokenError(Exception):
    """The file of tokens can't be used; the message names it."""


class Tokens:
    """The tokens of a file, which may change while the server runs: who is taken out is refused a second later."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises TokenError."""
        self._path, self._clock = path, clock
        self._stamp = _stamp(path)
        self._known = read_tokens(path)
        self._look_at = clock() + LOOK_EVERY_S

    def accept(self, authorization: str | bytes) -> bool:
        """Whether this is "Bearer TOKEN" with a token of ours. Takes as long for a wrong one as for a right one."""
        if self._clock() >= self._look_at:
            self._look()
        scheme, _, token = str(authorization).partition(" ")
        hashed = hashlib.sha256(token.strip().encode(errors="replace")).digest()
        found = [hmac.compare_digest(hashed, known) for known in self._known]  # all of them, wherever the right one stands
        return any(found) and scheme.lower() == "bearer"

    def _look(self) -> None:
        self._look_at = self._clock() + LOOK_EVERY_S
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._known = read_tokens(self._path)
        except TokenError as error:
            logger.error("the tokens stay as they were: %s", error)
        else:
            logger.info("%d tokens read from %s", len(self._known), self._path)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_tokens(path: Path) -> tuple[bytes, ...]:
    """The hashes in a file: a line for each, NAME sha256:HEX; # begins a comment. Raises TokenError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenError(f"{path} can't be read: {getattr(error, 'strerror', error)}") from None
    hashes = []
    for number, line in enumerate(lines, 1):
        entry = line.partition("#")[0].strip()
        if found := LINE.fullmatch(entry):
            hashes.append(bytes.fromhex(found[2]))
        elif entry:
            raise TokenError(f"{path}, line {number}: expected NAME sha256:HEX, as python -m server.tokens NAME prints it")
    if not hashes:
        raise TokenError(f"{path} holds no token: nobody could call")
    return tuple(hashes)


class TokenGuard(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """The one place where every call of every service shows its token, health apart. Only there if there are tokens.

    Before the services' own handlers: gRPC asks one after another who answers a call, and the guard takes those without a
    token. An interceptor costs each good call more (docs/decisions/0002-errors-without-interceptor.md).
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self.note_drop: Callable[[Exception], object] = lambda error: None  # told of a call that is refused
        # A handler of streams refuses unary calls as well, and without waiting for what the caller has to say.
        self._refusal = grpc.stream_stream_rpc_method_handler(self._refuse)

    def service(self, call: Any) -> Any:
        """None lets the call through to the handlers behind this one."""
        shown = [value for key, value in call.invocation_metadata if key == "authorization"]
        if (len(shown) == 1 and self._tokens.accept(shown[0])) or call.method.startswith(OPEN_TO_ALL):
            return None
        return self._refusal

    async def _refuse(self, requests: Any, context: Any) -> None:
        error = Unauthenticated("this server wants a token it knows: metadata authorization: Bearer TOKEN")
        self.note_drop(error)
        await abort(context, error)


def main(arguments: Sequence[str]) -> int:
    """Prints a new token and the line for the file. Returns the exit status."""
    if len(arguments) != 1 or not LINE.fullmatch(f"{arguments[0]} sha256:{'0' * 64}"):
        print("digitserve: say whom the token is for: python -m server.tokens NAME (letters, digits, . _ -)", file=sys.stderr)
        return 2
    token = secrets.token_urlsafe(32)
    print(f"the token, shown this once:    {token}")
    print(f"the line for the tokens' file: {arguments[0]} sha256:{hashlib.sha256(token.encode()).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
