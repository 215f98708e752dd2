"""Criteria: what a segment asks of a pass, as input and as answered."""

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
from app.graphql.types.ids import given_id, to_global_id
from app.graphql.types.scalars import JSONValue, RawDateTime, RawDecimal


@strawberry.input(one_of=True)
class RollingWindow:
    """A window that moves with time. Exactly one unit."""

    days: int | None = strawberry.field(default=strawberry.UNSET, description="Days of 24 hours.")
    hours: int | None = strawberry.field(default=strawberry.UNSET, description="Hours.")
    minutes: int | None = strawberry.field(default=strawberry.UNSET, description="Minutes.")


@strawberry.input
class FixedWindow:
    """A window that stands still. At least one bound."""

    from_: RawDateTime | None = strawberry.field(default=None, name="from", description="Then or later.")
    to: RawDateTime | None = strawberry.field(default=None, description="Earlier.")


@strawberry.input
class EventCriterion:
    """`metric` over the matching events of the window, compared with `value`."""

    types: list[str] | None = strawberry.field(
        default=None, description="Events of one of these types; any activity at all, if omitted."
    )
    categories: list[EventCategory] | None = strawberry.field(default=None, description="Of one of these categories.")
    sources: list[str] | None = strawberry.field(default=None, description="From one of these sources.")
    metadata: list[MetadataCondition] | None = strawberry.field(
        default=None, description="Whose metadata meets all these conditions."
    )
    metric: EventMetric = strawberry.field(default=EventMetric.COUNT, description="What is measured.")
    field: str | None = strawberry.field(
        default=None, description='What SUM adds up: "amount" (if omitted), "points" or "metadata.<path>".'
    )
    currency: str | None = strawberry.field(
        default=None, description="Only events in this currency; a SUM of amounts takes the workspace's, if omitted."
    )
    operator: ComparisonOperator = strawberry.field(
        default=ComparisonOperator.GTE, description="How it is compared: GTE, GT, EQ, LT or LTE."
    )
    value: RawDecimal = strawberry.field(description="What it is compared with; days for DAYS_SINCE.")
    within: RollingWindow | None = strawberry.field(
        default=None, description="Only events of this rolling window; all time, if omitted."
    )
    between: FixedWindow | None = strawberry.field(default=None, description="Only events between two instants.")
    never: NeverHandling = strawberry.field(
        default=NeverHandling.SINCE_JOINED, description="What 'at least N days since' says of who never did it."
    )


@strawberry.input
class PassCriterion:
    """A field of the pass itself, compared with a value."""

    field: str = strawberry.field(
        description='"fields.<name>", "metadata.<path>", "holder.<name>", "pointsBalance", "tier", "status", '
        '"createdAt", "installedAt", "updatedAt" or "externalId".'
    )
    operator: ComparisonOperator = strawberry.field(default=ComparisonOperator.EQ, description="How it is compared.")
    value: JSONValue | None = strawberry.field(default=None, description="What it is compared with.")


@strawberry.input
class SegmentCriterion:
    """Being in another segment, or not."""

    id: strawberry.ID = strawberry.field(description="The other segment.")
    member: bool = strawberry.field(default=True, description="Whether it is in it, or must not be.")


@strawberry.input(one_of=True)
class CriteriaInput:
    """Who belongs to a segment: a tree. Exactly one field at each level."""

    all: Optional[list[CriteriaInput]] = strawberry.field(  # noqa: UP045  # the class is not there yet for |
        default=strawberry.UNSET, description="All of these hold."
    )
    any: Optional[list[CriteriaInput]] = strawberry.field(  # noqa: UP045
        default=strawberry.UNSET, description="At least one of these holds."
    )
    not_: Optional[CriteriaInput] = strawberry.field(  # noqa: UP045
        default=strawberry.UNSET, name="not", description="This does not hold."
    )
    event: EventCriterion | None = strawberry.field(default=strawberry.UNSET, description="On the pass's events.")
    pass_: PassCriterion | None = strawberry.field(
        default=strawberry.UNSET, name="pass", description="On the pass itself."
    )
    segment: SegmentCriterion | None = strawberry.field(default=strawberry.UNSET, description="On another segment.")


def as_sent(value: Any) -> Any:
    """An input as the mapping that was sent, enums as their names, segments' ids as the database knows them."""
    if isinstance(value, list):
        return [as_sent(item) for item in value]
    definition = get_object_definition(type(value))
    if definition is None:
        return value
    sent: dict[str, Any] = {}
    for field in definition.fields:
        part = getattr(value, field.python_name)
        if part is not strawberry.UNSET and part is not None:
            sent[field.graphql_name or to_camel_case(field.python_name)] = as_sent(part)
    if isinstance(value, SegmentCriterion):
        sent["id"] = given_id(value.id, "Segment")
    return sent


