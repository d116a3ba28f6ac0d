from __future__ import annotations

import asyncio

from server.job import Answer, Job
from server.tray import CLEAR_EVERY_S, TURN, Tray
from tests.unit.server.vans import make_images, played


def lay(tray: Tray, *values: int, bulk: bool = False, deadline: float | None = None) -> asyncio.Future[Answer]:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    tray.put(Job(make_images(*values), 0.0, deadline, future, False), bulk=bulk)
    return future


def gather(tray: Tray, room: int = 2, now: float = 0.0) -> list[int]:
    pieces = tray.gather(lambda images: room, now)
    return [int(value) for piece in pieces for value in piece.job.images[piece.start : piece.stop, 0, 0]]


def count_requests(tray: Tray) -> int:
    return tray.count_requests(bulk=False) + tray.count_requests(bulk=True)


@played
async def test_interactive_goes_first_and_no_batch_is_mixed() -> None:
    tray = Tray()
    lay(tray, 1, 2, 3, bulk=True)
    lay(tray, 4, 5, 6)
    assert [gather(tray) for _ in range(4)] == [[4, 5], [6], [1, 2], [3]]
    assert (tray.waiting, count_requests(tray)) == (0, 0)


@played
async def test_bulk_has_one_batch_in_four() -> None:
    """Law 11."""
    tray = Tray()
    lay(tray, *[200] * 10, bulk=True)
    lay(tray, *range(100))
    assert [gather(tray, room=1) == [200] for _ in range(2 * TURN)] == ([False] * (TURN - 1) + [True]) * 2


@played
async def test_bulk_that_was_not_there_has_let_nobody_pass() -> None:
    tray = Tray()
    lay(tray, *range(20))
    for _ in range(2 * TURN):
        gather(tray, room=1)
    lay(tray, 200, bulk=True)
    assert [gather(tray, room=1)[0] == 200 for _ in range(TURN)] == [False] * (TURN - 1) + [True]


@played
async def test_what_is_ahead() -> None:
    tray = Tray()
    lay(tray, *range(6))
    assert (tray.count_ahead(bulk=False), tray.count_ahead(bulk=True)) == (6, 6)
    lay(tray, 100, bulk=True)
    assert (tray.count_ahead(bulk=False), tray.count_ahead(bulk=True)) == (7, 7)
    lay(tray, *range(100, 150), bulk=True)
    assert (tray.count_ahead(bulk=False), tray.count_ahead(bulk=True)) == (8, 57)
    assert (tray.count_waiting(bulk=False), tray.count_waiting(bulk=True)) == (6, 51)


@played
async def test_bulk_reckons_with_those_who_will_overtake_it() -> None:
    tray = Tray()
    lay(tray, *[200] * 100, bulk=True)
    lay(tray, *[1] * 200)
    for _ in range(24 * TURN):
        gather(tray, room=1)
    lay(tray, *[200] * 24, bulk=True)
    bulk, interactive = tray.count_waiting(bulk=True), tray.count_waiting(bulk=False)
    assert 3 * bulk < tray.count_ahead(bulk=True) - interactive <= TURN * bulk


@played
async def test_clearing_out_is_not_repeated_within_a_moment() -> None:
    tray = Tray()
    lay(tray, 1, 2).cancel()
    kept, late = lay(tray, 3, bulk=True), lay(tray, 4, bulk=True, deadline=1.0)
    assert tray.clear_out(2.0)
    assert (tray.waiting, count_requests(tray)) == (1, 1)
    assert late.exception() is not None
    kept.cancel()
    assert not tray.clear_out(2.0 + CLEAR_EVERY_S / 2)
    assert tray.waiting == 1
    assert tray.clear_out(2.0 + CLEAR_EVERY_S)
    assert tray.waiting == 0
