"""The query returnRate: how often customers come again."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import strawberry

from app.commands.insights.customer_questions import find_return_rate
from app.domain.insights.returns import parse_within_days
from app.graphql.context import Info
from app.graphql.types.freshness import Freshness, freshness_of

from .spans import TYPES, CustomerPeriodInput, note_events_read, parse_span, parse_types


@strawberry.input
class ReturnRateInput(CustomerPeriodInput):
    """Customers to look at, and the days within which they may come again."""

    types: list[str] | None = strawberry.field(default=None, description=TYPES)
    within_days: list[int] | None = strawberry.field(
        default=None,
        description="Numbers of local days after the first active day, 1 to 3,660; at most 10. Default: 7, 30, 60 and 90.",
    )


@strawberry.type
class ReturnedCustomers:
    """Customers who came again within some days after their first active day of the period."""

    days: int = strawberry.field(description="Number of local days after the first active day.")
    customers: int = strawberry.field(
        description="Number of customers whose days are over. The others may still come again, so they do not count."
    )
    returned: int = strawberry.field(
        description="Number of these customers who acted again within the days, also after the period."
    )
    rate: Decimal | None = strawberry.field(
        description="`returned` divided by `customers`, rounded half-even to 6 decimal places. Null without customers."
    )


@strawberry.type
class DaysBetween:
    """Number of times that so many days lay between an active day and the customer's next one."""

    days: int = strawberry.field(description="Local days from one active day to the next, at least 1.")
    count: int = strawberry.field(description="Number of such pairs of active days.")


@strawberry.type
class ReturnRate:
    """Answer of `returnRate`."""

    customers: int = strawberry.field(description="Number of passes with an active day in the period.")
    returned: list[ReturnedCustomers] = strawberry.field(
        description="Customers who came again, for each number of days, ascending."
    )
    median_days_between: Decimal | None = strawberry.field(
        description="Median number of days from an active day to the customer's next one, both in the period. Null "
        "without such days."
    )
    distribution: list[DaysBetween] = strawberry.field(
        description="Number of pairs of active days by the days between them, ascending. Both lie in the period."
    )
    freshness: Freshness = strawberry.field(description="How current the answer is.")


async def return_rate(
    info: Info, input: Annotated[ReturnRateInput, strawberry.argument(description="Customers and days.")]
) -> ReturnRate:
    """Compute how many customers come again, and how many days lie between.

    An active day is a local day with an activity of the customer: two purchases on one day are one active day. At most
    200,000 events are read; with more, the query fails with advice.
    """
    within_days = parse_within_days(input.within_days, "input", "withinDays")
    types = parse_types(input.types)
    asked = await parse_span(info, input)
    found, freshness = await find_return_rate(info.context.commands, asked.span, types, within_days)
    note_events_read(info, "returnRate")
    return ReturnRate(
        customers=found.customers,
        returned=[
            ReturnedCustomers(days=each.days, customers=each.customers, returned=each.returned, rate=each.rate)
            for each in found.returned
        ],
        median_days_between=found.median_days,
        distribution=[DaysBetween(days=days, count=count) for days, count in found.distribution],
        freshness=freshness_of(freshness),
    )
