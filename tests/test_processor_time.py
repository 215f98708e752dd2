"""The bounds of processor time: a block that takes too much fails, on fast and on slow machines."""

from __future__ import annotations

import pytest

from tests import processor_time
from tests.processor_time import spending_at_most


def spend() -> None:
    """Take some milliseconds of processor time."""
    sum(range(300_000))


def test_block_that_takes_more_processor_time_than_allowed_fails() -> None:
    with pytest.raises(AssertionError, match="s are allowed"), spending_at_most(0.000_001):
        spend()


def test_bound_grows_with_the_slowness_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor_time, "_measure_reference", lambda: 10_000_000 * processor_time.REFERENCE_SECONDS)
    with spending_at_most(0.000_001):
        spend()
