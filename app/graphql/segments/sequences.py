"""Sequences of events in criteria: the input types, and the types that return them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import strawberry

from app.graphql.types.enums import ComparisonOperator, EventCategory
from app.graphql.types.filters import MetadataCondition
from app.graphql.types.scalars import JSONValue

from .windows import RollingWindow, RollingWindowCriteria, rolling_window


@strawberry.input
class SequenceEvent:
    """Filter of the events that take one step of a sequence. Lists have at most 50 items."""

    types: list[str] | None = strawberry.field(default=None, description="Event types to match. Default: every type.")
    categories: list[EventCategory] | None = strawberry.field(
        default=None, description="Event categories to match. Default: all."
    )
    sources: list[str] | None = strawberry.field(default=None, description="Sources to match. Default: all.")
    metadata: list[MetadataCondition] | None = strawberry.field(
        default=None, description="Conditions on the metadata, all of which an event must satisfy."
    )
    currency: str | None = strawberry.field(
        default=None, description="Currency of the events to match: a code of ISO 4217. Default: any."
    )


@strawberry.input
class SequenceStep:
    """Step of a sequence: an event that occurred after the event of the step before."""

    event: SequenceEvent = strawberry.field(description="Events that take the step.")
    within_days: int | None = strawberry.field(
        default=None,
        description="Longest time since the event of the step before, in days of 24 hours: 1 to 3,660. Default: any time. "
        "Not allowed for the first step.",
    )


@strawberry.input
class SequenceCriterion:
    """Steps that a customer took one after the other, each by a later event."""

    steps: list[SequenceStep] = strawberry.field(description="Steps in their order, 2 to 5.")
    within: RollingWindow | None = strawberry.field(
        default=None,
        description="Rolling window that the event of the last step must lie in. Default: all time.",
    )


@strawberry.type
class MetadataCriteria:
    """Condition on one value in the metadata of an event."""

    path: str = strawberry.field(description="Path of the value: keys joined by dots.")
    operator: ComparisonOperator = strawberry.field(description="How the value is compared.")
    value: JSONValue | None = strawberry.field(description="Value to compare with. Null for `EXISTS` and `NOT_EXISTS`.")


@strawberry.type
class SequenceEventCriteria:
    """Filter of the events that take one step of a sequence."""

    types: list[str] = strawberry.field(description="Event types to match. Empty means every type.")
    categories: list[EventCategory] = strawberry.field(description="Event categories to match. Empty means all.")
    sources: list[str] = strawberry.field(description="Sources to match. Empty means all.")
    metadata: list[MetadataCriteria] = strawberry.field(
        description="Conditions on the metadata, all of which an event must satisfy."
    )
    currency: str | None = strawberry.field(description="Currency of the events to match. Null means any.")


@strawberry.type
class SequenceStepCriteria:
    """Step of a sequence: an event that occurred after the event of the step before."""

    event: SequenceEventCriteria = strawberry.field(description="Events that take the step.")
    within_days: int | None = strawberry.field(
        description="Longest time since the event of the step before, in days of 24 hours. Null means any time."
    )


@strawberry.type
class SequenceCriteria:
    """Steps that a customer took one after the other, each by a later event."""

    steps: list[SequenceStepCriteria] = strawberry.field(description="Steps in their order.")
    within: RollingWindowCriteria | None = strawberry.field(
        description="Rolling window that the event of the last step must lie in. Null means all time."
    )


def metadata_criteria(conditions: list[Mapping[str, Any]]) -> list[MetadataCriteria]:
    """Return the GraphQL objects of conditions on metadata."""
    return [
        MetadataCriteria(path=each["path"], operator=ComparisonOperator(each["operator"]), value=each["value"])
        for each in conditions
    ]


def sequence_criteria(body: Mapping[str, Any]) -> SequenceCriteria:
    """Return the GraphQL object of a sequence."""
    steps = [
        SequenceStepCriteria(
            event=SequenceEventCriteria(
                types=step["event"]["types"],
                categories=[EventCategory(name) for name in step["event"]["categories"]],
                sources=step["event"]["sources"],
                metadata=metadata_criteria(step["event"]["metadata"]),
                currency=step["event"]["currency"],
            ),
            within_days=step["withinDays"],
        )
        for step in body["steps"]
    ]
    return SequenceCriteria(steps=steps, within=None if body["within"] is None else rolling_window(body["within"]))
