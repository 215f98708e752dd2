"""Comparisons: the measure of how long it takes to evaluate criteria."""

from __future__ import annotations

from app.domain.state.measures import EventFilter
from app.domain.values.conditions import Operator

from .criteria import Criteria, EventCriterion, Metric, iter_leaves
from .pass_criteria import PassCriterion
from .sequences import SequenceCriterion

MAX_WALK_COMPARISONS = 50_000
"""Comparisons after which a walk stops, about 50 ms. The next round continues where the walk stopped.

An event that a late event makes the walk examine again counts as one comparison.
"""

SEARCH_COMPARISONS = 20
"""Comparisons that a CONTAINS counts as. A search through the longest text takes up to 0.1 ms, others take 1 us."""


def count_comparisons(criteria: Criteria) -> int:
    """Return the number of values that criteria compare with: at least 1 for each criterion, and 1 for each condition.

    A CONTAINS counts as 20, because it searches through a text of up to 32 KB. A COUNT_DISTINCT over a calendar window
    counts once for each period from its offset to the present one: a pass keeps a set of up to 100 values for each.
    """
    total = 0
    for leaf in iter_leaves(criteria):
        if isinstance(leaf, EventCriterion):
            total += _count_in_filter(leaf.filter) + _count_earlier_sets(leaf)
        elif isinstance(leaf, SequenceCriterion):
            total += sum(_count_in_filter(step.filter) for step in leaf.steps)
        else:
            total += _count_values(leaf.operator, leaf.value) if isinstance(leaf, PassCriterion) else 1
    return total


def _count_earlier_sets(leaf: EventCriterion) -> int:
    is_distinct = leaf.metric is Metric.COUNT_DISTINCT
    return -leaf.periods.offset if is_distinct and leaf.periods is not None else 0


def _count_in_filter(events: EventFilter) -> int:
    return 1 + sum(_count_values(each.operator, each.value) for each in events.metadata)


def _count_values(operator: Operator, value: object) -> int:
    if operator is Operator.CONTAINS:
        return SEARCH_COMPARISONS
    return max(1, len(value)) if isinstance(value, tuple) else 1
