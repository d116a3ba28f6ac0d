"""Tells a crowd of single requests, which is better off gathering, from a lone one, which must not wait."""

from __future__ import annotations

import sys
from collections import deque
from enum import Enum


class Company(Enum):
    """What is known of the callers: nobody else is about, somebody may be, or there is a crowd."""

    NONE = "none"
    LOOKING = "looking"
    CROWD = "crowd"


class Crowd:
    """Whether single requests should gather, and for how long.

    gRPC hands calls over one at a time, each a wake-up of the event loop, so that even with 64 calls in flight nearly every
    one finds the tray empty. Gathering for two milliseconds then makes batches of ten and more throughput; for a lone caller
    it would only be a delay, and nothing that the server sees of one call tells the two apart. So it looks: one in LOOK_EVERY
    single requests is held back for a moment, as long as another one follows within LOOK_S. If ENOUGH come, there is a
    crowd, until PATIENCE gatherings in a row bring fewer (docs/decisions/0011-gather-in-a-crowd.md).

    Callers who wait for their answers before they ask again are soon all there. So a gathering is over once as many have come
    as in the best of the last REMEMBERED, but for one in WHOLE_EVERY, which goes on to its end to notice that there are more.

    Attributes:
        company: what is known of the callers.
        expected: requests that complete a gathering; sys.maxsize while that is not known.
    """

    LOOK_EVERY = 128
    LOOK_S = 0.0003
    ENOUGH = 4
    PATIENCE = 3
    REMEMBERED = 8
    WHOLE_EVERY = 128

    def __init__(self, gather_s: float, *, bulk: bool = False) -> None:
        """`bulk` says which of the tray's lines it watches: a stream must not make a lone caller wait for company."""
        self.gather_s = gather_s
        self.bulk = bulk
        self.company = Company.NONE
        self._until_look = self.LOOK_EVERY
        self.expected = sys.maxsize
        self._meagre = 0
        self._brought: deque[int] = deque(maxlen=self.REMEMBERED)
        self._gatherings = 0

    def counts_in(self) -> bool:
        """Whether this single request should wait for others, rather than be answered at once."""
        if self.company is Company.NONE and self.gather_s:
            self._until_look -= 1
            if not self._until_look:
                self._until_look = self.LOOK_EVERY
                self.company = Company.LOOKING
        return self.company is not Company.NONE

    def has_gathered(self, requests: int) -> None:
        """Takes note of how many a gathering, or a look, has brought."""
        if requests >= self.ENOUGH:
            self.company = Company.CROWD
            self._meagre = 0
        else:
            self._meagre += 1
            if self.company is Company.LOOKING or self._meagre >= self.PATIENCE:
                self.company = Company.NONE
                self._meagre = 0
        self._expect(requests)

    def _expect(self, requests: int) -> None:
        self._gatherings += 1
        self._brought.append(requests)
        if self.company is not Company.CROWD:
            self._brought.clear()
        known = len(self._brought) == self.REMEMBERED and self._gatherings % self.WHOLE_EVERY
        self.expected = max(self._brought) if known else sys.maxsize
