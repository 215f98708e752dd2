"""Criteria that no pass can match, or that every pass matches: mistakes that a segment must not be made of.

Each criterion compares one *quantity* of a pass: a count, a number of days, the balance of points, a field. For each
quantity, a few values stand for all: those around each number that a criterion names. A part of the tree that gives the
same result for all combinations of these values never changes it. A quantity may get more values here than it can have.
So a mistake may be missed, but criteria that make sense are never refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import ROUND_FLOOR, Decimal
from itertools import chain, combinations, product

from app.domain.errors import Code, Problem
from app.domain.values.conditions import POSITIVE, VALUELESS, Operator
from app.domain.values.decimals import read_number
from app.domain.values.instants import LATEST, parse_instant

from .criteria import (
    VALUES,
    All,
    AnyOf,
    Criteria,
    EventCriterion,
    Leaf,
    ListCriterion,
    Metric,
    Never,
    Not,
    SegmentCriterion,
    iter_leaves,
)
from .evaluation import COMPARE
from .event_filters import can_match, operands_of
from .moments import AnniversaryCriterion, MomentCriterion, RelativeCriterion
from .pass_criteria import CHOICES, Kind, PassCriterion
from .sequences import SequenceCriterion

MAX_EVALUATED_LEAVES = 20_000
"""Leaves that are evaluated to examine one tree: about 20 ms. Larger combinations are not examined."""
MAX_ATOMS = 8
"""Different comparisons of one field that are combined."""
_IMPOSSIBLE_FILTER = (
    "No event can match this filter: its types and categories, or its conditions, exclude each other. "
    "Change one of them."
)
_INSTANT = timedelta(milliseconds=1)
_SHORT = Decimal("1e-9")
"""A part of a day below the resolution of instants."""


def find_constants(criteria: Criteria, *path: str, tiers: Collection[str] = ()) -> list[Problem]:
    """Return a problem for each part of the tree that no pass can match, or that every pass matches.

    The parts inside such a part are named instead of it, if one of them is such a part itself. `tiers` are the keys of the
    tiers that passes may have.
    """
    return list(_Examination(tiers).examine(criteria, path))


@dataclass
class _Examination:
    """Examination of one tree, with what is left of its budget."""

    tiers: Collection[str] = ()
    leaves_left: int = field(default=MAX_EVALUATED_LEAVES)

    def examine(self, node: Criteria, path: tuple[str, ...]) -> Iterator[Problem]:
        if isinstance(node, (All, AnyOf)):
            kind = "all" if isinstance(node, All) else "any"
            found = [
                problem
                for index, child in enumerate(node.children)
                for problem in self.examine(child, (*path, kind, str(index)))
            ]
            yield from found or self._examine_whole(node, (*path, kind))
        elif isinstance(node, Not):
            yield from self.examine(node.child, (*path, "not"))
        elif not isinstance(node, ListCriterion):
            yield from self._examine_leaf(node, path)

    def _examine_leaf(self, leaf: Leaf, path: tuple[str, ...]) -> Iterator[Problem]:
        if isinstance(leaf, EventCriterion) and not can_match(leaf.filter):
            yield Problem(Code.INVALID, _IMPOSSIBLE_FILTER, (*path, "event"))
            return
        if isinstance(leaf, SequenceCriterion):
            for index, step in enumerate(leaf.steps):
                if not can_match(step.filter):
                    yield Problem(Code.INVALID, _IMPOSSIBLE_FILTER, (*path, "sequence", "steps", str(index), "event"))
            return
        result = self._constant_result([leaf], lambda assigned: assigned[0])
        if result is None:
            return
        says = "always holds" if result else "can never hold"
        name = "event" if isinstance(leaf, EventCriterion) else "pass"
        yield Problem(Code.INVALID, f"This criterion {says}: {_reason(leaf, self.tiers)}", (*path, name, _part(leaf)))

    def _examine_whole(self, node: All | AnyOf, path: tuple[str, ...]) -> Iterator[Problem]:
        result = _direct_result(node, self.tiers)
        if result is None:
            leaves = list(iter_leaves(node))
            result = self._constant_result(leaves, lambda assigned: _combine(node, iter(assigned)))
        if result is None:
            return
        if result:
            message = "One of these criteria holds for every pass, so the whole always holds. Change or remove one."
        else:
            message = "These criteria exclude each other, so no pass can match them. Change or remove one."
        yield Problem(Code.INVALID, message, path)

    def _constant_result(self, leaves: Sequence[Leaf], result_of: Callable[[list[bool]], bool]) -> bool | None:
        """Return the result that is the same for all combinations of values; None if it changes, or is not known."""
        groups: dict[object, list[int]] = {}
        for index, leaf in enumerate(leaves):
            groups.setdefault(_quantity(leaf), []).append(index)
        choices = []
        total = len(leaves)
        for indexes in groups.values():
            outcomes = _outcomes([leaves[index] for index in indexes], self.tiers)
            total *= len(outcomes)
            if not outcomes or total > self.leaves_left:
                return None
            choices.append([dict(zip(indexes, outcome, strict=True)) for outcome in outcomes])
        self.leaves_left -= total
        first: bool | None = None
        for combination in product(*choices):
            assigned: dict[int, bool] = {}
            for part in combination:
                assigned |= part
            result = result_of([assigned[index] for index in range(len(leaves))])
            if first is None:
                first = result
            elif result != first:
                return None
        return first


def _direct_result(node: All | AnyOf, tiers: Collection[str]) -> bool | None:
    """Return the result that the leaves of one quantity force upon their parent, whatever the other children are."""
    groups: dict[object, list[Leaf]] = {}
    for child in node.children:
        if not isinstance(child, (All, AnyOf, Not, ListCriterion)):
            groups.setdefault(_quantity(child), []).append(child)
    for leaves in groups.values():
        outcomes = _outcomes(leaves, tiers)
        if outcomes and isinstance(node, All) and not any(map(all, outcomes)):
            return False
        if outcomes and isinstance(node, AnyOf) and all(map(any, outcomes)):
            return True
    return None


def _combine(node: Criteria, results: Iterator[bool]) -> bool:
    """Return the result of the tree, given those of its leaves from left to right."""
    match node:
        case All(children):
            # Each child takes the results of its own leaves, so no child may be left out.
            parts = [_combine(child, results) for child in children]
            return all(parts)
        case AnyOf(children):
            parts = [_combine(child, results) for child in children]
            return any(parts)
        case Not(child):
            return not _combine(child, results)
    return next(results)


def _quantity(leaf: Leaf) -> object:
    """Return what the leaf measures: leaves with the same quantity depend on each other."""
    match leaf:
        case EventCriterion():
            return (leaf.metric, leaf.measure.key)
        case SequenceCriterion():
            return ("sequence", leaf.measure.key, leaf.within_ms)
        case SegmentCriterion():
            return ("segment", leaf.segment_id)
        case RelativeCriterion() | AnniversaryCriterion():
            return leaf
    return ("pass", leaf.root, leaf.steps or leaf.field)


def _outcomes(leaves: Sequence[Leaf], tiers: Collection[str]) -> set[tuple[bool, ...]]:
    """Return the possible results of leaves of one quantity, taken together; none if there are too many."""
    first = leaves[0]
    if isinstance(first, SegmentCriterion):
        members = [leaf.member for leaf in leaves if isinstance(leaf, SegmentCriterion)]
        return {tuple(is_member == member for member in members) for is_member in (True, False)}
    if isinstance(first, SequenceCriterion | MomentCriterion):
        # They are the same criterion, which holds at some time and does not at another.
        return {(result,) * len(leaves) for result in (True, False)}
    if isinstance(first, EventCriterion):
        return _event_outcomes([leaf for leaf in leaves if isinstance(leaf, EventCriterion)])
    return _pass_outcomes([leaf for leaf in leaves if isinstance(leaf, PassCriterion)], tiers)


def _event_outcomes(leaves: Sequence[EventCriterion]) -> set[tuple[bool, ...]]:
    metric = leaves[0].metric
    if metric in (Metric.COUNT, Metric.COUNT_DISTINCT):
        bounds = {leaf.value.to_integral_value(ROUND_FLOOR) + shift for leaf in leaves for shift in (-1, 0, 1, 2)}
        return {tuple(_compares(leaf, count) for leaf in leaves) for count in bounds | {Decimal(0)} if count >= 0}
    if metric is Metric.SUM or metric in VALUES:
        values = _around({leaf.value for leaf in leaves})
        if metric is not Metric.SUM and leaves[0].summed_field == "amount":
            # Amounts are never negative as recorded.
            values = [value for value in (*values, Decimal(0)) if value >= 0]
        found = {tuple(_compares(leaf, value) for leaf in leaves) for value in values}
        # Without a value, none of them holds.
        return found | ({(False,) * len(leaves)} if metric in VALUES else set())
    edges = {leaf.value + shift for leaf in leaves for shift in (0, 1)}
    elapsed = [days for days in (*_around(edges, _SHORT), Decimal(0)) if days >= 0]
    return {
        tuple(_days_match(leaf, days, has_event) for leaf in leaves) for days in elapsed for has_event in (True, False)
    }


def _around(bounds: set[Decimal], distance: Decimal = Decimal("1e-12")) -> list[Decimal]:
    return [bound + shift for bound in bounds for shift in (-distance, Decimal(0), distance)]


def _compares(leaf: EventCriterion, value: Decimal) -> bool:
    return COMPARE[leaf.operator](value, leaf.value)


def _days_match(leaf: EventCriterion, days: Decimal, has_event: bool) -> bool:
    """Return the result after so many days since the event or, without an event, since the customer joined."""
    if not has_event:
        if leaf.operator not in (Operator.GTE, Operator.GT) or leaf.metric is not Metric.DAYS_SINCE_LAST:
            return False
        if leaf.never is not Never.SINCE_JOINED:
            return leaf.never is Never.MATCHES
    if leaf.operator is Operator.EQ:
        return leaf.value <= days < leaf.value + 1
    return _compares(leaf, days)


def _pass_outcomes(leaves: Sequence[PassCriterion], tiers: Collection[str]) -> set[tuple[bool, ...]]:
    leaf = leaves[0]
    if leaf.kind is Kind.NUMBER:
        numbers = {number for number in map(read_number, _listed(leaves)) if number is not None}
        return _single_outcomes(leaves, [*_around(numbers), Decimal(0)])
    if leaf.kind is Kind.INSTANT:
        instants = {parse_instant(value) for value in _listed(leaves)} | {LATEST}
        around: list[object] = [at + shift for at in instants for shift in (-_INSTANT, timedelta(0), _INSTANT)]
        return _single_outcomes(leaves, [*around, *([None] if leaf.field == "installedAt" else [])])
    if leaf.kind is Kind.BOOLEAN:
        return _single_outcomes(leaves, [None, True, False])
    if leaf.field in CHOICES:
        return _single_outcomes(leaves, CHOICES[leaf.field])
    if leaf.field == "tier":
        return _single_outcomes(leaves, [None, *tiers])
    return _free_outcomes(leaves)


def _listed(leaves: Sequence[PassCriterion]) -> list[object]:
    """Return all values that the criteria compare with."""
    found: list[object] = []
    for leaf in leaves:
        if leaf.operator not in VALUELESS:
            found += leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
    return found


def _single_outcomes(leaves: Sequence[PassCriterion], values: Sequence[object]) -> set[tuple[bool, ...]]:
    """Return the results for each of the values that a field can have; None stands for no value."""
    return {
        tuple((value is not None and leaf.test(value)) != (leaf.operator in POSITIVE) for leaf in leaves)
        for value in values
    }


def _free_outcomes(leaves: Sequence[PassCriterion]) -> set[tuple[bool, ...]]:
    """Return the results for a field with any text or, below a path, any values.

    A text that is listed is tried as the only value of the field. Beside, each set of comparisons may hold together,
    because the field may hold a list, or a text that no criterion names.
    """
    is_single = leaves[0].kind is Kind.TEXT
    atoms = {_atom(leaf) for leaf in leaves if leaf.operator not in VALUELESS}
    # A single text equals no text that is listed if it is none of them. No text comes before the empty one.
    free = [
        atom
        for atom in atoms
        if not (is_single and (atom[0] in (Operator.EQ, Operator.IN) or atom == _BEFORE_ALL_TEXTS))
    ]
    if len(free) > MAX_ATOMS:
        return set()
    sets = chain.from_iterable(combinations(free, size) for size in range(len(free) + 1))
    found = {_results(leaves, frozenset(held), exists=True) for held in sets}
    if is_single:
        found |= _single_outcomes(leaves, [text for text in _listed(leaves) if text or leaves[0].field != "externalId"])
    if leaves[0].field != "externalId":
        found.add(_results(leaves, frozenset(), exists=False))
    return found


_Atom = tuple[Operator, object]
_BEFORE_ALL_TEXTS: _Atom = (Operator.LT, frozenset(operands_of("")))


def _atom(leaf: PassCriterion) -> _Atom:
    operator = POSITIVE.get(leaf.operator, leaf.operator)
    values = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
    if operator is Operator.IN and len(values) == 1:
        operator = Operator.EQ
    return operator, frozenset(operands_of(values))


def _results(leaves: Sequence[PassCriterion], held: frozenset[_Atom], *, exists: bool) -> tuple[bool, ...]:
    """Return the results if exactly the comparisons in `held` hold for some value of the field."""
    return tuple(
        (exists if leaf.operator in VALUELESS else _atom(leaf) in held) != (leaf.operator in POSITIVE)
        for leaf in leaves
    )


def _part(leaf: Leaf) -> str:
    """Return the part of a leaf to name in a problem."""
    return "operator" if isinstance(leaf, PassCriterion) and leaf.operator in VALUELESS else "value"


def _reason(leaf: Leaf, tiers: Collection[str]) -> str:
    """Return why the result of a leaf never changes, and what to do."""
    if isinstance(leaf, EventCriterion):
        if leaf.metric in VALUES:
            return "recorded amounts are 0 or more. Compare with another amount, or leave the criterion out."
        if leaf.metric in (Metric.COUNT, Metric.COUNT_DISTINCT):
            return "a count is a whole number from 0 on. Compare it with 1 or more, or leave the criterion out."
        return "days since an event are 0 or more. Compare with another number of days, or leave the criterion out."
    assert isinstance(leaf, PassCriterion)
    if leaf.field in CHOICES:
        choices = ", ".join(CHOICES[leaf.field])
        return f"the {leaf.field} of a pass is one of {choices}. Name other ones, or leave the criterion out."
    if leaf.kind is Kind.BOOLEAN:
        return "a consent is true, false or absent. Compare it with one of them, or leave the criterion out."
    if leaf.field == "tier":
        if not tiers:
            return "this workspace has no tiers, so no pass has one. Call setTierProgram first, or leave it out."
        return f"the tiers of this workspace are {', '.join(sorted(tiers))}. Name some of them, or leave it out."
    if leaf.operator not in VALUELESS and leaf.operator is not Operator.LT:
        return "an external id is never empty. Compare with another text, or leave the criterion out."
    if leaf.operator not in VALUELESS:
        return "no text comes before the empty one. Compare with another text, or leave the criterion out."
    return f"every pass has {leaf.field}. Compare it with a value, or leave the criterion out."
