"""The catalog: what is served while versions come, go, break and are repaired, look by look, and nothing is loaded for real."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import logging
import shutil
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server import catalog as module
from server import loader
from server.catalog import Catalog
from server.config import Settings
from server.errors import ModelNotFound, ModelRefused
from server.health import HealthServicer
from server.loader import Loader
from server.repository import ModelCard, RepositoryError, Version, survey
from server.servicer import Served
from server.session import CPU, ModelError
from tests.unit.server.test_loader import Session, write_sums
from tests.unit.server.test_repository import CONTENT, write_model


class Bench:
    """A repository, and a catalog before it whose models are loaded by nobody: the card's description says what comes of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.health = HealthServicer()
        self.catalog = Catalog(root, self.health)
        self.loaded: list[Version] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def write(self, version: str = "1", name: str = "digits", **changes: Any) -> Path:
        return write_model(self.root, name, version, **changes)

    def rewrite(self, version: str = "1", **changes: Any) -> None:
        shutil.rmtree(self.root / "digits" / version)
        self.write(version, **changes)

    async def load(self, card: ModelCard, report: Callable[[], object]) -> Served:
        self.loaded.append((card.name, card.version))
        await self.gate.wait()
        if card.description == "bad":
            raise ModelError(f"{card.path} can't be loaded: [engine at 0xdeadbeef]")
        if card.description == "bug":
            raise ZeroDivisionError("the secret of line 42")
        batcher: Any = SimpleNamespace(healthy=card.description != "fails", report=report)
        return Served(card, batcher, CPU)

    async def open(self) -> None:
        await self.catalog.open(self.load)
        self.catalog.watch(0)
        self.loaded.clear()

    async def look(self, times: int = 1) -> None:
        """Looks, and waits for what that begins."""
        for _ in range(times):
            await self.catalog.look()
            await asyncio.gather(*self.catalog._tasks)

    @property
    def served(self) -> dict[str, str]:
        """What each name means."""
        return {name: f"{one.card.name} {one.card.version}" for name, one in self.catalog.models.items()}

    @property
    def versions(self) -> list[str]:
        return sorted({*self.served.values()})


Scenario = Callable[[Bench], Awaitable[None]]


def played(scenario: Scenario) -> Callable[[Path], None]:
    """Makes a scenario a test, before an empty repository."""

    @functools.wraps(scenario)
    def test(tmp_path: Path) -> None:
        async def run() -> None:
            async with asyncio.timeout(30):
                await scenario(Bench(tmp_path))

        asyncio.run(run())

    del test.__wrapped__  # pytest asks for the arguments that it sees
    return test


@played
async def test_at_the_start_everything_is_served_by_all_its_names(bench: Bench) -> None:
    bench.write("1", labels=["stable"])
    bench.write("2", labels=["canary"])
    bench.write(name="chars")
    await bench.open()
    assert bench.served == {
        "": "digits 1", "digits": "digits 1", "digits:1": "digits 1", "digits:2": "digits 2", "digits@stable": "digits 1",
        "digits@canary": "digits 2", "chars": "chars 1", "chars:1": "chars 1",
    }  # fmt: skip
    assert {name: one.labels for name, one in bench.catalog.models.items() if ":" in name} == {
        "digits:1": ("stable",), "digits:2": ("canary",), "chars:1": ()
    }  # fmt: skip


@played
async def test_without_digits_the_first_model_is_the_default_and_stays_it(bench: Bench) -> None:
    bench.write(name="letters")
    bench.write(name="chars")
    await bench.open()
    assert bench.served[""] == "chars 1"
    bench.write(name="ascii")
    bench.write()
    await bench.look(4)
    assert bench.served[""] == "chars 1", "whoever names no model must not get another alphabet"
    shutil.rmtree(bench.root / "chars")
    await bench.look(2)
    assert "" not in bench.served


@played
async def test_a_new_version_is_served_after_two_looks_that_saw_the_same(bench: Bench) -> None:
    bench.write()
    await bench.open()
    bench.write("2")
    await bench.look()
    assert (bench.loaded, bench.versions) == ([], ["digits 1"])
    await bench.look()
    assert (bench.loaded, bench.served["digits"], bench.served["digits:1"]) == ([("digits", "2")], "digits 2", "digits 1")
    await bench.look(5)
    assert bench.loaded == [("digits", "2")], "what is served is not loaded again"


