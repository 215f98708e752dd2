"""Criteria on the pass itself: the input types, and the types that return them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import strawberry

from app.domain.segments.moments import MAX_DAYS_OF_MONTHLY, MAX_DAYS_OF_YEARLY, MAX_MOMENTS, MAX_NTH
from app.domain.values.periods import PeriodUnit
from app.graphql.types.enums import ComparisonOperator
from app.graphql.types.scalars import JSONValue


@strawberry.input
class Anniversary:
    """Anniversary of a date of the pass, in the time zone of the definition.

    The day itself is none. 29 February is 28 February in other years, and the 31st the last day of shorter months.
    """

    field: str = strawberry.field(
        description='Date: "createdAt", "installedAt" or "fields.<path>". A text is a date, an instant, or `--MM-DD` for a '
        f"date of every year. Of a list, the first {MAX_MOMENTS} values count."
    )
    unit: PeriodUnit = strawberry.field(description="`YEAR` for birthdays, `MONTH` for monthly anniversaries.")
    nth: int | None = strawberry.field(
        default=None, description=f"Number of the anniversary, 1 to {MAX_NTH:,}. Default: every one, from the first."
    )
    for_days: int = strawberry.field(
        default=1,
        description=f"Local days that it lasts, from midnight: 1 to {MAX_DAYS_OF_YEARLY}, or to "
        f"{MAX_DAYS_OF_MONTHLY} for months. Default: 1.",
    )


@strawberry.input
class PassCriterion:
    """Comparison of a value of the pass itself with `value`, or an anniversary. Give `field` or `anniversary`."""

    field: str | None = strawberry.field(
        default=None,
        description='Value of the pass: "fields.<path>", "metadata.<path>", "holder.<name>", "consent.<key>", '
        '"pointsBalance", "tier", "status", "kind", "createdAt", "installedAt", "updatedAt" or "externalId". Paths are '
        "read as in `MetadataCondition`. A consent is true if it is given, and false if it was taken back.",
    )
    anniversary: Anniversary | None = strawberry.field(
        default=None, description="Anniversary of a date. Leave `field`, `operator` and `value` out."
    )
    operator: ComparisonOperator = strawberry.field(
        default=ComparisonOperator.EQ, description="Comparison with `value`. Default: `EQ`."
    )
    value: JSONValue | None = strawberry.field(
        default=None,
        description="Value to compare with: a text, a number or a boolean; for instants, RFC 3339 text. It is of the "
        "kind that the field has. A list of 1 to 100 of these for `IN` and `NOT_IN`, and `{days: N}` for "
        f"`WITHIN_LAST`, `BEFORE` and `AFTER`, which look at the first {MAX_MOMENTS} values of a list. Ignored by "
        "`EXISTS` and `NOT_EXISTS`.",
    )


@strawberry.type
class AnniversaryCriteria:
    """Anniversary of a date of the pass."""

    field: str = strawberry.field(description="Date that the anniversary is of.")
    unit: PeriodUnit = strawberry.field(description="`YEAR` or `MONTH`.")
    nth: int | None = strawberry.field(description="Number of the anniversary. Null for every one, from the first.")
    for_days: int = strawberry.field(description="Local days that it lasts, from midnight.")


@strawberry.type
class PassCriteria:
    """Comparison of a value of the pass itself with `value`, or an anniversary."""

    field: str = strawberry.field(description='Value of the pass, for example "pointsBalance" or "fields.<name>".')
    operator: ComparisonOperator = strawberry.field(description="Comparison with `value`. `EQ` for an anniversary.")
    value: JSONValue | None = strawberry.field(
        description="Value to compare with. Null for `EXISTS`, `NOT_EXISTS` and an anniversary."
    )
    anniversary: AnniversaryCriteria | None = strawberry.field(
        default=None, description="Anniversary of the date in `field`. Null for other criteria."
    )


def pass_criteria_of(body: Mapping[str, Any]) -> PassCriteria:
    """Return the GraphQL object of a criterion on the pass as criteria are stored."""
    if "anniversary" in body:
        anniversary = _anniversary(body["anniversary"])
        operator = ComparisonOperator.EQ
        return PassCriteria(field=anniversary.field, operator=operator, value=None, anniversary=anniversary)
    return PassCriteria(field=body["field"], operator=ComparisonOperator(body["operator"]), value=body["value"])


def _anniversary(raw: Mapping[str, Any]) -> AnniversaryCriteria:
    return AnniversaryCriteria(
        field=raw["field"], unit=PeriodUnit(raw["unit"]), nth=raw["nth"], for_days=raw["forDays"]
    )
