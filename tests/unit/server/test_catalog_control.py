"""The catalog: models are loaded and unloaded when somebody says so."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from server import catalog as module
from server.errors import ModelNotFound, ModelRefused
from server.repository import survey
from tests.unit.server.catalog_bench import Bench, played, reasons, write_labels


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


@played
async def test_while_a_model_is_loaded_again_its_plain_name_is_its_stable_version_or_nothing(bench: Bench) -> None:
    for version in ("1", "2", "3"):
        bench.write(version)
    write_labels(bench, stable="2")
    await bench.open()
    seen, show = list[str](), bench.catalog._show

    def note() -> None:
        show()
        seen.append(bench.served.get("digits", "nothing"))

    bench.catalog._show = note  # type: ignore[method-assign]
    await bench.catalog.unload("digits")
    await bench.catalog.load("digits")
    assert seen == ["nothing", "digits 2"]


def test_no_label_is_said_to_wait_for_what_is_being_loaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        bench.write("1")
        bench.write("2")
        write_labels(bench, stable="2")
        await bench.open()
        await bench.catalog.unload("digits")
        await bench.catalog.load("digits")
        for version in ("3", "4"):
            bench.write(version)
        write_labels(bench, stable="4")
        await bench.look(2)
        assert bench.served["digits"] == "digits 4"

    asyncio.run(run())
    assert reasons(caplog) == ["digits@stable stays where it was: version 4 is not served"], "true until the second look alone"


@played
async def test_a_label_that_is_moved_back_while_a_model_is_loaded_stays_there(bench: Bench) -> None:
    bench.write("1", labels=["stable"])
    bench.write("2")
    await bench.open()
    write_labels(bench, stable="2")
    bench.write("3")
    bench.gate.clear()
    loading = asyncio.create_task(bench.catalog.load("digits"))
    while not bench.loaded:
        await asyncio.sleep(0)
    write_labels(bench, stable="1")
    await bench.catalog.look()
    bench.gate.set()
    await loading
    assert (bench.served["digits"], "digits:3" in bench.served) == ("digits 1", True)