@played
async def test_a_new_model_is_served_too(bench: Bench) -> None:
    bench.write()
    await bench.open()
    bench.write(name="letters")
    await bench.look(2)
    assert bench.served["letters"] == bench.served["letters:1"] == "letters 1"
    assert bench.health.is_serving("letters:1")


@played
async def test_a_copy_that_is_under_way_is_left_alone(bench: Bench) -> None:
    bench.write()
    await bench.open()
    folder = bench.root / "digits" / "2"
    folder.mkdir()
    for size in range(1, len(CONTENT)):
        (folder / "model.onnx").write_bytes(CONTENT[:size])
        await bench.look()
    shutil.rmtree(folder)
    bench.write("2")
    await bench.look()
    assert (bench.loaded, bench.catalog.refused) == ([], {})
    await bench.look()
    assert bench.versions == ["digits 1", "digits 2"]


@played
async def test_a_version_that_is_replaced_by_two_renames_never_leaves(bench: Bench) -> None:
    folder = bench.write(description="old")
    await bench.open()
    old = bench.catalog.models["digits"]
    folder.rename(folder.with_name(".1-old"))
    bench.write("2")  # otherwise the repository would be empty, which is another case
    await bench.look()
    assert bench.catalog.models["digits:1"] is old
    bench.write(description="new")
    await bench.look()
    assert bench.catalog.models["digits:1"] is old
    await bench.look()
    assert bench.catalog.models["digits:1"].card.description == "new"


@played
async def test_files_that_change_while_they_are_loaded_are_neither_served_nor_refused(bench: Bench) -> None:
    bench.write()
    await bench.open()
    bench.gate.clear()
    bench.write("2", description="half")
    await bench.catalog.look()
    await bench.catalog.look()
    while not bench.loaded:
        await asyncio.sleep(0)
    bench.rewrite("2", description="whole")
    bench.gate.set()
    await bench.look()
    assert (bench.versions, bench.catalog.refused) == (["digits 1"], {})
    await bench.look(2)
    assert bench.catalog.models["digits:2"].card.description == "whole"


@played
async def test_a_version_that_goes_while_it_is_loaded_is_not_served(bench: Bench) -> None:
    bench.write()
    await bench.open()
    bench.gate.clear()
    bench.write("2")
    await bench.catalog.look()
    await bench.catalog.look()
    while not bench.loaded:
        await asyncio.sleep(0)
    shutil.rmtree(bench.root / "digits" / "2")
    bench.gate.set()
    await bench.look()
    assert (bench.versions, bench.catalog.refused) == (["digits 1"], {})


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


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
async def test_a_version_whose_folder_has_gone_is_served_no_more(bench: Bench) -> None:
    for version, description in [("1", ""), ("2", ""), ("3", "bad")]:
        bench.write(version, description=description)
    await bench.open()
    for version in ("2", "3"):
        shutil.rmtree(bench.root / "digits" / version)
    await bench.look()
    assert bench.versions == ["digits 1", "digits 2"], "one look may have fallen between two renames"
    await bench.look()
    assert (bench.versions, bench.served["digits"], bench.catalog.refused) == (["digits 1"], "digits 1", {})
    assert not bench.health.is_serving("digits:2")
    assert bench.health.is_serving()


