"""How large a batch may become, by the times of the warm-up."""

from __future__ import annotations

import pytest

from server.loader import choose_batch_size


@pytest.mark.parametrize(
    ("times_ms", "published", "chosen"),
    [
        ({1: 0.1, 64: 3.2}, 256, 256),  # light: as published
        ({1: 10.0, 2: 20.0, 4: 40.0}, 64, 2),  # heavy: as many as 25 ms allow
        ({1: 60.0, 2: 120.0}, 64, 1),
        ({1: 30.0, 2: 31.0, 4: 33.0}, 4, 4),  # a device that computes four as fast as one
        ({1: 1.0, 32: 6.4, 64: 50.0}, 64, 64),  # a disturbed measurement says nothing of the others
    ],
)
def test_a_batch_is_no_longer_than_it_need_be(times_ms: dict[int, float], published: int, chosen: int) -> None:
    assert choose_batch_size(times_ms, published) == chosen
