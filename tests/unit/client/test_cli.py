"""The command line, run in this process against a server in this process."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import sys
import types
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from digitserve import AsyncClient, cli
from digitserve.files import ImageFile
from digitserve.reading import read_files
from digitserve.requests import Question

from tests.unit.client.fake_server import FakeServer, Refusal

Run = Callable[..., "Finished"]


class Finished:
    """An ended command: its exit code and its lines."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.lines = out.splitlines()
        self.err = err


@pytest.fixture
def run(server: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("DIGITSERVE_SERVER", server.target)

    def run_command(*words: object) -> Finished:
        code = cli.main([str(word) for word in words])
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    return run_command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """7.png and sub/3.JPG, which a fake server reads as what their length ends in; and what is no image."""
    (tmp_path / "sub" / "deeper").mkdir(parents=True)
    (tmp_path / "7.png").write_bytes(b"x" * 17)
    (tmp_path / "sub" / "deeper" / "3.JPG").write_bytes(b"x" * 13)
    (tmp_path / "sub" / "notes.txt").write_text("no image")
    return tmp_path


def test_files_become_an_aligned_table(run: Run, folder: Path) -> None:
    done = run("recognize", folder / "7.png", folder / "sub" / "deeper" / "3.JPG")
    width = len(str(folder / "sub" / "deeper" / "3.JPG"))
    assert done.code == 0
    assert done.lines == [
        f"{'FILE':<{width}}  TEXT  PROBABILITY  UNSURE",
        f"{folder / '7.png'!s:<{width}}  7     0.7188",
        f"{folder / 'sub' / 'deeper' / '3.JPG'!s:<{width}}  3     0.5938       unsure",
    ]
    assert done.err == ""


def test_a_folder_is_searched_through(run: Run, folder: Path) -> None:
    done = run("recognize", folder)
    assert [line.split()[:2] for line in done.lines[1:]] == [
        [str(folder / "7.png"), "7"],
        [str(folder / "sub" / "deeper" / "3.JPG"), "3"],
    ]


@pytest.mark.parametrize(("pattern", "texts"), [("*.png", ["7"]), ("**/*.JPG", ["3"]), ("s*", ["3"])])
def test_a_glob_is_expanded(run: Run, folder: Path, pattern: str, texts: list[str]) -> None:
    done = run("recognize", folder / pattern)
    assert [line.split()[1] for line in done.lines[1:]] == texts


def test_standard_input_is_an_image(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b"x" * 9)))
    assert run("recognize", "-").lines[1].split() == ["-", "9", "0.7812"]


def test_many_files_are_bulk_and_one_is_not(run: Run, folder: Path, server: FakeServer) -> None:
    run("recognize", folder / "7.png")
    run("recognize", folder)
    assert [call.request.priority for call in server.recognizer.calls] == [1, 2, 2]


def test_every_option_arrives(run: Run, folder: Path, server: FakeServer) -> None:
    done = run(
        "recognize",
        folder / "7.png",
        "--model",
        "m:2",
        "--layout",
        "single",
        "--ink",
        "dark",
        "--top-k",
        2,
        "--timeout",
        5,
    )
    request = server.recognizer.calls[0].request
    assert (request.model, request.layout, request.ink, request.top_k) == ("m:2", 3, 3, 2)
    remaining_s = server.recognizer.calls[0].time_remaining_s
    assert remaining_s is not None
    assert remaining_s < 6
    assert done.lines[1].endswith("7     7 0.7188, 8 0.2500")


def test_a_timeout_may_be_as_long_as_one_likes(run: Run, folder: Path) -> None:
    assert run("recognize", folder / "7.png", "--timeout", "1e10").code == 0


