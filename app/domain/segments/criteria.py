"""Criteria: the tree that says who belongs to a segment, checked once and written one way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

from app.domain.errors import Code, InvalidInput
from app.domain.events.events import Category
from app.domain.state.measures import EventFilter, Measure
from app.domain.values.conditions import Operator, parse_condition, parse_operand, parse_operator
from app.domain.values.currencies import parse_currency
from app.domain.values.decimals import canonical, parse_decimal
from app.domain.values.instants import from_ms
from app.domain.values.text import parse_text
from app.domain.values.windows import parse_between, parse_within, within_dict

MAX_DEPTH = 8
MAX_LEAVES = 50
MAX_LISTED = 50
PASS_FIELDS = frozenset({"pointsBalance", "tier", "status", "createdAt", "installedAt", "updatedAt", "externalId"})


class Metric(StrEnum):
    """What an event criterion measures."""

    COUNT = "COUNT"
    SUM = "SUM"
    DAYS_SINCE_LAST = "DAYS_SINCE_LAST"
    DAYS_SINCE_FIRST = "DAYS_SINCE_FIRST"


class Never(StrEnum):
    """What 'at least so many days since' says of a pass without any matching event."""

    SINCE_JOINED = "SINCE_JOINED"
    MATCHES = "MATCHES"
    FAILS = "FAILS"


THRESHOLDS = (Operator.GTE, Operator.GT, Operator.EQ, Operator.LT, Operator.LTE)


@dataclass(frozen=True)
class EventCriterion:
    """`metric(filter, within) operator value`. For DAYS_SINCE the value is in days of 24 hours."""

    filter: EventFilter
    metric: Metric
    operator: Operator
    value: Decimal
    sums: str = "amount"
    within_ms: int | None = None
    never: Never = Never.SINCE_JOINED

    @cached_property
    def measure(self) -> Measure:
        """The measure that answers this criterion."""
        if self.metric in (Metric.COUNT, Metric.SUM):
            return Measure(self.filter, self.sums if self.metric is Metric.SUM else None, self.within_ms)
        return Measure(self.filter, span=True)

    def to_dict(self) -> dict[str, object]:
        """The criterion as it is stored and answered."""
        f = self.filter
        between = None
        if f.from_ms is not None or f.to_ms is not None:
            between = {
                "from": None if f.from_ms is None else from_ms(f.from_ms).isoformat(),
                "to": None if f.to_ms is None else from_ms(f.to_ms).isoformat(),
            }
        return {
            "event": {
                "types": list(f.types),
                "categories": [c.value for c in f.categories],
                "sources": list(f.sources),
                "metadata": [c.to_dict() for c in f.metadata],
                "metric": self.metric.value,
                "field": self.sums if self.metric is Metric.SUM else None,
                "currency": f.currency,
                "operator": self.operator.value,
                "value": canonical(self.value),
                "within": None if self.within_ms is None else within_dict(self.within_ms),
                "between": between,
                "never": self.never.value,
            }
        }


@dataclass(frozen=True)
class PassCriterion:
    """`field operator value` on the pass itself."""

    field: str
    operator: Operator
    value: object

    def to_dict(self) -> dict[str, object]:
        """The criterion as it is stored and answered."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"pass": {"field": self.field, "operator": self.operator.value, "value": value}}


@dataclass(frozen=True)
class SegmentCriterion:
    """Membership (or its absence) in another segment."""

    segment_id: str
    member: bool = True

    def to_dict(self) -> dict[str, object]:
        """The criterion as it is stored and answered."""
        return {"segment": {"id": self.segment_id, "member": self.member}}


@dataclass(frozen=True)
class All:
    """Every one of `children` holds."""

    children: tuple[Criteria, ...]

    def to_dict(self) -> dict[str, object]:
        """The criterion as it is stored and answered."""
        return {"all": [child.to_dict() for child in self.children]}


@dataclass(frozen=True)
class AnyOf:
    """At least one of `children` holds."""

    children: tuple[Criteria, ...]

    def to_dict(self) -> dict[str, object]:
        """The criterion as it is stored and answered."""
        return {"any": [child.to_dict() for child in self.children]}


@dataclass(frozen=True)
class Not:
    """`child` does not hold."""

    child: Criteria

    def to_dict(self) -> dict[str, object]:
        """The criterion as it is stored and answered."""
        return {"not": self.child.to_dict()}


Criteria = EventCriterion | PassCriterion | SegmentCriterion | All | AnyOf | Not
Leaf = EventCriterion | PassCriterion | SegmentCriterion


def leaves(criteria: Criteria) -> Iterator[Leaf]:
    """The leaves of the tree, from left to right."""
    match criteria:
        case All(children) | AnyOf(children):
            for child in children:
                yield from leaves(child)
        case Not(child):
            yield from leaves(child)
        case _:
            yield criteria


@dataclass
class _Reading:
    currency: str
    left: int = field(default=MAX_LEAVES)


def parse_criteria(raw: object, default_currency: str, *path: str) -> Criteria:
    """The criteria that a CriteriaInput (or its stored form) writes.

    Exactly one of all, any, not, event, pass, segment at each level; at most 8 levels and 50 leaves. Raises InvalidInput
    with the path of the part at fault.
    """
    return _node(raw, _Reading(default_currency), MAX_DEPTH, path)


