"""The catalog: labels are moved without a load, and health tells of each model by all its names."""

from __future__ import annotations

from typing import Any

from tests.unit.server.catalog_bench import Bench, played, write_labels


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
