"""Promise: nothing that a caller can send makes the server crash, hang, grow, or tell what it looks like inside."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from typing import Any

import grpc
from digitserve.v1 import recognizer_pb2 as pb
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conformance.conftest import Proof
from tests.conftest import StartServer
from tests.e2e.conftest import Reference
from tests.hostile import STREAMS, Call, calls
from tests.mnist import Digits
from tests.server_process import ServerProcess, read_statistics

COPIES = 19
HANG_S = 5.0
GROWTH_BYTES = 24 * 2**20
FAIR = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"}
INSIDE = ("Traceback", "object at 0x", "site-packages", ".py", "<class", "google.protobuf")  # what no error may show


class Attacker:
    """Sends what it is given and looks at what comes back."""

    def __init__(self, server: ServerProcess) -> None:
        self.ends: Counter[str] = Counter()
        self.sizes_bytes: list[float] = []
        self._server, self._channel = server, server.connect()

    def attack(self, call: Call, chance: random.Random) -> None:
        """Sends it as it is, and in many damaged copies, which are cheap."""
        for attempt in (call, *(call.damaged(chance) for _ in range(COPIES))):
            self._try(attempt)

    def _try(self, call: Call) -> None:
        code, details = self._send(call)
        self.ends[code] += 1
        assert code in FAIR, (code, details, call)
        assert not any(word in details for word in INSIDE), (details, call)
        if self.ends.total() % 500 == 0:
            self.sizes_bytes.append(read_statistics(self._server.pid)[1])

    def _send(self, call: Call) -> tuple[str, str]:
        try:
            if call.path in STREAMS:
                list(self._channel.stream_stream(call.path)(iter(call.messages), timeout=HANG_S))
            else:
                self._channel.unary_unary(call.path)(call.messages[0], timeout=HANG_S)
        except grpc.RpcError as raised:
            error: Any = raised
            return error.code().name, error.details()
        return "OK", ""


def test_hostile_input(start_server: StartServer, whole: bool, proof: Proof, mnist_test: Digits, reference: Reference) -> None:
    server = start_server()
    # The first full batch of each instance takes its memory for good, some 40 MiB, and chance would have it come early or late.
    for _ in range(4):
        full = pb.RecognizeBatchRequest(images=mnist_test.images[:300].tobytes(), probabilities=True)
        for call in [server.stub().RecognizeBatch.future(full, timeout=60) for _ in range(8)]:
            call.result()
    attacker = Attacker(server)
    started_s = time.monotonic()

    @settings(
        max_examples=(100_000 if whole else 4_000) // (1 + COPIES),
        deadline=None,
        database=None,
        derandomize=not whole,  # in full others each time
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(calls(), st.randoms(use_true_random=False))
    def send(call: Call, chance: random.Random) -> None:
        attacker.attack(call, chance)

    send()
    quarter = len(attacker.sizes_bytes) // 4
    # Medians: a picture of the largest size allowed takes its 16 MiB for a moment, and that is fair.
    early, late = attacker.sizes_bytes[quarter : 2 * quarter], attacker.sizes_bytes[-quarter:]
    growth_bytes = statistics.median(late) - statistics.median(early)
    answer = server.stub().RecognizeBatch(pb.RecognizeBatchRequest(images=mnist_test.images[:256].tobytes()), timeout=60)
    assert list(answer.classes) == reference.probabilities[:256].argmax(axis=1).tolist()
    assert growth_bytes < GROWTH_BYTES
    assert "unexpected" not in server.stderr.lower()
    ends = ", ".join(f"{count:,} {code}" for code, count in attacker.ends.most_common())
    proof(
        f"{attacker.ends.total():,} hostile messages: no crash, no hang, no error of ours, memory flat",
        f"{ends}; {growth_bytes / 2**20:+.1f} MiB from the second to the last quarter of {time.monotonic() - started_s:.0f} s",
    )