@pytest.mark.parametrize("trouble", ["empty", "missing"])
def test_where_the_repository_cant_be_seen_everything_goes_on_and_the_log_says_so_once(
    trouble: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        bench = Bench(tmp_path / "models")
        bench.write()
        bench.write(name="letters")
        await bench.open()
        before = bench.served
        for times in (1, 2):
            bench.root.rename(tmp_path / "unmounted")
            if trouble == "empty":
                bench.root.mkdir()
            await bench.look(5)
            assert bench.served == before
            assert len(reasons(caplog)) == times
            assert reasons(caplog)[-1].startswith(f"everything that is served goes on: the model repository {bench.root} ")
            if trouble == "empty":
                bench.root.rmdir()
            (tmp_path / "unmounted").rename(bench.root)
            await bench.look(3)
        assert (bench.served, bench.loaded) == (before, [])

    asyncio.run(run())


def write_labels(bench: Bench, **labels: str) -> None:
    (bench.root / "digits" / "labels.json").write_text(json.dumps(labels))


@played
async def test_a_label_is_moved_by_one_look_and_nothing_is_loaded(bench: Bench) -> None:
    bench.write("1", labels=["stable"])
    bench.write("2")
    await bench.open()
    for stable in ("2", "1", "2"):
        write_labels(bench, stable=stable)
        await bench.look()
        assert bench.served["digits"] == bench.served[""] == bench.served["digits@stable"] == f"digits {stable}"
        assert {one.card.version for one in bench.catalog.models.values() if one.labels} == {stable}
    assert bench.loaded == []


@played
async def test_a_label_is_moved_while_something_loads(bench: Bench) -> None:
    bench.write("1", labels=["stable"])
    bench.write("2")
    await bench.open()
    bench.gate.clear()
    bench.write("3")
    await bench.catalog.look()
    await bench.catalog.look()
    write_labels(bench, stable="2")
    await bench.catalog.look()
    assert (bench.served["digits"], "digits:3" in bench.served) == ("digits 2", False)
    bench.gate.set()
    await bench.look()
    assert (bench.served["digits"], bench.served["digits:3"]) == ("digits 2", "digits 3")


@played
async def test_a_label_that_is_ahead_of_its_version_takes_effect_with_it(bench: Bench) -> None:
    bench.write("1", labels=["stable"])
    await bench.open()
    write_labels(bench, stable="2")
    await bench.look()
    assert bench.served["digits"] == "digits 1"
    bench.write("2")
    await bench.look(2)
    assert bench.served["digits"] == "digits 2"


@played
async def test_versions_are_loaded_one_at_a_time(bench: Bench) -> None:
    bench.write()
    await bench.open()
    bench.gate.clear()
    for version in ("2", "3"):
        bench.write(version)
    for _ in range(5):
        await bench.catalog.look()
        await asyncio.sleep(0)
    while not bench.loaded:
        await asyncio.sleep(0)
    assert (bench.loaded, len(bench.catalog._tasks)) == ([("digits", "2")], 1)
    bench.gate.set()
    await bench.look(2)
    assert bench.loaded == [("digits", "2"), ("digits", "3")]
    assert bench.served["digits"] == "digits 3"


@played
async def test_health_tells_of_nothing_before_the_server_listens(bench: Bench) -> None:
    bench.write()
    await bench.catalog.open(bench.load)
    assert not bench.health.is_serving()
    bench.catalog.watch(0)
    assert [bench.health.is_serving(name) for name in ("", "digits", "digits:1")] == [True] * 3


@played
async def test_a_failing_model_that_is_replaced_leaves_the_server_well(bench: Bench) -> None:
    bench.write(description="fails")
    await bench.open()
    assert not bench.health.is_serving()
    bench.rewrite(description="well")
    await bench.look(2)
    assert bench.health.is_serving()


@played
async def test_a_model_that_begins_to_fail_is_reported_by_all_its_names(bench: Bench) -> None:
    bench.write("1", labels=["stable"])
    bench.write("2")
    await bench.open()
    batcher: Any = bench.catalog.models["digits:1"].batcher
    batcher.healthy = False
    batcher.report()
    names = ("", "digits", "digits:1", "digits@stable", "digits:2")
    assert [bench.health.is_serving(name) for name in names] == [False, False, False, False, True]


@played
async def test_who_has_found_a_model_keeps_it_and_the_last_one_lets_it_go(bench: Bench) -> None:
    bench.write(description="old")
    await bench.open()
    found = bench.catalog.models["digits"]
    gone = weakref.ref(found)
    bench.rewrite(description="new")
    gc.disable()
    try:
        await bench.look(2)
        assert bench.catalog.models["digits"].card.description == "new"
        assert gone() is found
        del found
        assert gone() is None
    finally:
        gc.enable()


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
        assert [session() is None for session in sessions] == [False, True]

    gc.disable()
    try:
        asyncio.run(asyncio.wait_for(run(), 30))
    finally:
        gc.enable()


@played
async def test_who_closes_looks_no_more_and_waits_for_no_load(bench: Bench) -> None:
    bench.write()
    await bench.open()
    bench.gate.clear()
    bench.write("2")
    bench.catalog.watch(1e-6)
    while not bench.loaded:
        await asyncio.sleep(0)
    await bench.catalog.close()
    assert not bench.catalog._tasks
    assert bench.versions == ["digits 1"]


def test_a_look_that_fails_is_logged_and_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        bench.write()
        await bench.open()
        looked = []

        def stumble(root: Path) -> Any:
            looked.append(root)
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(module, "survey", stumble)
        bench.catalog.watch(1e-6)
        while len(looked) < 2:
            await asyncio.sleep(0)
        await bench.catalog.close()

    asyncio.run(asyncio.wait_for(run(), 30))
    assert reasons(caplog)[0] == "a look at the model repository failed"
    assert "ZeroDivisionError: a bug" in caplog.text


@played
async def test_a_model_is_loaded_when_somebody_says_so(bench: Bench) -> None:
    bench.write()
    await bench.open()
    bench.write("2")
    write_labels(bench, canary="2")
    await bench.catalog.load("digits")
    assert (bench.served["digits"], bench.served["digits@canary"]) == ("digits 2", "digits 2")
    await bench.catalog.load("digits")
    assert bench.loaded == [("digits", "2")], "what is served already is not loaded again"


def test_a_look_that_began_before_a_version_came_does_not_take_it_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        bench.write()
        await bench.open()
        before = survey(tmp_path)
        bench.write("2")
        await bench.catalog.load("digits")
        with monkeypatch.context() as patch:
            patch.setattr(module, "survey", lambda root: before)
            await bench.look()
        assert bench.versions == ["digits 1", "digits 2"]

    asyncio.run(run())


@played
async def test_whoever_loads_a_bad_version_is_told_why_and_may_try_again(bench: Bench) -> None:
    bench.write()
    await bench.open()
    bench.write("2", description="bad")
    for _ in range(2):
        with pytest.raises(ModelRefused, match=r"^digits 2 is refused: digits/2/model\.onnx can't be loaded$"):
            await bench.catalog.load("digits")
    assert bench.loaded == [("digits", "2")] * 2
    assert bench.versions == ["digits 1"]
    bench.write("3")
    await bench.catalog.load("digits")
    assert bench.served["digits"] == "digits 3"


@played
async def test_nobody_can_be_neither_loaded_nor_unloaded(bench: Bench) -> None:
    bench.write()
    await bench.open()
    for act in (bench.catalog.load, bench.catalog.unload):
        for name in ("letters", "", "../digits", "digits/1", "x" * 1000):
            with pytest.raises(ModelNotFound) as caught:
                await act(name)
            assert len(caught.value.message) < 150


@played
async def test_nothing_is_loaded_from_a_repository_that_cant_be_read(bench: Bench) -> None:
    bench.write()
    await bench.open()
    shutil.rmtree(bench.root)
    with pytest.raises(ModelRefused, match=r"^the model repository can't be read; the server's log knows more$"):
        await bench.catalog.load("digits")
    assert bench.versions == ["digits 1"]


@played
async def test_an_unloaded_model_stays_away_until_it_is_loaded(bench: Bench) -> None:
    bench.write()
    bench.write("2", description="bad")
    bench.write(name="letters")
    await bench.open()
    await bench.catalog.unload("digits")
    await bench.look(3)
    assert (bench.versions, bench.loaded, bench.catalog.refused) == (["letters 1"], [], {})
    assert "" not in bench.served, "whoever names no model must not get another alphabet"
    assert bench.catalog.list_absent() == {("digits", "1"): "unloaded", ("digits", "2"): "unloaded"}
    assert not bench.health.is_serving("digits")
    with pytest.raises(ModelRefused):
        await bench.catalog.load("digits")
    assert bench.served["digits"] == bench.served[""] == "digits 1"
    assert bench.catalog.list_absent() == {("digits", "2"): "digits/2/model.onnx can't be loaded"}


@played
async def test_a_load_that_was_about_to_begin_does_not_bring_an_unloaded_model_back(bench: Bench) -> None:
    bench.write()
    bench.write(name="letters")
    await bench.open()
    bench.write("2")
    await bench.catalog.look()
    await bench.catalog.look()
    assert bench.catalog._tasks, "the test must be as early as that"
    unloading = asyncio.create_task(bench.catalog.unload("digits"))
    await bench.look(3)
    await unloading
    assert bench.versions == ["letters 1"]
