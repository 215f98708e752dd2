"""The protocol under random interleavings and under rare scenes, with all its rules and with one rule removed."""

from __future__ import annotations

import itertools
from unittest.mock import patch

import pytest

from app.domain.errors import Unavailable

from .counts import COUNT_MUTANTS
from .customer_mutants import CUSTOMER_MUTANTS
from .customer_scenes import CUSTOMER_SCENES
from .guarded_mutants import GUARDED_MUTANTS
from .histories import HISTORY_MUTANTS
from .months import MONTH_MUTANTS
from .mutants import MUTANTS, Mutant
from .rule_mutants import RULE_MUTANTS
from .scenes import GUARDED_SCENES, RULE_SCENES, SCENES, Scene, play
from .schedule import Odds
from .sealing_mutants import SEALING_MUTANTS
from .sealing_scenes import SEALING_MONTH_SCENES, SEALING_RULE_SCENES, SEALING_SCENES, play_sealing
from .world import run

SEEDS = 8
SEEDS_WITH_RULES = 2
"""Runs with rules or guarded events take five times as long. `python -m tests.model --rules` makes any number of them."""
COMMON = [mutant for mutant in MUTANTS if not mutant.rare]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("start", range(0, 3 * SEEDS, SEEDS))
def test_random_crashes_and_races_keep_every_count_and_instant_exact(start: int, late: bool) -> None:
    """Each event counts and is published once, and each transition has the instant that the oracle computes."""
    stats = [run(seed, late=late) for seed in range(start, start + SEEDS)]
    # A run in which little happened proves little.
    assert sum(each.crashes for each in stats) > 5 * SEEDS
    assert sum(each.transitions for each in stats) > 5 * SEEDS
    assert sum(each.events for each in stats) > 8 * SEEDS


def test_run_of_a_seed_repeats_itself_on_a_much_slower_machine() -> None:
    """Caches expire after steps of the run, not after real time. Else a mutant would be noticed only on some machines."""
    first, seconds = run(0), itertools.count()
    with patch("time.monotonic", lambda: float(next(seconds))):
        assert run(0) == first


def test_random_crashes_and_races_with_merges_count_every_event_once() -> None:
    stats = [run(seed, merging=True) for seed in range(SEEDS)]
    assert sum(each.crashes for each in stats) > 5 * SEEDS


@pytest.mark.parametrize("merging", [False, True])
def test_reads_older_than_own_writes_let_no_event_count_twice_or_get_lost(merging: bool) -> None:
    """After an election, a majority read may be older than acknowledged writes. A transition may come late then."""
    odds = Odds(lagging_reads=0.5)
    stats = [run(seed, odds, merging=merging) for seed in range(SEEDS)]
    assert sum(each.transitions for each in stats) > 5 * SEEDS


@pytest.mark.parametrize("options", ["", "late", "merging"])
def test_points_of_rules_follow_net_amounts_whatever_crashes_and_races(options: str) -> None:
    """Each purchase has the points of its net amount under the version that fired, and no rule fires twice for one."""
    stats = [run(seed, None, **dict.fromkeys(["rules", *options.split()], True)) for seed in range(SEEDS_WITH_RULES)]
    assert sum(each.crashes for each in stats) > 5 * SEEDS_WITH_RULES


