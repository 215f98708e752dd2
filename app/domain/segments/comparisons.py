"""Comparisons: the measure of how long it takes to evaluate criteria."""

from __future__ import annotations

from .criteria import Criteria, EventCriterion, SegmentCriterion, iter_leaves

MAX_WALK_COMPARISONS = 50_000
"""Comparisons after which a walk stops, about 50 ms. The next round continues where the walk stopped."""


def count_comparisons(criteria: Criteria) -> int:
    """Return the number of values that criteria compare with: at least 1 for each criterion, and 1 for each condition."""
    total = 0
    for leaf in iter_leaves(criteria):
        if isinstance(leaf, EventCriterion):
            total += 1 + sum(_count_values(condition.value) for condition in leaf.filter.metadata)
        else:
            total += 1 if isinstance(leaf, SegmentCriterion) else _count_values(leaf.value)
    return total


def _count_values(value: object) -> int:
    return max(1, len(value)) if isinstance(value, tuple) else 1
