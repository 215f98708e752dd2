"""The query retention: new customers by month or week, and how many of them act in each later one."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from app.commands.insights.customer_questions import find_cohorts
from app.domain.insights.retention import CohortUnit
from app.domain.values.instants import from_ms
from app.graphql.context import Info
from app.graphql.types.enums import describe_enum
from app.graphql.types.freshness import Freshness, freshness_of
from app.graphql.types.scalars import RawDateTime

from .spans import CURRENCY, TYPES, CustomerPeriodInput, note_events_read, parse_span, parse_types

describe_enum(
    CohortUnit,
    "CohortUnit",
    {
        "MONTH": "A month in the time zone.",
        "WEEK": "A week in the time zone. Weeks begin on the first day of the week of the workspace.",
    },
)


@strawberry.input
class RetentionInput(CustomerPeriodInput):
    """Cohorts of new customers to follow."""

    cohort: CohortUnit = strawberry.field(
        default=CohortUnit.MONTH, description="Period by which customers form cohorts. Default: `MONTH`."
    )
    types: list[str] | None = strawberry.field(default=None, description=TYPES)
    from_at: RawDateTime | None = strawberry.field(
        name="from",
        default=None,
        description="Customers whose first activity of all time occurred at this instant or later. Default: all.",
    )
    currency: str | None = strawberry.field(default=None, description=CURRENCY)


@strawberry.type
class CohortPeriod:
    """Customers of a cohort in one period."""

    n: int = strawberry.field(description="Number of periods since the first one of the cohort, which is 0.")
    active: int = strawberry.field(description="Number of customers of the cohort with an activity in the period.")
    rate: Decimal | None = strawberry.field(
        description="`active` divided by the size of the cohort, rounded half-even to 6 decimal places. Null for an empty "
        "cohort."
    )
    revenue: Decimal = strawberry.field(
        description="Spend of the cohort in the period: all transactions in the currency, less refunds and credits, "
        "whatever `types` says."
    )


@strawberry.type
class Cohort:
    """Customers whose first activity of all time lies in one month or week."""

    start: datetime = strawberry.field(description="Start of the month or week.")
    size: int = strawberry.field(description="Number of passes of the cohort.")
    periods: list[CohortPeriod] = strawberry.field(
        description="Periods from the first one up to the one that contains the end of the question. The last one may be "
        "unfinished."
    )


@strawberry.type
class Retention:
    """Answer of `retention`."""

    cohorts: list[Cohort] = strawberry.field(
        description="Cohorts by their start, also empty ones: from that of `from`, or the first one with customers, up to "
        "the end of the question. At most 200."
    )
    currency: str = strawberry.field(description="Currency of the revenue.")
    timezone: str = strawberry.field(description="IANA time zone of the periods.")
    freshness: Freshness = strawberry.field(description="How current the answer is.")


async def retention(
    info: Info, input: Annotated[RetentionInput, strawberry.argument(description="Cohorts and time.")]
) -> Retention:
    """Compute how many new customers of each month or week come again in the months or weeks after it.

    Who acted before `from` is no new customer. At most 200,000 events are read; with more, the query fails with advice.
    """
    types = parse_types(input.types)
    asked = await parse_span(info, input)
    currency = asked.currency(input.currency)
    found, freshness = await find_cohorts(info.context.commands, asked.span, input.cohort, types, currency)
    note_events_read(info, "retention")
    return Retention(
        cohorts=[
            Cohort(
                start=from_ms(each.start_ms),
                size=each.size,
                periods=[CohortPeriod(n=p.n, active=p.active, rate=p.rate, revenue=p.revenue) for p in each.periods],
            )
            for each in found
        ],
        currency=currency,
        timezone=asked.span.zone.key,
        freshness=freshness_of(freshness),
    )