@strawberry.type
class RollingWindowCriteria:
    """A rolling window."""

    days: int | None = strawberry.field(description="Days of 24 hours.")
    hours: int | None = strawberry.field(description="Hours.")
    minutes: int | None = strawberry.field(description="Minutes.")


@strawberry.type
class FixedWindowCriteria:
    """A fixed window."""

    from_: datetime | None = strawberry.field(name="from", description="Then or later.")
    to: datetime | None = strawberry.field(description="Earlier.")


@strawberry.type
class MetadataCriteria:
    """A condition on one value of the metadata."""

    path: str = strawberry.field(description="The dotted path of the value.")
    operator: ComparisonOperator = strawberry.field(description="How the value is compared.")
    value: JSONValue | None = strawberry.field(description="What it is compared with.")


@strawberry.type
class EventCriteria:
    """`metric` over the matching events of the window, compared with `value`."""

    types: list[str] = strawberry.field(description="Events of one of these types; any, if empty.")
    categories: list[EventCategory] = strawberry.field(description="Of one of these categories; any, if empty.")
    sources: list[str] = strawberry.field(description="From one of these sources; any, if empty.")
    metadata: list[MetadataCriteria] = strawberry.field(description="Whose metadata meets all these conditions.")
    metric: EventMetric = strawberry.field(description="What is measured.")
    field: str | None = strawberry.field(description="What SUM adds up.")
    currency: str | None = strawberry.field(description="Only events in this currency.")
    operator: ComparisonOperator = strawberry.field(description="How it is compared.")
    value: Decimal = strawberry.field(description="What it is compared with.")
    within: RollingWindowCriteria | None = strawberry.field(description="Only events of this rolling window.")
    between: FixedWindowCriteria | None = strawberry.field(description="Only events of this fixed window.")
    never: NeverHandling = strawberry.field(description="What 'at least N days since' says of who never did it.")


@strawberry.type
class PassCriteria:
    """A field of the pass itself, compared with a value."""

    field: str = strawberry.field(description="The field.")
    operator: ComparisonOperator = strawberry.field(description="How it is compared.")
    value: JSONValue | None = strawberry.field(description="What it is compared with.")


@strawberry.type
class MemberCriteria:
    """Being in another segment, or not."""

    id: strawberry.ID = strawberry.field(description="The other segment.")
    member: bool = strawberry.field(description="Whether it is in it, or must not be.")


@strawberry.type
class SegmentCriteria:
    """Who belongs to a segment: a tree shaped like CriteriaInput, one field set at each level."""

    all: Optional[list[SegmentCriteria]] = strawberry.field(  # noqa: UP045
        default=None, description="All of these hold."
    )
    any: Optional[list[SegmentCriteria]] = strawberry.field(  # noqa: UP045
        default=None, description="At least one of these holds."
    )
    not_: Optional[SegmentCriteria] = strawberry.field(  # noqa: UP045
        default=None, name="not", description="This does not hold."
    )
    event: EventCriteria | None = strawberry.field(default=None, description="On the pass's events.")
    pass_: PassCriteria | None = strawberry.field(default=None, name="pass", description="On the pass itself.")
    segment: MemberCriteria | None = strawberry.field(default=None, description="On another segment.")


def criteria_of(criteria: Criteria) -> SegmentCriteria:
    """The criteria as they are published."""
    return _node(criteria.to_dict())


def _node(raw: Mapping[str, Any]) -> SegmentCriteria:
    [(kind, body)] = raw.items()
    match kind:
        case "all":
            return SegmentCriteria(all=[_node(child) for child in body])
        case "any":
            return SegmentCriteria(any=[_node(child) for child in body])
        case "not":
            return SegmentCriteria(not_=_node(body))
        case "event":
            return SegmentCriteria(event=_event(body))
        case "pass":
            return SegmentCriteria(
                pass_=PassCriteria(
                    field=body["field"], operator=ComparisonOperator(body["operator"]), value=body["value"]
                )
            )
    member = MemberCriteria(id=strawberry.ID(to_global_id("Segment", body["id"])), member=body["member"])
    return SegmentCriteria(segment=member)


def _event(body: Mapping[str, Any]) -> EventCriteria:
    within, between = body["within"], body["between"]
    return EventCriteria(
        types=body["types"],
        categories=[EventCategory(name) for name in body["categories"]],
        sources=body["sources"],
        metadata=[
            MetadataCriteria(path=c["path"], operator=ComparisonOperator(c["operator"]), value=c["value"])
            for c in body["metadata"]
        ],
        metric=EventMetric(body["metric"]),
        field=body["field"],
        currency=body["currency"],
        operator=ComparisonOperator(body["operator"]),
        value=Decimal(body["value"]),
        within=None
        if within is None
        else RollingWindowCriteria(days=within.get("days"), hours=within.get("hours"), minutes=within.get("minutes")),
        between=None
        if between is None
        else FixedWindowCriteria(from_=_instant(between["from"]), to=_instant(between["to"])),
        never=NeverHandling(body["never"]),
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
