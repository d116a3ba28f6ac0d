"""How a batcher may batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """How the batcher may batch.

    Attributes:
        max_batch_size: images in one batch, at most.
        max_queue_size: images that may wait, at most; interactive ones and bulk are counted apart, and a batch that stands
            by is not.
        max_queue_wait_ms: an interactive request that would wait longer is refused. Bulk may wait until its deadline.
        max_queue_delay_ms: how long a request may be held back for company, from its own arrival. 0: never.
        instances: batches that run at the same time.
        inline_batch_size: a batch of up to so many images runs on the event loop itself: it is over sooner than a thread
            would have woken up.
        min_split_size: a waiting crowd is split over the free instances into batches of at least this size.
        crowd_gather_ms: in a crowd, single requests gather for so long; see Crowd. 0: never.
        bulk_gathers: whether those that are bulk do, too.
        max_failures: so many failed batches in a row make the batcher unhealthy.
        times_ms: how long a batch of each measured size takes, for predictions.
    """

    max_batch_size: int = 256
    max_queue_size: int = 16384
    max_queue_wait_ms: float = 80.0
    max_queue_delay_ms: float = 0.0
    instances: int = 1
    inline_batch_size: int = 0
    min_split_size: int = 32
    crowd_gather_ms: float = 0.0
    bulk_gathers: bool = False
    max_failures: int = 3
    times_ms: Mapping[int, float] = field(default_factory=lambda: {1: 0.1})
