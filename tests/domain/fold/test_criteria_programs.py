"""Random criteria of every kind: walk, walk event by event, rebuild and plain arithmetic over all events agree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import pytest

from .criteria_stories import play, play_exact, play_merge
from .program_checks import told

SEEDS = 8
LIMITS = {
    "windows.MAX_EXPIRING": 3,
    "refilling.MAX_EXPIRING": 3,
    "extremes.MAX_CANDIDATES": 4,
    "extremes.NEXT_CANDIDATES": 2,
}


@contextmanager
def short_lists() -> Iterator[None]:
    """Let the lists of windows run out after a few events."""
    with ExitStack() as stack:
        for name, limit in LIMITS.items():
            stack.enter_context(patch(f"app.domain.state.{name}", limit))
        yield


@pytest.mark.parametrize("first", [0, SEEDS])
def test_memberships_equal_plain_arithmetic_at_every_instant(first: int) -> None:
    """Calendars, streaks, sequences, metrics and criteria on the pass, whatever is late, removed or in another zone."""
    for seed in range(first, first + SEEDS):
        play(seed)
        with short_lists():
            play(seed + 1_000)
    for seed in range(first * 5, (first + SEEDS) * 5):
        play(seed + 2_000, count=1)


def test_memberships_equal_plain_arithmetic_after_a_merge() -> None:
    for seed in range(SEEDS // 2):
        with short_lists():
            play_merge(seed)


def test_worker_that_runs_at_other_times_reports_the_same() -> None:
    for seed in range(SEEDS):
        eager, lazy = (play_exact(seed, eager=each) for each in (True, False))
        assert told(eager) == told(lazy), seed
        assert eager.card.memberships == lazy.card.memberships, seed