def test_json_is_one_object_a_line(run: Run, folder: Path) -> None:
    done = run("recognize", "--json", "--top-k", 1, folder, folder / "absent.png")
    first, second, third = map(json.loads, done.lines)
    assert done.code == 1
    assert first == {
        "file": str(folder / "7.png"),
        "text": "7",
        "characters": [
            {
                "label": "7",
                "probability": 0.71875,
                "unsure": False,
                "alternatives": [{"label": "7", "probability": 0.71875}],
                "box": {"left": 0, "top": 0, "width": 28, "height": 28},
            }
        ],
        "model": "digits:1",
        "timing": {"queue_ms": 0.25, "compute_ms": 0.5, "batch_size": 2},
    }
    assert second["text"] == "3"
    assert third["error"] == {"code": "UNREADABLE", "message": "no such file", "field": ""}


def test_a_failed_file_is_named_and_the_rest_goes_on(run: Run, folder: Path, server: FakeServer) -> None:
    server.recognizer.script.append(Refusal(grpc.StatusCode.INVALID_ARGUMENT, "not an image", field="image.encoded"))
    done = run("recognize", folder / "7.png", folder / "absent.png")
    assert done.code == 1
    assert done.lines[1].split(maxsplit=1)[1] == "error: INVALID_ARGUMENT image.encoded: not an image"
    assert done.lines[2].split(maxsplit=1)[1] == "error: no such file"
    done = run("recognize", folder / "absent.png", folder / "7.png")
    assert done.code == 1
    assert done.lines[2].split()[1] == "7"


def test_an_unreadable_file_is_named(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    done = run("recognize", folder / "7.png")
    assert (done.code, done.lines[1].split(maxsplit=1)[1]) == (1, "error: Permission denied")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty", "no image in this folder: looked for .bmp, .gif, .jpeg, .jpg, .png, .webp"),
        ("*.tiff", "no file matches"),
    ],
)
def test_nothing_found_is_a_failure(run: Run, folder: Path, name: str, reason: str) -> None:
    (folder / "empty").mkdir()
    done = run("recognize", folder / name)
    assert done.code == 1
    assert done.lines[1].split(maxsplit=1)[1] == f"error: {reason}"


