"""Comparisons with an earlier period, as GraphQL types."""

from __future__ import annotations

from decimal import Decimal

import strawberry

from app.domain.insights.comparisons import Change, Comparison, change_between

from .enums import describe_enum

describe_enum(
    Comparison,
    "CompareTo",
    {
        "PREVIOUS_PERIOD": "The time just before: as many months if the period consists of whole months, as many days if it "
        "consists of whole days, and else the same length of time.",
        "SAME_PERIOD_LAST_YEAR": "The same local dates and times one year earlier. For February 29, those of February 28.",
    },
)


@strawberry.type
class ValueChange:
    """Value of an earlier period, and the change since."""

    value: Decimal | None = strawberry.field(description="Value in the earlier period. Null if it has none.")
    change: Decimal | None = strawberry.field(
        description="Present value minus the earlier one. Null if one of them is null."
    )
    change_ratio: Decimal | None = strawberry.field(
        description="Change divided by the size of the earlier value, rounded half-even to 6 decimal places: 0.1 for 10 % "
        "more. Null if the earlier value is 0 or null."
    )


def value_change(before: Decimal | int | None, now: Decimal | int | None) -> ValueChange:
    """Return the GraphQL object of the change from an earlier value."""
    return change_of(change_between(None if before is None else Decimal(before), None if now is None else Decimal(now)))


def change_of(change: Change) -> ValueChange:
    """Return the GraphQL object of a change."""
    return ValueChange(value=change.value, change=change.change, change_ratio=change.ratio)