@pytest.mark.parametrize("mutant", RULE_MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_removed_rule_breaks_the_points_of_a_scene_or_a_random_run(mutant: Mutant) -> None:
    with mutant.applied():
        is_caught = not all(passes(scene) for scene in RULE_SCENES)
        assert is_caught or is_noticed(mutant, 60), "the rule has no effect"


@pytest.mark.parametrize("options", ["", "late", "merging"])
def test_events_are_decided_once_and_in_order_whatever_crashes_and_races(options: str) -> None:
    """Each outcome is stored and published once, fits the balance before it, and is that of an oracle if nothing is late."""
    stats = [run(seed, None, **dict.fromkeys(["guarded", *options.split()], True)) for seed in range(SEEDS_WITH_RULES)]
    assert sum(each.crashes for each in stats) > 5 * SEEDS_WITH_RULES


@pytest.mark.parametrize("mutant", GUARDED_MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_removed_rule_breaks_the_outcomes_of_a_scene_or_a_random_run(mutant: Mutant) -> None:
    with mutant.applied():
        is_caught = not all(passes(scene) for scene in GUARDED_SCENES)
        assert is_caught or is_noticed(mutant, 60), "the rule has no effect"


@pytest.mark.parametrize("options", ["", "merging", "rules"])
def test_sealed_months_of_passes_are_those_of_their_events(options: str) -> None:
    """Folds, removals, merges and erasures run while months are sealed, and all of them crash."""
    stats = [run(seed, None, **dict.fromkeys(["months", *options.split()], True)) for seed in range(SEEDS_WITH_RULES)]
    assert sum(each.crashes for each in stats) > 5 * SEEDS_WITH_RULES


@pytest.mark.parametrize("mutant", [*MONTH_MUTANTS, *COUNT_MUTANTS], ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_removed_rule_breaks_the_sealed_months_of_a_scene_or_a_random_run(mutant: Mutant) -> None:
    with mutant.applied():
        is_caught = not all(map(keeps_rollups, SEALING_MONTH_SCENES))
        assert is_caught or is_noticed(mutant, 60), "the rule has no effect"


def test_exact_answers_have_each_customer_once_and_whole_whatever_crashes_and_races() -> None:
    """Single customers are read in two parts while passes are merged and erased."""
    stats = [run(seed, merging=True, customers=True) for seed in range(SEEDS)]
    assert sum(each.crashes for each in stats) > 5 * SEEDS
    # Answers that are not exact are not checked.
    assert sum(each.exact_answers for each in stats) > 3 * SEEDS


@pytest.mark.parametrize("mutant", CUSTOMER_MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_removed_rule_breaks_an_exact_answer_about_customers_in_a_scene(mutant: Mutant) -> None:
    with mutant.applied():
        assert not all(passes(scene) for scene in CUSTOMER_SCENES), "the rule has no effect, or no scene needs it"


@pytest.mark.parametrize("mutant", HISTORY_MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_removed_rule_breaks_the_history_of_segments_in_a_random_run(mutant: Mutant) -> None:
    with mutant.applied():
        assert is_noticed(mutant, 60), "the rule has no effect"


@pytest.mark.parametrize(
    "scene", [*SCENES, *GUARDED_SCENES, *RULE_SCENES, *CUSTOMER_SCENES], ids=lambda scene: scene.__name__
)
def test_rare_interleaving_breaks_no_rule(scene: Scene) -> None:
    play(scene)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_removed_rule_breaks_a_scene(mutant: Mutant) -> None:
    with mutant.applied():
        assert not all(passes(scene) for scene in SCENES), "the rule has no effect, or no scene needs it"


@pytest.mark.parametrize("mutant", COMMON, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_removed_rule_breaks_a_random_run(mutant: Mutant) -> None:
    with mutant.applied():
        assert is_noticed(mutant, 40), "the rule has no effect, or no seed needs it"


def passes(scene: Scene) -> bool:
    """Return whether all checks pass after the scene."""
    try:
        play(scene)
    except AssertionError:
        return False
    return True


def is_noticed(mutant: Mutant, runs: int) -> bool:
    """Return whether a check fails after one of the random runs. The mutant must be applied."""
    seeds = sorted(range(runs), key=lambda seed: seed != mutant.seed)
    return not all(survives(seed, *mutant.runs) for seed in seeds)


def survives(seed: int, *options: str) -> bool:
    """Return whether the run ends and all checks pass. A stage that reads something impossible does not end."""
    try:
        run(seed, None, **dict.fromkeys(options, True))
    except (AssertionError, Unavailable):
        return False
    return True


@pytest.mark.parametrize("options", ["", "late", "merging", "rules"])
def test_rollups_equal_the_events_whatever_crashes_and_races(options: str) -> None:
    """Each hour whose counted events change is marked, so that the last seal of it has all of them and no other."""
    seeds = range(1 if options == "rules" else SEEDS_WITH_RULES)
    stats = [run(seed, None, **dict.fromkeys(["sealing", *options.split()], True)) for seed in seeds]
    assert sum(each.crashes for each in stats) > 5 * len(seeds)


def test_rollups_equal_the_events_although_reads_are_older_than_own_writes() -> None:
    for seed in range(SEEDS_WITH_RULES):
        run(seed, Odds(lagging_reads=0.5), merging=True, sealing=True)


@pytest.mark.parametrize(
    "scene", [*SEALING_SCENES, *SEALING_RULE_SCENES, *SEALING_MONTH_SCENES], ids=lambda scene: scene.__name__
)
def test_rare_interleaving_leaves_no_rollup_out_of_date(scene: Scene) -> None:
    play_sealing(scene)


@pytest.mark.parametrize("mutant", SEALING_MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_removed_rule_leaves_the_rollup_of_a_scene_out_of_date(mutant: Mutant) -> None:
    with mutant.applied():
        assert not all(map(keeps_rollups, [*SEALING_SCENES, *SEALING_RULE_SCENES])), "the rule has no effect"


def keeps_rollups(scene: Scene) -> bool:
    """Return whether all checks pass after a scene with seals."""
    try:
        play_sealing(scene)
    except AssertionError:
        return False
    return True
