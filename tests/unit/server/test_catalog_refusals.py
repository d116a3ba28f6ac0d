"""The catalog: what is no good is refused, whether the server starts or runs, and all that is well goes on."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest

from server import loader
from server.catalog import Catalog
from server.config import Settings
from server.health import HealthServicer
from server.loader import Loader
from server.repository import RepositoryError
from server.session import ModelError
from tests.unit.server.catalog_bench import Bench, played, reasons, write_labels
from tests.unit.server.test_loader import Session, write_sums


def test_a_bad_version_is_refused_and_named_and_tried_again_once_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        bench.write()
        await bench.open()
        (bench.write("2") / "model.onnx").write_bytes(b"altered")
        await bench.look(5)
        (said,) = reasons(caplog)
        assert said.startswith(f"digits 2 is refused: {tmp_path}/digits/2/model.onnx is not the file that model.json describes")
        assert bench.versions == ["digits 1"]
        assert bench.catalog.refused["digits", "2"].startswith("digits/2/model.onnx is not the file that model.json describes")
        bench.rewrite("2")
        await bench.look(2)
        assert (bench.versions, bench.catalog.refused) == (["digits 1", "digits 2"], {})
        assert len(reasons(caplog)) == 1

    asyncio.run(run())


@played
async def test_where_new_files_are_refused_the_old_ones_go_on(bench: Bench) -> None:
    bench.write(description="good")
    await bench.open()
    bench.rewrite(description="bad")
    await bench.look(3)
    assert bench.catalog.models["digits:1"].card.description == "good"
    assert bench.catalog.refused == {("digits", "1"): "digits/1/model.onnx can't be loaded"}, "an engine's words are not ours"


def test_the_unforeseen_is_a_refusal_with_its_traceback_in_the_log_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        bench.write()
        bench.write("2", description="bug")
        await bench.open()
        assert bench.catalog.refused == {("digits", "2"): "it failed unexpectedly; the server's log knows more"}
        assert bench.versions == ["digits 1"]

    asyncio.run(run())
    assert "the secret of line 42" in caplog.text
    assert reasons(caplog)[0] == "digits 2 failed unexpectedly"


@played
async def test_at_the_start_a_bad_version_beside_a_good_one_is_refused(bench: Bench) -> None:
    bench.write("1", description="bad")
    bench.write("2")
    bench.write("3", description="bad")
    await bench.open()
    assert bench.versions == ["digits 2"]
    assert list(bench.catalog.refused) == [("digits", "1"), ("digits", "3")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"description": "bad"}, "model.onnx can't be loaded"), ({"threshold": None}, "'threshold' is missing")],
)
def test_a_model_without_a_good_version_stops_the_start(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        bench.write()
        bench.write(name="letters", **changes)
        with pytest.raises((ModelError, RepositoryError), match=reason):
            await bench.open()

    asyncio.run(run())


@played
async def test_a_model_whose_files_change_while_the_server_starts_stops_the_start(bench: Bench) -> None:
    bench.write()
    bench.gate.clear()
    opening = asyncio.create_task(bench.open())
    while not bench.loaded:
        await asyncio.sleep(0)
    bench.rewrite(description="another")
    bench.gate.set()
    with pytest.raises(RepositoryError, match="has changed while it was read"):
        await opening


@played
async def test_labels_that_cant_be_read_stop_the_start(bench: Bench) -> None:
    bench.write()
    (bench.root / "digits" / "labels.json").write_text("{")
    with pytest.raises(RepositoryError, match=r"digits/labels\.json must be an object"):
        await bench.open()


@played
async def test_a_stable_version_that_is_refused_stops_the_start_as_another_would_come_to_the_front(bench: Bench) -> None:
    bench.write("1", sha256="0")
    bench.write("2")
    write_labels(bench, stable="1", canary="2")
    with pytest.raises(RepositoryError, match=r"^digits@stable is set by labels\.json to a version that is not served$"):
        await bench.open()


def test_a_refused_session_is_let_go_without_a_garbage_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[weakref.ref[Session]] = []

    def open_session(*given: Any, **named: Any) -> Session:
        session = Session()
        session.broken = len(sessions) > 0
        sessions.append(weakref.ref(session))
        return session

    monkeypatch.setattr(loader, "open_session", open_session)
    write_sums(tmp_path)

    async def run() -> None:
        catalog = Catalog(tmp_path, HealthServicer())
        await catalog.open(Loader(Settings(execution_provider="cpu")).load)
        shutil.copytree(tmp_path / "digits" / "1", tmp_path / "digits" / "2")
        card = json.loads((tmp_path / "digits" / "2" / "model.json").read_text())
        (tmp_path / "digits" / "2" / "model.json").write_text(json.dumps(card | {"version": "2"}))
        for _ in range(3):
            await catalog.look()
            await asyncio.gather(*catalog._tasks)
        assert catalog.refused == {("digits", "2"): "digits/2/model.onnx can't be run on an image of 8 x 8"}
        while sessions[1]() is not None:  # the thread that opened it lets go a moment after its answer
            await asyncio.sleep(0.01)
        assert [session() is None for session in sessions] == [False, True]

    gc.disable()
    try:
        asyncio.run(asyncio.wait_for(run(), 30))
    finally:
        gc.enable()
