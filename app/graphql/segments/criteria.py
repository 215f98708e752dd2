"""Criteria of segments: the input types, and the types that return them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Optional

import strawberry
from strawberry.types.base import get_object_definition
from strawberry.utils.str_converters import to_camel_case

from app.domain.segments.criteria import Criteria
from app.graphql.types.enums import ComparisonOperator, EventCategory, EventMetric, NeverHandling
from app.graphql.types.filters import MetadataCondition
from app.graphql.types.ids import given_id, names_segment, segment_field, to_global_id
from app.graphql.types.scalars import RawDateTime, RawDecimal

from .pass_criteria import PassCriteria, PassCriterion, pass_criteria_of
from .sequences import MetadataCriteria, SequenceCriteria, SequenceCriterion, metadata_criteria, sequence_criteria
from .windows import (
    CalendarWindow,
    CalendarWindowCriteria,
    ConsecutiveUnits,
    ConsecutiveUnitsCriteria,
    FixedWindowCriteria,
    RollingWindow,
    RollingWindowCriteria,
    calendar_window,
    consecutive_units,
    rolling_window,
)


@strawberry.input
class FixedWindow:
    """Window of time between two fixed instants. Give at least one of them."""

    from_: RawDateTime | None = strawberry.field(
        default=None, name="from", description="Start of the window, inclusive. Default: no lower bound."
    )
    to: RawDateTime | None = strawberry.field(
        default=None, description="End of the window, exclusive. Default: no upper bound."
    )


@strawberry.input
class EventCriterion:
    """Comparison of a number measured over matching events of the pass with `value`. Lists have at most 50 items."""

    types: list[str] | None = strawberry.field(
        default=None,
        description="Event types to match. Default: every type, without the changes that `updatePass` records.",
    )
    categories: list[EventCategory] | None = strawberry.field(
        default=None, description="Event categories to match. Default: all."
    )
    sources: list[str] | None = strawberry.field(default=None, description="Sources to match. Default: all.")
    metadata: list[MetadataCondition] | None = strawberry.field(
        default=None, description="Conditions on the metadata, all of which an event must satisfy."
    )
    metric: EventMetric = strawberry.field(
        default=EventMetric.COUNT, description="Number to measure. Default: `COUNT`."
    )
    field: str | None = strawberry.field(
        default=None,
        description='Value that `SUM`, `AVG`, `MIN` and `MAX` read: "amount", "points", "points.earned", "points.spent" or '
        '"metadata.<path>". Default: "amount". "points.earned" are points given, less those taken back; "points.spent" are '
        "points used, less those given back. Numbers are added exactly, those of all elements of a list too. Text that is "
        'a number counts as that number, any other value is left out. For `COUNT_DISTINCT`: "source" or "metadata.<path>", '
        "required. Equal texts, equal numbers, and true or false count once.",
    )
    currency: str | None = strawberry.field(
        default=None,
        description="Currency of the events to match: a code of ISO 4217. Default: the currency of the workspace for "
        "metrics of amounts, else any.",
    )
    operator: ComparisonOperator = strawberry.field(
        default=ComparisonOperator.GTE,
        description="Comparison with `value`: `GTE`, `GT`, `EQ`, `LT` or `LTE`. Default: `GTE`.",
    )
    value: RawDecimal | None = strawberry.field(
        default=None,
        description="Number to compare with. For `DAYS_SINCE_LAST` and `DAYS_SINCE_FIRST`: days of 24 hours, from 0 "
        "to 36,600. For `COUNT_DISTINCT`: at most 100. Required without `consecutive`.",
    )
    within: RollingWindow | None = strawberry.field(
        default=None,
        description="Rolling window that the events must lie in: later than now minus its length. Default: all time. "
        "Not allowed for `DAYS_SINCE_LAST` and `DAYS_SINCE_FIRST`, nor with `between` or `calendar`.",
    )
    between: FixedWindow | None = strawberry.field(
        default=None, description="Fixed window that the events must lie in. Default: all time."
    )
    calendar: CalendarWindow | None = strawberry.field(
        default=None,
        description="Calendar period that the events must lie in. Not allowed for `DAYS_SINCE_LAST` and "
        "`DAYS_SINCE_FIRST`, nor with `within` or `between`.",
    )
    consecutive: ConsecutiveUnits | None = strawberry.field(
        default=None,
        description="Streak of units in a row with a matching event. Leave `metric`, `operator`, `value` and windows out.",
    )
    never: NeverHandling = strawberry.field(
        default=NeverHandling.SINCE_JOINED,
        description="Result of `DAYS_SINCE_LAST` with `GTE` or `GT` for a pass without a matching event. Default: "
        "`SINCE_JOINED`. With other operators, such a pass does not match.",
    )


@names_segment("id")
@strawberry.input
class SegmentCriterion:
    """Condition on the membership in another segment."""

    id: strawberry.ID = strawberry.field(description="Id of the other segment, which must not be archived.")
    member: bool = strawberry.field(
        default=True,
        description="Whether the pass must be in the other segment (true) or must not be in it (false). Default: true.",
    )


@strawberry.input(one_of=True)
class CriteriaInput:
    """Criteria that decide which passes belong to a segment, as a tree.

    Give exactly one field at each level. A tree has at most 8 levels, and at most 50 event, pass and segment
    criteria. Each step of a sequence counts as one.
    """

    # Optional, not `|`: the class does not exist yet when Strawberry evaluates the annotation.
    all: Optional[list[CriteriaInput]] = strawberry.field(  # noqa: UP045
        default=strawberry.UNSET, description="Criteria that must all hold; at least one."
    )
    any: Optional[list[CriteriaInput]] = strawberry.field(  # noqa: UP045
        default=strawberry.UNSET, description="Criteria of which at least one must hold; at least one."
    )
    not_: Optional[CriteriaInput] = strawberry.field(  # noqa: UP045
        default=strawberry.UNSET, name="not", description="Criteria that must not hold."
    )
    event: EventCriterion | None = strawberry.field(
        default=strawberry.UNSET, description="Criterion on events of the pass."
    )
    pass_: PassCriterion | None = strawberry.field(
        default=strawberry.UNSET, name="pass", description="Criterion on the pass itself."
    )
    segment: SegmentCriterion | None = strawberry.field(
        default=strawberry.UNSET, description="Criterion on the membership in another segment."
    )
    sequence: SequenceCriterion | None = strawberry.field(
        default=strawberry.UNSET, description="Criterion on events that follow each other."
    )
    list_: bool | None = strawberry.field(
        default=strawberry.UNSET,
        name="list",
        description="Only the passes that `addToSegment` names belong to the segment. Only `true` is accepted, as the whole "
        "of a segment's criteria.",
    )


def to_mapping(value: Any) -> Any:
    """Return an input as the mapping that the client sent, with enum names and with the database ids of segments."""
    if isinstance(value, list):
        return [to_mapping(item) for item in value]
    definition = get_object_definition(type(value))
    if definition is None:
        return value
    sent: dict[str, Any] = {}
    for field in definition.fields:
        part = getattr(value, field.python_name)
        if part is not strawberry.UNSET and part is not None:
            sent[field.graphql_name or to_camel_case(field.python_name)] = to_mapping(part)
    if (name := segment_field(type(value))) is not None:
        sent[to_camel_case(name)] = given_id(getattr(value, name), "Segment")
    return sent


def sent_values(value: Any) -> dict[str, Any]:
    """Return the fields of an input of changes that the client sent, nulls included, as `to_mapping` writes them."""
    sent: dict[str, Any] = {}
    for field in get_object_definition(type(value), strict=True).fields:
        part = getattr(value, field.python_name)
        if field.python_name != "id" and part is not strawberry.UNSET:
            sent[to_camel_case(field.python_name)] = to_mapping(part)
    return sent


@strawberry.type
class EventCriteria:
    """Comparison of a number measured over matching events of the pass with `value`."""

    types: list[str] = strawberry.field(description="Event types to match. Empty means every type.")
    categories: list[EventCategory] = strawberry.field(description="Event categories to match. Empty means all.")
    sources: list[str] = strawberry.field(description="Sources to match. Empty means all.")
    metadata: list[MetadataCriteria] = strawberry.field(
        description="Conditions on the metadata, all of which an event must satisfy."
    )
    metric: EventMetric = strawberry.field(description="Number to measure.")
    field: str | None = strawberry.field(
        description='Value that the metric reads: "amount", "points", "points.earned", "points.spent", "source" or '
        '"metadata.<path>". Null for metrics that read none.'
    )
    currency: str | None = strawberry.field(description="Currency of the events to match. Null means any.")
    operator: ComparisonOperator = strawberry.field(description="Comparison with `value`.")
    value: Decimal = strawberry.field(
        description="Number to compare with. For `DAYS_SINCE_LAST` and `DAYS_SINCE_FIRST`: days of 24 hours."
    )
    within: RollingWindowCriteria | None = strawberry.field(
        description="Rolling window that the events must lie in. Null means all time."
    )
    between: FixedWindowCriteria | None = strawberry.field(
        description="Fixed window that the events must lie in. Null means all time."
    )
    calendar: CalendarWindowCriteria | None = strawberry.field(
        description="Calendar period that the events must lie in. Null without one."
    )
    consecutive: ConsecutiveUnitsCriteria | None = strawberry.field(
        description="Streak of units in a row with a matching event. `value` has their number, too. Null without one."
    )
    never: NeverHandling = strawberry.field(
        description="Result of `DAYS_SINCE_LAST` with `GTE` or `GT` for a pass without a matching event."
    )


@strawberry.type
class MemberCriteria:
    """Condition on the membership in another segment."""

    id: strawberry.ID = strawberry.field(description="Id of the other segment.")
    member: bool = strawberry.field(
        description="Whether the pass must be in the other segment (true) or must not be in it (false)."
    )


@strawberry.type
class SegmentCriteria:
    """Criteria that decide which passes belong to a segment, as a tree. One field is set at each level."""

    all: Optional[list[SegmentCriteria]] = strawberry.field(  # noqa: UP045
        default=None, description="Criteria that must all hold."
    )
    any: Optional[list[SegmentCriteria]] = strawberry.field(  # noqa: UP045
        default=None, description="Criteria of which at least one must hold."
    )
    not_: Optional[SegmentCriteria] = strawberry.field(  # noqa: UP045
        default=None, name="not", description="Criteria that must not hold."
    )
    event: EventCriteria | None = strawberry.field(default=None, description="Criterion on events of the pass.")
    pass_: PassCriteria | None = strawberry.field(
        default=None, name="pass", description="Criterion on the pass itself."
    )
    segment: MemberCriteria | None = strawberry.field(
        default=None, description="Criterion on the membership in another segment."
    )
    sequence: SequenceCriteria | None = strawberry.field(
        default=None, description="Criterion on events that follow each other."
    )
    list_: bool | None = strawberry.field(
        default=None,
        name="list",
        description="True if only the passes that `addToSegment` names belong to the segment.",
    )


def criteria_of(criteria: Criteria) -> SegmentCriteria:
    """Return the GraphQL object of criteria."""
    return _criteria_node(criteria.to_dict())


def _criteria_node(raw: Mapping[str, Any]) -> SegmentCriteria:
    [(kind, body)] = raw.items()
    match kind:
        case "all":
            return SegmentCriteria(all=[_criteria_node(child) for child in body])
        case "any":
            return SegmentCriteria(any=[_criteria_node(child) for child in body])
        case "not":
            return SegmentCriteria(not_=_criteria_node(body))
        case "list":
            return SegmentCriteria(list_=True)
        case "event":
            return SegmentCriteria(event=_event_criteria(body))
        case "sequence":
            return SegmentCriteria(sequence=sequence_criteria(body))
        case "pass":
            return SegmentCriteria(pass_=pass_criteria_of(body))
    member = MemberCriteria(id=strawberry.ID(to_global_id("Segment", body["id"])), member=body["member"])
    return SegmentCriteria(segment=member)


def _event_criteria(body: Mapping[str, Any]) -> EventCriteria:
    within, between = body["within"], body["between"]
    return EventCriteria(
        types=body["types"],
        categories=[EventCategory(name) for name in body["categories"]],
        sources=body["sources"],
        metadata=metadata_criteria(body["metadata"]),
        metric=EventMetric(body["metric"]),
        field=body["field"],
        currency=body["currency"],
        operator=ComparisonOperator(body["operator"]),
        value=Decimal(body["value"]),
        within=None if within is None else rolling_window(within),
        between=None
        if between is None
        else FixedWindowCriteria(from_=_parse_stored_instant(between["from"]), to=_parse_stored_instant(between["to"])),
        calendar=calendar_window(body.get("calendar")),
        consecutive=consecutive_units(body.get("consecutive")),
        never=NeverHandling(body["never"]),
    )


def _parse_stored_instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
