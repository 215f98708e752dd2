"""The query recencyFrequencyMonetary: customers by how lately, how often and for how much they buy."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from app.commands.insights.customer_questions import find_customer_values
from app.domain.insights import customer_values as domain
from app.domain.insights.customer_values import ORDER_TYPES, check_quantiles, criteria_of, input_of
from app.domain.values.instants import from_ms
from app.graphql.context import Info
from app.graphql.types.freshness import Freshness, freshness_of
from app.graphql.types.scalars import JSON

from .spans import CURRENCY, CustomerPeriodInput, note_events_read, parse_span, parse_types


@strawberry.input
class RecencyFrequencyMonetaryInput(CustomerPeriodInput):
    """Customers to divide into cells."""

    types: list[str] | None = strawberry.field(
        default=None,
        description="Event types that count in recency and frequency, at most 50. Default: `purchase` and `checkout`.",
    )
    quantiles: int = strawberry.field(
        default=5, description="Number of scores for each of the three values, 2 to 10. Default: 5."
    )
    currency: str | None = strawberry.field(default=None, description=CURRENCY)


@strawberry.type
class CustomerCell:
    """Customers with equal scores. The highest scores have the latest, most frequent and most valuable customers."""

    recency: int = strawberry.field(description="Score of the last event, from 1 to `quantiles`.")
    frequency: int = strawberry.field(description="Score of the number of events, from 1 to `quantiles`.")
    monetary: int = strawberry.field(description="Score of the spend, from 1 to `quantiles`.")
    passes: int = strawberry.field(description="Number of passes in the cell.")
    revenue: Decimal = strawberry.field(description="Spend of these passes in the period.")
    criteria: JSON = strawberry.field(
        description="Criteria that select exactly the passes of the cell. Send them as the variable `criteria` of "
        "`createSegment`."
    )


@strawberry.type
class CustomerThresholds:
    """Greatest value of each score but the highest, ascending. Empty without customers.

    A threshold is the least value that so many quantiles of the customers do not exceed. Customers with equal values have
    equal scores.
    """

    recency: list[datetime] = strawberry.field(description="Instants of the last event.")
    frequency: list[int] = strawberry.field(description="Numbers of events.")
    monetary: list[Decimal] = strawberry.field(description="Amounts of spend.")


@strawberry.type
class RecencyFrequencyMonetary:
    """Answer of `recencyFrequencyMonetary`."""

    cells: list[CustomerCell] = strawberry.field(
        description="Cells that have customers, the highest scores first. At most 1,000."
    )
    thresholds: CustomerThresholds = strawberry.field(description="Values that separate the scores.")
    currency: str = strawberry.field(description="Currency of the revenue.")
    freshness: Freshness = strawberry.field(description="How current the answer is.")


async def recency_frequency_monetary(
    info: Info, input: Annotated[RecencyFrequencyMonetaryInput, strawberry.argument(description="Time and quantiles.")]
) -> RecencyFrequencyMonetary:
    """Divide customers into cells by recency, frequency and monetary value (RFM).

    Every pass with an event of the types in the period is in one cell. At most 200,000 events are read; with more, the
    query fails with advice.
    """
    check_quantiles(input.quantiles, "input", "quantiles")
    types = parse_types(input.types) or list(ORDER_TYPES)
    asked = await parse_span(info, input)
    currency, span = asked.currency(input.currency), asked.span
    thresholds, cells, freshness = await find_customer_values(
        info.context.commands, span, types, currency, input.quantiles
    )
    note_events_read(info, "recencyFrequencyMonetary")

    def cell_of(cell: domain.Cell) -> CustomerCell:
        criteria = criteria_of(cell.scores, thresholds, types, currency, span_ms=(span.from_ms, span.to_ms))
        return CustomerCell(
            recency=cell.scores.recency,
            frequency=cell.scores.frequency,
            monetary=cell.scores.monetary,
            passes=cell.passes,
            revenue=cell.revenue,
            criteria=JSON(input_of(criteria)),
        )

    return RecencyFrequencyMonetary(
        cells=[cell_of(each) for each in cells],
        thresholds=CustomerThresholds(
            recency=[from_ms(each) for each in thresholds.recency],
            frequency=list(thresholds.frequency),
            monetary=list(thresholds.monetary),
        ),
        currency=currency,
        freshness=freshness_of(freshness),
    )
