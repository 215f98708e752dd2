"""Random programs: the walk equals a rebuild, plain arithmetic, and the walk of a worker that ran at other times."""

from __future__ import annotations

import pytest

from .program_checks import check_program, told
from .programs import play, play_merge
from .test_rebuild import check_rebuild

SEEDS = 120


@pytest.mark.parametrize("start", [0, SEEDS])
def test_what_a_program_leaves_is_a_function_of_the_events_that_count(start: int) -> None:
    fired = 0
    for seed in range(start, start + SEEDS):
        simulation, _, _ = play(seed, exact=False, eager=False)
        check_rebuild(simulation)
        fired += check_program(simulation)
    # A run in which no rule fires proves little.
    assert fired > 2 * SEEDS


def test_one_walk_and_a_walk_after_each_event_report_the_same() -> None:
    fired = 0
    for seed in range(SEEDS):
        (eager, _, _), (lazy, _, _) = (play(seed, exact=True, eager=each) for each in (True, False))
        assert told(eager) == told(lazy), seed
        fired += check_program(eager)
        assert (eager.card.points, eager.card.tier, eager.card.profile, eager.card.measures) == (
            lazy.card.points, lazy.card.tier, lazy.card.profile, lazy.card.measures,
        ), seed  # fmt: skip
    assert fired > 2 * SEEDS


def test_what_a_program_leaves_after_a_merge_is_a_function_of_the_events_that_count() -> None:
    fired = 0
    for seed in range(SEEDS):
        survivor = play_merge(seed)
        check_rebuild(survivor)
        fired += check_program(survivor)
    assert fired > 2 * SEEDS
