"""The programs beside `make bench` itself: what they refuse, and the processes that they watch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digitserve.bench.settings import BenchError, Settings

from benchmarks import __main__ as benchmarks_main
from benchmarks import gpu
from benchmarks.processes import ServerProcess, busy_cores
from benchmarks.results import INTERRUPTED, check_output, conclude, describe_others, report
from benchmarks.stage import Stage, find_images, find_model
from benchmarks.targets import Row


def test_the_newest_version_is_measured(tmp_path: Path) -> None:
    for version in ("2", "10", "draft"):
        (tmp_path / "digits" / version).mkdir(parents=True)
        (tmp_path / "digits" / version / "model.onnx").touch()
    assert find_model(tmp_path) == tmp_path / "digits/10/model.onnx"


def test_without_a_model_there_is_one_line_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmarks_main.main(["--models", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"benchmarks: no digits/<version>/model.onnx in {tmp_path}: train and export one, or name another --models"
    ]


def test_images_are_synthetic_without_data_and_labelled_where_labels_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 28, 28), np.uint8), labels=np.array([0]))
    assert find_images("") == ("synthetic", False)
    assert find_images(str(tmp_path / "a.npz")) == (str(tmp_path / "a.npz"), True)


def test_a_watched_server_has_an_address_processor_time_and_memory() -> None:
    with ServerProcess("benchmarks.echo") as echo:
        assert echo.address.startswith("127.0.0.1:")
        assert echo.start_s > 0
        assert echo.cpu_s() > 0
        assert 10 < echo.resident_mb() < 1000
        stage = Stage(echo, echo, Path(), "synthetic", False, 1, 0.1, 1, True, False)
        assert stage.load(echo, count=20, warmup_s=0.0).calls == 20
    assert echo.process.returncode == 0


def test_a_server_that_does_not_start_is_told_in_its_own_last_words() -> None:
    with pytest.raises(BenchError, match=r"`-m benchmarks\.nothing` did not start: .*No module named benchmarks.nothing"):
        ServerProcess("benchmarks.nothing").__enter__()


def test_how_busy_the_machine_is_is_a_number_of_cores() -> None:
    assert 0 <= busy_cores(0.05) < 1000


def test_the_saved_result_holds_every_row_and_what_was_behind_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage: Any = type("Stage", (), {"rounds": 3, "seconds": 1.0})
    rows = [Row("a", 1.0, "x", 2.0, raw={"calls": [1, 2]}), Row("b", 1.0, "x", 0.5), Row("c", 1.0, "x")]
    check_output(tmp_path / "new/results.json")
    report(rows, (0.0, 0.5), stage, tmp_path / "new/results.json", gpu="none")
    printed = capsys.readouterr().out
    assert "1 of 2 targets reached" in printed
    assert "NOT QUIET ENOUGH TO PUBLISH" in printed
    saved = json.loads((tmp_path / "new/results.json").read_text())
    assert [row["reached"] for row in saved["rows"]] == [False, True, None]
    assert saved["rows"][0]["raw"] == {"calls": [1, 2]}
    assert saved["gpu"] == "none"
    assert saved["machine"]["cores"] >= 1


def test_the_gpu_part_refuses_in_one_line_where_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_library(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("benchmarks.gpu.ctypes.CDLL", no_library)
    assert gpu.main([]) == 1
    err = capsys.readouterr().err
    assert err == "benchmarks.gpu: no CUDA GPU here: there is no CUDA driver (libcuda.so.1)\n"


def test_the_gpu_part_writes_where_out_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUT", "somewhere")
    assert gpu.parse_options([]).output == Path("somewhere")
    assert gpu.parse_options(["--output", "else"]).output == Path("else")


@pytest.mark.parametrize("parse", [benchmarks_main.parse_options, gpu.parse_options])
@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--seconds", "nan"], ["--processes", "0"]])
def test_options_that_make_no_sense_are_refused(parse: Any, wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(wrong)


def test_a_figure_with_failed_calls_in_it_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failed:
        failed, error_examples = 3, {"UNAVAILABLE": "draining"}

    def fail(settings: Settings) -> Any:
        return type("Measurement", (), {"figures": Failed})

    monkeypatch.setattr("benchmarks.stage.measure", fail)
    server = ServerProcess("server")
    server.address = "localhost:1"
    with pytest.raises(BenchError, match=r"3 calls to server failed: .*draining"):
        Stage(server, server, Path(), "synthetic", False, 1, 1.0, 1, True, False).load(server)


def test_servers_that_are_compared_keep_to_the_same_core() -> None:
    with ServerProcess("benchmarks.echo") as one, ServerProcess("benchmarks.echo") as other:
        kept = [os.sched_getaffinity(server.process.pid) for server in (one, other)]
    assert kept == [{min(os.sched_getaffinity(0))}] * 2


def test_a_part_that_fails_costs_no_other_part_its_figures() -> None:
    def fine(stage: Stage) -> list[Row]:
        return [Row("fine", 1.0, "x")]

    def broken(stage: Stage) -> list[Row]:
        raise BenchError("the server went away")

    stage: Any = None
    rows, failures = benchmarks_main.measure_parts(stage, [fine, broken, fine])
    assert [row.what for row in rows] == ["fine", "fine"]
    assert failures == ["broken: the server went away"]


def test_an_output_that_can_t_be_written_is_told_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert benchmarks_main.main(["--output", str(tmp_path / "file/results.json")]) == 1
    assert capsys.readouterr().err.startswith(f"benchmarks: can't write to {tmp_path}/file:")


def test_an_interrupt_says_that_nothing_is_saved(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise KeyboardInterrupt

    assert conclude("benchmarks.x", work) == INTERRUPTED
    assert capsys.readouterr().err == "benchmarks.x: interrupted, nothing saved\n"


def test_a_named_cause_is_one_line_and_any_other_is_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise LookupError("no browser")

    assert conclude("benchmarks.x", work, (LookupError,)) == 1
    assert capsys.readouterr().err == "benchmarks.x: no browser\n"
    with pytest.raises(LookupError):
        conclude("benchmarks.x", work)


def test_figures_from_a_busy_machine_are_called_so() -> None:
    assert describe_others((0.0, 0.05)) == "others kept 0.00 cores busy before and 0.05 after"
    assert describe_others((0.0, 0.5)).endswith(": NOT QUIET ENOUGH TO PUBLISH")