def _node(raw: object, reading: _Reading, depth: int, path: tuple[str, ...]) -> Criteria:
    if depth == 0:
        raise InvalidInput(Code.LIMIT, f"Nested deeper than {MAX_DEPTH} levels.", *path)
    given = {k: v for k, v in raw.items() if v is not None} if isinstance(raw, Mapping) else {}
    if len(given) != 1 or next(iter(given)) not in ("all", "any", "not", "event", "pass", "segment"):
        raise InvalidInput(Code.INVALID, "Exactly one of all, any, not, event, pass and segment.", *path)
    [(kind, body)] = given.items()
    here = (*path, kind)
    if kind in ("all", "any"):
        if not isinstance(body, Sequence) or isinstance(body, str) or not body:
            raise InvalidInput(Code.REQUIRED, "Give at least one criterion.", *here)
        children = tuple(_node(child, reading, depth - 1, (*here, str(i))) for i, child in enumerate(body))
        return All(children) if kind == "all" else AnyOf(children)
    if kind == "not":
        return Not(_node(body, reading, depth - 1, here))
    reading.left -= 1
    if reading.left < 0:
        raise InvalidInput(Code.LIMIT, f"More than {MAX_LEAVES} criteria in one segment.", *here)
    if not isinstance(body, Mapping):
        raise InvalidInput(Code.INVALID, "Give an object.", *here)
    if kind == "event":
        return _event(body, reading.currency, here)
    if kind == "segment":
        segment_id = parse_text(body.get("id"), *here, "id")
        return SegmentCriterion(segment_id, body.get("member") is not False)
    return _pass(body, here)


def _event(body: Mapping[str, object], default_currency: str, path: tuple[str, ...]) -> EventCriterion:
    if body.get("calendar") is not None:
        raise InvalidInput(Code.UNSUPPORTED, "Calendar windows are not available; use within.", *path, "calendar")
    metric = Metric.__members__.get(str(body.get("metric", "COUNT")))
    if metric is None:
        raise InvalidInput(Code.UNKNOWN, f"One of {', '.join(Metric)}.", *path, "metric")
    operator = parse_operator(body.get("operator", "GTE"), *path, "operator")
    if operator not in THRESHOLDS:
        raise InvalidInput(Code.UNSUPPORTED, f"One of {', '.join(THRESHOLDS)}.", *path, "operator")
    if body.get("value") is None:
        raise InvalidInput(Code.REQUIRED, "Give the number to compare with.", *path, "value")
    value = parse_decimal(body["value"], *path, "value")
    days = metric in (Metric.DAYS_SINCE_LAST, Metric.DAYS_SINCE_FIRST)
    if days and not 0 <= value <= 36_600:
        raise InvalidInput(Code.OUT_OF_RANGE, "Between 0 and 36,600 days.", *path, "value")
    never = Never.__members__.get(str(body.get("never") or "SINCE_JOINED"))
    if never is None:
        raise InvalidInput(Code.UNKNOWN, f"One of {', '.join(Never)}.", *path, "never")
    within_ms = None
    if body.get("within") is not None:
        if days:
            raise InvalidInput(Code.UNSUPPORTED, "DAYS_SINCE takes no window.", *path, "within")
        within_ms = parse_within(body["within"], *path, "within")
    start_ms, end_ms = parse_between(body.get("between"), (*path, "between"))
    if within_ms is not None and (start_ms is not None or end_ms is not None):
        raise InvalidInput(Code.INVALID, "Either within or between.", *path, "between")
    sums, currency = "amount", None
    if metric is Metric.SUM:
        sums = parse_text(body.get("field") or "amount", *path, "field", most=200)
        if sums not in ("amount", "points") and not (sums.startswith("metadata.") and len(sums) > 9):
            raise InvalidInput(Code.UNKNOWN, '"amount", "points" or "metadata.<path>".', *path, "field")
    if body.get("currency") is not None:
        currency = parse_currency(body["currency"], *path, "currency")
    elif metric is Metric.SUM and sums == "amount":
        currency = default_currency
    event_filter = EventFilter(
        _names(body.get("types"), (*path, "types"), parse_text),
        tuple(Category(name) for name in _names(body.get("categories"), (*path, "categories"), _category)),
        _names(body.get("sources"), (*path, "sources"), parse_text),
        tuple(
            parse_condition(item, *path, "metadata", str(i))
            for i, item in _listed(body.get("metadata"), path, "metadata")
        ),
        currency,
        start_ms,
        end_ms,
    )
    return EventCriterion(event_filter, metric, operator, value, sums, within_ms, never)


def _pass(body: Mapping[str, object], path: tuple[str, ...]) -> PassCriterion:
    name = parse_text(body.get("field"), *path, "field", most=200)
    root, _, rest = name.partition(".")
    if name not in PASS_FIELDS and not (root in ("fields", "metadata", "holder") and rest):
        known = ", ".join(sorted(PASS_FIELDS))
        raise InvalidInput(
            Code.UNKNOWN, f"fields.<name>, metadata.<path>, holder.<name>, or one of {known}.", *path, "field"
        )
    operator = parse_operator(body.get("operator", "EQ"), *path, "operator")
    return PassCriterion(name, operator, parse_operand(body.get("value"), operator, *path, "value"))


def _listed(raw: object, path: tuple[str, ...], name: str) -> list[tuple[int, object]]:
    if raw is None:
        return []
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise InvalidInput(Code.INVALID, "Give a list.", *path, name)
    if len(raw) > MAX_LISTED:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_LISTED}.", *path, name)
    return list(enumerate(raw))


def _names(raw: object, path: tuple[str, ...], parse: Callable[..., str]) -> tuple[str, ...]:
    # Sorted and without repeats: two spellings of one question share one measure.
    listed = _listed(raw, path[:-1], path[-1])
    return tuple(sorted({parse(item, *path, str(index)) for index, item in listed}))


def _category(raw: object, *path: str) -> str:
    if str(raw) not in Category.__members__:
        raise InvalidInput(Code.UNKNOWN, f"One of {', '.join(Category)}.", *path)
    return str(raw)
