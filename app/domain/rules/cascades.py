"""How much rules may make for one event, with the rules that fire for what they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from app.domain.events.events import LIST_ADDED, LIST_REMOVED, PASS_UPDATED, POINT_ADD, POINT_SUB

from .effects import AwardPoints, ChangeList, DeductPoints, Effect, IssueReward, RecordEvent, SendMessage, UpdatePass
from .rules import RuleVersion

MAX_DEPTH = 5
"""Firings one after the other, each caused by what the one before made."""
MAX_MADE = 200
"""Events that rules make for one event, in all depths."""
MAX_MADE_AT_INSTANT = 1_200
"""Events that rules make at one instant, so that a pass stays within the store's 16 MB. The fold takes few enough events."""


def count_effects(rules: Iterable[RuleVersion], by_event_type: Mapping[str, Sequence[tuple[int, RuleVersion]]]) -> int:
    """Return the effects of rules, and of those that fire for what these make, in all depths; at most MAX_MADE.

    `by_event_type` has the rules, each with its rank, that are asked about events of a type.
    """
    total, firing = 0, [(rule, 1) for rule in rules]
    for _ in range(MAX_DEPTH):
        made: Counter[str] = Counter()
        for rule, times in firing:
            for kind in filter(None, map(made_type_of, rule.effects)):
                total += times
                made[kind] += times
        if total >= MAX_MADE:
            return MAX_MADE
        firing = [(rule, times) for kind, times in made.items() for _, rule in by_event_type.get(kind, ())]
    return total


def made_type_of(effect: Effect) -> str | None:
    """Return the type of the event that an effect makes; None for an effect outside the pass."""
    match effect:
        case AwardPoints():
            return POINT_ADD
        case DeductPoints():
            return POINT_SUB
        case RecordEvent():
            return effect.type
        case UpdatePass():
            return PASS_UPDATED
        case ChangeList():
            return LIST_ADDED if effect.adds else LIST_REMOVED
        case IssueReward() | SendMessage():
            return None
