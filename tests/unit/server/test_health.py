"""Health: NOT_SERVING from the first moment, one status for each name, and every watcher told of every change."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from server.health import NOT_SERVING, SERVING, UNKNOWN, HealthServicer


class Aborted(Exception):
    """What abort() raises in these tests."""


class Context:
    """The part of a call's context that health uses."""

    def invocation_metadata(self) -> tuple[()]:
        return ()

    async def abort(self, code: grpc.StatusCode, message: str, metadata: Any) -> None:
        raise Aborted(code.name, message)


def ask(name: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=name)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 10))


async def settle() -> None:
    """Lets everyone who can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_it_starts_not_serving() -> None:
    async def test() -> None:
        assert (await HealthServicer().Check(ask(), Context())).status == NOT_SERVING

    run(test())


def test_each_name_has_its_own_status() -> None:
    async def test() -> None:
        health = HealthServicer()
        health.report({"digits": True, "letters": False})
        assert (await health.Check(ask("digits"), Context())).status == SERVING
        assert (await health.Check(ask("letters"), Context())).status == NOT_SERVING

    run(test())


def test_an_unknown_name_is_not_found_and_shown_cut() -> None:
    async def test() -> None:
        with pytest.raises(Aborted) as caught:
            await HealthServicer().Check(ask("x" * 1000), Context())
        code, message = caught.value.args
        assert code == "NOT_FOUND"
        assert len(message) < 150

    run(test())


def test_a_watcher_is_told_each_change_once() -> None:
    async def test() -> None:
        health = HealthServicer()
        watching = health.Watch(ask(), Context())
        assert (await anext(watching)).status == NOT_SERVING
        following = asyncio.ensure_future(anext(watching))
        await settle()
        health.report({"digits": True, "letters": False})  # no change of the whole
        await settle()
        assert not following.done()
        health.report({"digits": True, "letters": True})
        assert (await following).status == SERVING

    run(test())


def test_a_name_may_be_watched_before_it_is_known() -> None:
    async def test() -> None:
        health = HealthServicer()
        watching = health.Watch(ask("digits"), Context())
        assert (await anext(watching)).status == UNKNOWN
        health.report({"digits": True})
        assert (await anext(watching)).status == SERVING
        health.report({"letters": True})
        assert (await anext(watching)).status == UNKNOWN

    run(test())


def test_one_who_leaves_takes_nobody_along() -> None:
    async def test() -> None:
        health = HealthServicer()
        leaving, staying = health.Watch(ask(), Context()), health.Watch(ask(), Context())
        for watching in (leaving, staying):
            await anext(watching)
        gone, following = asyncio.ensure_future(anext(leaving)), asyncio.ensure_future(anext(staying))
        await settle()
        gone.cancel()
        await settle()
        health.report({"digits": True})
        assert (await following).status == SERVING

    run(test())


def test_draining_is_for_good() -> None:
    async def test() -> None:
        health = HealthServicer()
        health.report({"digits": True})
        health.drain()
        health.report({"digits": True})  # a model that recovers too late
        assert [(await health.Check(ask(name), Context())).status for name in ("", "digits")] == [NOT_SERVING] * 2

    run(test())


def test_close_ends_watchers_after_they_have_heard_the_last_status() -> None:
    async def test() -> None:
        health = HealthServicer()
        health.report({"digits": True})
        watching = health.Watch(ask(), Context())
        assert (await anext(watching)).status == SERVING
        health.drain()
        health.close()
        assert (await anext(watching)).status == NOT_SERVING
        with pytest.raises(Aborted, match="UNAVAILABLE"):
            await anext(watching)

    run(test())


def test_the_whole_is_well_if_all_its_models_are_and_there_is_one() -> None:
    health = HealthServicer("digitserve.v1.Recognizer")
    for models, whole in [
        ({"digits": True, "digits:1": True}, True),
        ({"digits": True, "digits:1": False}, False),
        ({}, False),
    ]:
        health.report(models)
        assert [health.is_serving(name) for name in ("", "digitserve.v1.Recognizer")] == [whole] * 2
        assert {name: health.is_serving(name) for name in models} == models
    assert health.is_serving("nobody") is False


def test_a_name_that_is_served_no_more_is_forgotten() -> None:
    async def test() -> None:
        health = HealthServicer()
        health.report({"digits": True, "digits:1": False})
        health.report({"digits": True})
        assert health.is_serving(), "a failing model that is replaced must not keep the server from serving"
        with pytest.raises(Aborted, match="NOT_FOUND"):
            await health.Check(ask("digits:1"), Context())

    run(test())