def test_many_files_are_in_flight_together_and_stay_in_order(run: Run, tmp_path: Path, server: FakeServer) -> None:
    for index in range(100):
        (tmp_path / f"{index:03}.png").write_bytes(b"x" * (index + 10))
    done = run("recognize", tmp_path)
    assert [line.split()[1] for line in done.lines[1:]] == [str(index % 10) for index in range(100)]
    assert len(server.recognizer.calls) == 100


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_sees_progress(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    run("recognize", folder)
    assert terminal.getvalue() == f"\r[{'#' * 15:<30}] 1/2\r[{'#' * 30}] 2/2\r\x1b[K"


def test_progress_makes_room_for_lines(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    run("recognize", "--json", folder)
    assert terminal.getvalue().count("\r\x1b[K") == 2


def test_one_file_needs_no_progress(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    run("recognize", folder / "7.png")
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("words", [["recognize", "7.png"], ["models"], ["health"]], ids=lambda words: words[0])
def test_no_server_is_one_clear_line(
    run: Run, folder: Path, dead_target: str, words: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = run(*words, "--server", dead_target)
    line = f"digitserve: no server at {dead_target}: start one with `make run`, or name it with --server\n"
    assert (done.code, done.lines, done.err) == (1, [], line)


@pytest.mark.parametrize("words", [["recognize", "7.png"], ["health"]], ids=lambda words: words[0])
def test_a_server_without_tls_is_not_taken_for_none(
    run: Run, folder: Path, server: FakeServer, words: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = run(*words, "--server", server.target, "--tls")
    assert (done.code, done.lines) == (1, [])
    assert done.err.splitlines()[-1] == f"digitserve: the server at {server.target} speaks no TLS: try without"


def test_a_server_that_drains_is_there(run: Run, folder: Path, server: FakeServer) -> None:
    server.recognizer.script.extend([Refusal(grpc.StatusCode.UNAVAILABLE, "draining")] * 4)
    done = run("recognize", folder / "7.png")
    assert (done.code, done.lines[1].split(maxsplit=1)[1]) == (1, "error: UNAVAILABLE draining")
    server.recognizer.script.extend([Refusal(grpc.StatusCode.UNAVAILABLE, "draining")] * 4)
    done = run("models")
    assert (done.code, done.err) == (1, "digitserve: UNAVAILABLE: draining\n")


def test_models_are_a_table_or_json(run: Run) -> None:
    done = run("models")
    assert done.code == 0
    assert [line.split() for line in done.lines] == [
        ["NAME", "VERSION", "LABELS", "CLASSES", "INPUT", "ACCURACY", "PROVIDER", "DESCRIPTION"],
        ["digits", "1", "stable", "10", "28x28", "99.65%", "CPU", "handwritten", "digits"],
    ]
    (model,) = map(json.loads, run("models", "--json").lines)
    assert (model["name"], model["class_names"][:2], model["max_batch_size"]) == ("digits", ["0", "1"], 256)


@pytest.mark.parametrize(
    ("service", "state", "code"),
    [((), "SERVING", 0), (("digits",), "NOT_SERVING", 1), (("nobody",), "SERVICE_UNKNOWN", 1)],
)
def test_health_is_an_exit_code(run: Run, service: tuple[str, ...], state: str, code: int) -> None:
    done = run("health", *service)
    assert (done.lines, done.code) == ([state], code)
    there = "digitserve: nothing is called 'nobody' there; there are: digits" if state == "SERVICE_UNKNOWN" else ""
    assert done.err.startswith(there)
    assert bool(done.err) == bool(there)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["recognize"],
        ["frobnicate"],
        ["recognize", "a.png", "--layout", "sideways"],
        ["recognize", "a.png", "--top-k", "-1"],
        ["recognize", "a.png", "--top-k", "4294967296"],
        ["recognize", "a.png", "--timeout", "0"],
        ["recognize", "a.png", "--timeout", "nan"],
        ["models", "--server", "http://localhost:50051"],
        ["models", "--server", ""],
        ["models", "--server", "localhost"],
        ["models", "--server", "localhost:999999"],
    ],
    ids=" ".join,
)
def test_a_command_that_is_not_understood_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert "usage: digitserve" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "flag"), [(["recognize", "a.png", "--inks", "dark"], "--inks"), (["models", "x"], "x")])
def test_what_a_command_does_not_know_is_told_beside_what_it_knows(
    words: list[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"digitserve {words[0]}: error: unrecognized arguments: {flag}" in told
    assert "[--server H:P]" in told, "the usage is another's"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, "digitserve 0.1.0\n")


def test_interrupted_is_130_without_a_trace(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "find_images", interrupt)
    done = run("recognize", folder)
    assert (done.code, done.lines, done.err) == (130, [], "")


def test_interrupted_midway_what_was_read_is_told(
    run: Run, folder: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_one(client: AsyncClient, files: Sequence[ImageFile], question: Question) -> AsyncIterator[Any]:
        async for read in read_files(client, files[:1], question):
            yield read
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(60)

    monkeypatch.setattr(cli, "read_files", read_one)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background
    try:
        done = run("recognize", folder)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [line.split()[:2] for line in done.lines[1:]] == [[str(folder / "7.png"), "7"]]
    assert (done.code, done.err) == (130, "digitserve: 1 of 2 files were read\n")


def test_bench_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def run(settings: Any) -> int:
        seen.append(settings.rate)
        return 3

    command = types.ModuleType("digitserve.bench.command")
    command.add_arguments = lambda parser: parser.add_argument("--rate", type=float)  # type: ignore[attr-defined]
    command.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "digitserve.bench", types.ModuleType("digitserve.bench"))
    monkeypatch.setitem(sys.modules, "digitserve.bench.command", command)
    assert cli.main(["bench", "--rate", "5"]) == 3
    assert seen == [5.0]
