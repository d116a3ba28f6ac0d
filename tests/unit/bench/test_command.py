from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from digitserve.bench.command import add_arguments, run
from digitserve.bench.settings import Settings

from benchmarks.echo import EchoServicer
from tests.unit.bench.conftest import serve_on


def bench(*options: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(options))


def test_the_options_default_to_the_defaults_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIGITSERVE_SERVER", raising=False)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = vars(parser.parse_args([]))
    assert {name: args[name] for name in Settings().as_dict()} == Settings().as_dict()


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITSERVE_SERVER", "elsewhere:1")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args([]).server == "elsewhere:1"


def test_a_run_prints_its_report_and_saves_json_and_plot(
    echo_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(tmp_path / "bench.json"), "--plot", str(tmp_path / "bench.svg")]
    assert bench("--server", echo_address, "--count", "50", "--warmup", "0", *files) == 0
    report = capsys.readouterr().out
    assert [line.split()[0] for line in report.splitlines()] == [
        "bench", "machine", "throughput", "latency", "queue", "compute", "batches", "errors",
    ]  # fmt: skip
    result = json.loads((tmp_path / "bench.json").read_text())
    assert set(result) == {"settings", "machine", "figures"}
    assert (result["settings"]["count"], result["figures"]["calls"]) == (50, 50)
    assert result["machine"]["cores"] >= 1
    assert "grpcio" in result["machine"]["packages"]
    assert (tmp_path / "bench.svg").read_text().lstrip().startswith("<?xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "bench.svg"]


def test_json_to_standard_output_is_all_that_is_there(
    echo_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench("--server", echo_address, "--count", "20", "--warmup", "0", "--json", "-") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["figures"]["calls"] == 20
    assert "throughput" in printed.err
    assert not list(tmp_path.iterdir())


def test_a_batch_that_no_message_holds_is_one_line(echo_address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--server", echo_address, "--mode", "batch", "--batch-size", "100000") == 1
    assert capsys.readouterr().err.splitlines()[1:] == [
        "digitserve bench: --batch-size 100000 makes calls of 78,400,000 bytes; "
        "at most 67,108,864 bytes are accepted, which is 85,598 images"
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plot", "figure.pdf"], "--plot figure.pdf: the name must end in .png or .svg"),
        (["--json", "no/such/folder/a.json"], "--json no/such/folder/a.json: there is no folder no/such/folder"),
        (["--concurrency", "0"], "--concurrency must be at least 1, not 0"),
        (["--rate", "nan"], "--rate must be a number above 0, not nan"),
    ],
)
def test_options_that_make_no_sense_are_one_line_and_status_2(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(*options) == 2
    assert capsys.readouterr().err == f"digitserve bench: {words}\n"


def test_a_token_that_is_none_is_one_line_which_does_not_show_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIGITSERVE_TOKEN", "two words")
    assert bench() == 2
    said = capsys.readouterr().err
    assert said.startswith("digitserve bench: DIGITSERVE_TOKEN: token holds a space")
    assert "two words" not in said


def test_a_missing_matplotlib_is_told_before_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name))
    assert bench("--plot", "figure.png") == 2
    assert capsys.readouterr().err == "digitserve bench: --plot needs matplotlib: pip install 'digitserve[plot]'\n"


def test_an_unreachable_server_is_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench("--server", "127.0.0.1:1", "--timeout", "0.2") == 1
    assert capsys.readouterr().err.splitlines()[1:] == [
        "digitserve bench: no server at 127.0.0.1:1: start one with `make run`, or name it with --server"
    ]


class Faltering(EchoServicer):
    """Refuses so many calls of each ten."""

    def __init__(self, refused: int) -> None:
        super().__init__()
        self.refused, self.calls = refused, 0

    async def Recognize(self, request: Any, context: Any) -> Any:  # noqa: N802 - as the contract names it
        self.calls += 1
        if self.calls % 10 < self.refused:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return await super().Recognize(request, context)


@pytest.mark.parametrize(("refused", "status"), [(4, 0), (5, 1), (9, 1)])
def test_a_run_of_which_most_failed_did_not_succeed(loop: asyncio.AbstractEventLoop, refused: int, status: int) -> None:
    with serve_on(loop, Faltering(refused)) as address:
        assert bench("--server", address, "--count", "50", "--warmup", "0", "--concurrency", "1") == status


class Restarted(EchoServicer):
    """Is away for the calls of this range."""

    def __init__(self, away: range) -> None:
        super().__init__()
        self.away, self.calls = away, 0

    async def Recognize(self, request: Any, context: Any) -> Any:  # noqa: N802 - as the contract names it
        self.calls += 1
        if self.calls in self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        return await super().Recognize(request, context)


@pytest.mark.parametrize(("away", "status"), [(range(20, 25), 0), (range(26, 99), 1)])
def test_a_server_that_is_gone_at_the_end_is_told_and_no_success(
    loop: asyncio.AbstractEventLoop, away: range, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve_on(loop, Restarted(away)) as address:
        assert bench("--server", address, "--count", "30", "--warmup", "0", "--concurrency", "1") == status
    assert ("THE SERVER WAS GONE at the end" in capsys.readouterr().out) == bool(status)


def test_ctrl_c_is_one_line_and_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(settings: Settings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("digitserve.bench.command.measure", interrupted)
    assert bench("--json", str(tmp_path / "bench.json")) == 130
    assert "interrupted, nothing saved" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
