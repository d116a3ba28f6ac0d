"""From a model's card to a model that is served: opened, tried and warm, all of it on the threads that will run it.

The event loop is never held up, so that a server may load while it serves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from server.batcher import Batcher
from server.config import Settings
from server.cores import count_cores, is_on_one_core, use_all_cores
from server.golden import compare
from server.limits import Limits
from server.repository import ModelCard, RepositoryError
from server.servicer import Served
from server.session import (
    CPU,
    CUDA,
    ModelError,
    ProviderError,
    Session,
    check_model,
    check_wheels,
    choose_provider,
    name_device,
    open_session,
)

if TYPE_CHECKING:
    from server.recorder import Recorder

logger = logging.getLogger("digitserve.loader")

SPLIT_MS = 2.0  # a batch that is over in this is not worth splitting over two instances
BATCH_MS = 25.0
QUEUE_WAIT_MS = 80.0
REFUSALS = (ModelError, ProviderError, RepositoryError)  # what a version can't be served for


class Ready(NamedTuple):
    """A session that has answered: the shape of an evidence map, and the milliseconds of each batch size that was timed."""

    session: Session
    map_shape: tuple[int, int]
    times_ms: dict[int, float]


class Loader:
    """Loads models by the settings of one server."""

    def __init__(self, settings: Settings, recorder: Recorder | None = None) -> None:
        """Raises ProviderError if the execution provider that is asked for can't be had."""
        check_wheels()
        self._provider, reason = choose_provider(settings.execution_provider)
        self._settings = settings
        self._recorder = recorder
        logger.info("execution provider %s (%s)", self._provider, reason)

    async def load(self, card: ModelCard, report: Callable[[], object]) -> Served:
        """A model that is ready for calls. `report` is called when it begins to fail, and when it is well again.

        With `auto`, a device that is there but does not work is a warning, and the CPU serves.

        Raises:
            ModelError: it can't be run, or does not answer what its card says.
            ProviderError: not on the execution provider that is asked for.
        """
        try:
            return await self._load(card, self._provider, report)
        except ProviderError as error:
            if self._settings.execution_provider != "auto":
                raise
            logger.warning("%s; going on with the CPU", error)
            return await self._load(card, CPU, report)

    async def _load(self, card: ModelCard, provider: str, report: Callable[[], object]) -> Served:
        settings, variant = self._settings, card.choose(name_device(provider))
        max_batch_size = settings.max_batch_size or card.max_batch_size
        instances = 1 if provider == CUDA else settings.instances or count_cores()
        # Nobody shuts it down: its threads end once the batcher has gone, and with them the session.
        executor = ThreadPoolExecutor(instances, f"{card.name}-{card.version}", use_all_cores)
        loop = asyncio.get_running_loop()
        session, map_shape, times_ms = await loop.run_in_executor(executor, self._prepare, card, provider, max_batch_size)
        limits = Limits(
            max_batch_size=settings.max_batch_size or choose_batch_size(times_ms, max_batch_size),
            max_queue_size=settings.max_queue_size,
            max_queue_wait_ms=settings.max_queue_wait_ms or max(QUEUE_WAIT_MS, 12 * times_ms[1] / instances),
            max_queue_delay_ms=settings.max_queue_delay_ms,
            crowd_gather_ms=settings.crowd_gather_ms,
            bulk_gathers=is_on_one_core(),  # on several, it costs streams more than it brings
            instances=instances,
            inline_batch_size=choose_inline_size(session, times_ms, settings.inline_ms),
            min_split_size=_find_largest(times_ms, SPLIT_MS) or 1,
            times_ms=times_ms,
        )
        tried = f"{len(card.golden.answers)} golden images right" if card.golden else "no golden images to try it on"
        sizes = instances, limits.inline_batch_size, limits.max_batch_size
        logger.info(
            "model %s %s in %s: %s, warm, %.2f ms for one image; %d instances, up to %d images run inline, batches up to %d",
            card.name, card.version, variant.name, tried, times_ms[1], *sizes,
        )  # fmt: skip
        record = self._recorder.open_record(card, max_batch_size, session.pad) if self._recorder else None
        batcher = Batcher(session.run, limits, executor, on_health=lambda healthy: report(), recorder=record)
        return Served(card, batcher, session.provider, map_shape)

    def _prepare(self, card: ModelCard, provider: str, max_batch_size: int) -> Ready:
        """Runs on the thread that will run the model: CUDA graphs belong to the thread that captured them."""
        path = card.choose(name_device(provider)).path
        session = open_session(path, provider, max_batch_size=max_batch_size, cuda_graphs=self._settings.cuda_graphs)
        map_shape = check_model(session, path, card.size, len(card.class_names))
        for run in (session.run, partial(session.run, explain=True)):  # two graphs on the CPU
            if card.golden and (difference := compare(card.golden, card.class_names, run, max_batch_size)):
                raise ModelError(f"{path} is not the model that was measured: {difference}")
        return Ready(session, map_shape, session.warm(max_batch_size))


def choose_inline_size(session: Session, times_ms: dict[int, float], inline_ms: float) -> int:
    """The largest batch that is over in `inline_ms`. CUDA's graphs belong to their thread: never inline.

    Only some sizes are warmed; between two of them, each image more is taken to cost the same.
    """
    fast = 0 if session.provider == CUDA else _find_largest(times_ms, inline_ms)
    slow = min((size for size in times_ms if size > fast), default=fast)
    if not 0 < fast < slow:
        return fast
    return fast + int((slow - fast) * (inline_ms - times_ms[fast]) / (times_ms[slow] - times_ms[fast]))


def _find_largest(times_ms: dict[int, float], limit_ms: float) -> int:
    """The largest batch that is over in so long; 0 if none is."""
    return max((size for size, time_ms in times_ms.items() if time_ms <= limit_ms), default=0)


def choose_batch_size(times_ms: dict[int, float], max_batch_size: int) -> int:
    """The largest batch that is over in BATCH_MS, as others wait for its end; a larger one where that makes images cheaper."""
    image_ms = min(time_ms / size for size, time_ms in times_ms.items())
    short = [size for size in (*times_ms, max_batch_size) if size * image_ms <= BATCH_MS]
    cheap = min(size for size, time_ms in times_ms.items() if time_ms / size <= 1.25 * image_ms)
    return max([cheap, *short])
