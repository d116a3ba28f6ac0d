"""The comparison with other servers: what is asked and read, what is refused, and how the best way of a peer is found."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from digitserve.bench.settings import BenchError
from tritonclient.grpc import service_pb2 as pb

from benchmarks.peers import servers
from benchmarks.peers.__main__ import WAYS, main, make_rows
from benchmarks.peers.load import Figures, build_request, check_answers, read_answer, run_loop
from benchmarks.peers.servers import Environment, PeerProcess

IMAGES = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
ROWS = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)


def answer(rows: npt.NDArray[np.float32]) -> bytes:
    message = pb.ModelInferResponse(model_name="digits", raw_output_contents=[rows.tobytes()])
    message.outputs.add(name="probabilities", datatype="FP32", shape=rows.shape)
    return bytes(message.SerializeToString())


def test_every_server_is_asked_for_the_same_images_and_only_for_probabilities() -> None:
    request = pb.ModelInferRequest.FromString(build_request(IMAGES))
    (tensor,) = request.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("image", "UINT8", [2, 28, 28])
    assert request.raw_input_contents[0] == IMAGES.tobytes()
    assert [output.name for output in request.outputs] == ["probabilities"]


def test_an_answer_without_probabilities_is_an_error() -> None:
    with pytest.raises(BenchError, match="without probabilities"):
        read_answer(pb.ModelInferResponse().SerializeToString())


@pytest.mark.parametrize("told", [ROWS[:1], ROWS + np.float32(0.01)])
def test_a_server_that_answers_otherwise_than_onnxruntime_is_not_measured(told: npt.NDArray[np.float32]) -> None:
    async def call(message: bytes, timeout: float) -> bytes:
        return answer(told)

    with pytest.raises(BenchError, match="not those of onnxruntime alone"):
        asyncio.run(check_answers(call, [IMAGES], [ROWS]))
    asyncio.run(check_answers(call, [IMAGES], [told]))


def test_the_loop_keeps_so_many_calls_in_flight_and_counts_those_after_the_warm_up() -> None:
    begun, most, now = 0, 0, 0

    async def call(message: bytes, timeout: float) -> bytes:
        nonlocal begun, most, now
        begun, now = begun + 1, now + 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return b""

    latencies_ms, seconds = asyncio.run(run_loop(call, [b"a", b"b"], 3, 0.2, 0.2))
    assert (most, seconds) == (3, 0.2)
    assert 0 < len(latencies_ms) < begun
    assert min(latencies_ms) >= 9


def loads(*rates: float) -> list[Figures]:
    return [Figures(rate, rate, 1.0, 2.0) for rate in rates]


def test_a_peer_is_judged_by_the_best_of_its_ways_round_by_round() -> None:
    runs = {
        ("digitserve", "as it comes"): loads(100, 200, 300),
        ("A", "slow"): loads(90, 10, 10),
        ("A", "quick"): loads(50, 50, 60),
        ("B", "only"): loads(200, 200, 200),
    }
    rows = {row.what: row for row in make_rows(runs, 16, 1)}
    against_a = rows["16 in flight: digitserve against A (quick)"]
    assert against_a.spread is not None
    assert (against_a.value, against_a.spread.low, against_a.spread.high) == (4.0, 2.0, 5.0)
    assert rows["16 in flight: digitserve against B (only)"].value == 1.0
    assert rows["16 in flight, A, slow"].value == 10
    assert not any("against A (slow)" in what for what in rows)


def test_there_is_one_way_of_ours_to_compare_with() -> None:
    assert [way.peer for way in WAYS].count("digitserve") == 1


def start(command: Sequence[str], folder: Path) -> None:
    with PeerProcess([*command], folder, os.environ, "127.0.0.1:1"):
        raise AssertionError("it can't be ready")


def test_a_peer_that_ends_is_told_in_its_own_last_words(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"did not start: .*no such model"):
        start([sys.executable, "-c", "import sys; sys.exit('no such model')"], tmp_path)


def test_a_peer_that_never_gets_ready_is_given_up_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "START_TIMEOUT_S", 0.2)
    peer = PeerProcess([sys.executable, "-c", "import signal; signal.pause()"], tmp_path, os.environ, "127.0.0.1:1")
    with pytest.raises(BenchError, match="did not start: it said nothing"):
        peer.__enter__()
    assert peer.process.returncode is not None


def test_a_peer_is_installed_once_and_a_failure_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(servers, "ONNXRUNTIME", f"nothing @ file://{tmp_path}/nothing.whl")
    environment = Environment("peer")
    with pytest.raises(BenchError, match=r"^peer can't be installed: ") as caught:
        environment.make()
    assert "\n" not in str(caught.value)
    (environment.folder / "requirements.txt").write_text("\n".join(environment.requirements))
    environment.make()


def test_without_a_model_there_is_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--models", str(tmp_path), "--json", str(tmp_path / "peers.json"), "--data", ""]) == 1
    assert capsys.readouterr().err.startswith(f"benchmarks.peers: no digits/<version>/model.onnx in {tmp_path}")
