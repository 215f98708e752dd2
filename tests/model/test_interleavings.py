"""The protocol under every interleaving that a seed can think of, and what becomes of it with a rule taken out."""

from __future__ import annotations

import pytest

from .mutants import MUTANTS, Mutant
from .scenes import SCENES, Scene, play
from .world import run

SEEDS = 12
COMMON = [mutant for mutant in MUTANTS if not mutant.rare]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("start", range(0, 36, SEEDS))
def test_whoever_goes_next_and_whoever_dies_everything_is_counted_and_told_once_at_its_instant(
    start: int, late: bool
) -> None:
    seen = [run(seed, late=late) for seed in range(start, start + SEEDS)]
    # A run in which little happened proves little.
    assert sum(run.deaths for run in seen) > 5 * SEEDS
    assert sum(run.flips for run in seen) > 5 * SEEDS
    assert sum(run.events for run in seen) > 8 * SEEDS


def test_passes_that_become_one_count_every_event_once() -> None:
    seen = [run(seed, merging=True) for seed in range(SEEDS)]
    assert sum(run.deaths for run in seen) > 5 * SEEDS


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_rare_interleaving_does_no_harm(scene: Scene) -> None:
    play(scene)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_rule_that_is_taken_out_is_missed_in_a_scene(mutant: Mutant) -> None:
    with mutant.alive():
        assert not all(passes(scene) for scene in SCENES), "the rule does nothing, or no scene needs it"


@pytest.mark.parametrize("mutant", COMMON, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_rule_that_is_taken_out_is_missed_at_random(mutant: Mutant) -> None:
    with mutant.alive():
        assert not all(survives(seed) for seed in range(40)), "the rule does nothing, or the seeds never need it"


def passes(scene: Scene) -> bool:
    """Whether the scene finds nothing wrong."""
    try:
        play(scene)
    except AssertionError:
        return False
    return True


def survives(seed: int) -> bool:
    """Whether the run finds nothing wrong."""
    try:
        run(seed)
    except AssertionError:
        return False
    return True
