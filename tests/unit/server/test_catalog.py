"""The catalog: what is served while versions come, go, break and are repaired, look by look, and nothing is loaded for real."""

from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest

from server import catalog as module
from tests.repository import CONTENT
from tests.unit.server.catalog_bench import Bench, played, reasons


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
async def test_the_only_model_is_the_default_and_stays_it(bench: Bench) -> None:
    bench.write(name="letters")
    await bench.open()
    assert bench.served[""] == "letters 1"
    bench.write(name="ascii")
    bench.write()
    await bench.look(4)
    assert bench.served[""] == "letters 1", "whoever names no model must not get another alphabet"
    shutil.rmtree(bench.root / "letters")
    await bench.look(2)
    assert "" not in bench.served


@played
async def test_of_several_models_none_but_digits_is_the_default(bench: Bench) -> None:
    bench.write(name="letters")
    bench.write(name="chars")
    await bench.open()
    assert "" not in bench.served, "whoever names no model must not get an alphabet by chance"
    bench.write()
    await bench.look(4)
    assert bench.served[""] == "digits 1"


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


def test_a_misnamed_version_is_named_in_the_log_once_and_again_when_it_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [message for message in caplog.messages if "passed over" in message]

    @played
    async def scenario(bench: Bench) -> None:
        folder = bench.write()
        there, away = folder.with_name("v2"), folder.with_name(".v2")
        there.mkdir()
        (there / "model.json").write_text("{}")
        await bench.open()
        await bench.look(2)
        assert [message.partition(": ")[0] for message in told()] == [f"{there} is passed over"]
        for old, new in ((there, away), (away, there)):
            old.rename(new)
            await bench.look()
        assert len(told()) == 2
        assert bench.versions == ["digits 1"]

    scenario(tmp_path)


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
