"""Progress of a pass towards the next tier: what its criteria still ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from app.domain.segments.criteria import OF_FIELDS, All, AnyOf, Criteria, EventCriterion, Not, SegmentCriterion
from app.domain.segments.evaluation import EvaluationContext, evaluate, measured_value
from app.domain.segments.pass_criteria import PassCriterion
from app.domain.segments.sequences import SequenceCriterion
from app.domain.values.conditions import Operator
from app.domain.values.decimals import subtract_exactly
from app.domain.values.windows import within_dict

from .programs import Tier, TierProgramVersion

RISING = frozenset({Operator.GTE, Operator.GT})


SEGMENT_MEASURE = "segment "
"""Beginning of the measure of a criterion that names a segment; the id of the segment follows."""
METADATA_MEASURE = "metadata."
"""Beginning of the measure of a criterion that reads the metadata of the pass; the path in it follows."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """Criterion that does not hold yet: what it measures, and how much more it takes.

    `needed` is None for a criterion that no larger number meets. With GT, it takes more than `needed`.
    """

    measure: str
    needed: Decimal | None


def next_tier(program: TierProgramVersion, present: str | None) -> Tier | None:
    """Return the tier above a tier, or the lowest one for None; None above the highest."""
    rank = -1 if present is None else program.rank_of(present)
    return None if rank is None else next(iter(program.tiers[rank + 1 : rank + 2]), None)


def find_remaining(tier: Tier, context: EvaluationContext) -> list[Remaining]:
    """Return the criteria that a pass has not met yet of those that reach a tier, from left to right.

    Criteria below a `not` are left out. Of alternatives, all are named, unless one of them holds.
    """
    return list(_iter_remaining(tier.reach, context))


def _iter_remaining(criteria: Criteria, context: EvaluationContext) -> Iterator[Remaining]:
    if isinstance(criteria, Not) or evaluate(criteria, context):
        return
    if isinstance(criteria, All | AnyOf):
        for child in criteria.children:
            yield from _iter_remaining(child, context)
        return
    needed = None
    if isinstance(criteria, EventCriterion | PassCriterion) and criteria.operator in RISING:
        bound, value = _number(criteria.value), _number(measured_value(criteria, context) or 0)
        needed = None if bound is None or value is None else subtract_exactly(bound, value)
    if isinstance(criteria, SequenceCriterion):
        taken = _number(measured_value(criteria, context))
        needed = Decimal(len(criteria.steps)) - (taken or 0)
    yield Remaining(_describe(criteria), needed)


def _number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    return Decimal(str(value))


def _describe(leaf: Criteria) -> str:
    """Return what a criterion measures, in words that a program can show."""
    if isinstance(leaf, SegmentCriterion):
        return f"{SEGMENT_MEASURE}{leaf.segment_id}"
    if isinstance(leaf, SequenceCriterion):
        return f"sequence of {len(leaf.steps)} steps"
    if not isinstance(leaf, EventCriterion):
        return str(getattr(leaf, "field", ""))
    parts = [leaf.metric.value]
    if leaf.metric in OF_FIELDS:
        parts.append(leaf.summed_field)
    if leaf.filter.types or leaf.filter.categories:
        parts.append(f"of {', '.join([*leaf.filter.types, *leaf.filter.categories])}")
    if leaf.filter.currency is not None:
        parts.append(f"in {leaf.filter.currency}")
    if leaf.within_ms is not None:
        [(unit, amount)] = within_dict(leaf.within_ms).items()
        parts.append(f"within {amount} {unit}")
    if leaf.periods is not None:
        unit = leaf.periods.unit.value
        in_row = leaf.periods.at_least is not None
        parts.append(f"{unit}S in a row" if in_row else f"in {unit} {leaf.periods.offset}")
    return " ".join(parts)
