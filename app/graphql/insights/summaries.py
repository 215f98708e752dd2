"""The query eventSummary: what happened in a period, over all customers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Annotated

import strawberry

from app.commands.insights.customers import count_active
from app.commands.insights.reading import read_rows
from app.commands.insights.sealed_customers import ActivePasses
from app.domain.insights.comparisons import Comparison, earlier_period
from app.domain.insights.periods import Asked, split_period
from app.domain.insights.summaries import MAX_SERIES_POINTS, Summary, summarize, summarize_each
from app.domain.rollups.rows import CountedRow
from app.domain.rollups.selections import Cells, Selection
from app.domain.state.spend import SpendRow
from app.domain.values.instants import from_ms
from app.domain.values.periods import PeriodUnit
from app.graphql.context import Info
from app.graphql.types.comparisons import ValueChange, value_change
from app.graphql.types.freshness import Freshness, LaterFreshness, freshness_of, mark_customers
from app.graphql.types.selections import check_arguments, is_resolved_at_once, is_selected
from app.store.mongo.usage import charge_rows

from .periods import ConsistentPeriodInput, may_leave_out, parse_period


@strawberry.input
class EventSummaryInput(ConsistentPeriodInput):
    """Period of a summary. Give a `month`, a `period`, or `from` and `to`."""

    compare_to: Comparison | None = strawberry.field(
        default=None, description="Earlier period to compare with, in `comparison`. Default: none."
    )


@strawberry.type
class Revenue:
    """Money that all customers spent in one currency, as `Pass.statistics` counts it for one customer."""

    currency: str = strawberry.field(description="Currency: a code of ISO 4217.")
    gross: Decimal = strawberry.field(
        description="Sum of the amounts of all transactions except `refund` and `credit`. A checkout has its last total."
    )
    refunded: Decimal = strawberry.field(description="Sum of the amounts of `refund` and `credit`.")
    net: Decimal = strawberry.field(description="`gross` minus `refunded`.")
    orders: int = strawberry.field(
        description="Number of purchases and checkouts, less rejects of checkouts. Purchases that rules made do not count."
    )
    average: Decimal | None = strawberry.field(
        description="`net` divided by `orders`, rounded half-even to 6 decimal places. Null without orders."
    )


@strawberry.type
class TypeCount:
    """Number of events of one type."""

    type: str = strawberry.field(description="Type of the events.")
    count: int = strawberry.field(description="Number of events.")


@strawberry.type
class EventSummaryPoint:
    """Summary of one part of the period."""

    at: datetime = strawberry.field(description="Start of the part, inclusive.")
    to_at: datetime = strawberry.field(name="to", description="End of the part, exclusive.")
    total_events: int = strawberry.field(description="Number of events.")
    purchases: int = strawberry.field(description="Number of purchases and checkouts, less rejects of checkouts.")
    visits: int = strawberry.field(description="Number of events of the types `visit` and `check_in`.")
    redemptions: int = strawberry.field(description="Number of redemptions, less those that were rolled back.")
    revenue: list[Revenue] = strawberry.field(description="Revenue by currency, sorted by currency.")


@strawberry.type
class RevenueChange:
    """Change of the revenue in one currency."""

    currency: str = strawberry.field(description="Currency: a code of ISO 4217.")
    net: ValueChange = strawberry.field(description="Change of the net revenue.")
    orders: ValueChange = strawberry.field(description="Change of the number of orders.")
    average: ValueChange = strawberry.field(description="Change of the net revenue for each order.")


@strawberry.type
class EventSummaryComparison:
    """Comparison of a period with an earlier one."""

    from_at: datetime = strawberry.field(name="from", description="Start of the earlier period, inclusive.")
    to_at: datetime = strawberry.field(name="to", description="End of the earlier period, exclusive.")
    later: strawberry.Private[LaterFreshness]
    earlier: strawberry.Private[Summary]
    present: strawberry.Private[Summary]
    earlier_asked: strawberry.Private[Asked]
    present_asked: strawberry.Private[Asked]

    @strawberry.field
    async def freshness(self, info: Info) -> Freshness:
        """How current the values of the earlier period are."""
        return await self.later.read(info)

    @strawberry.field
    def total_events(self) -> ValueChange:
        """Change of the number of events."""
        return value_change(self.earlier.total_events, self.present.total_events)

    @strawberry.field
    def purchases(self) -> ValueChange:
        """Change of the number of purchases."""
        return value_change(self.earlier.purchases, self.present.purchases)

    @strawberry.field
    def visits(self) -> ValueChange:
        """Change of the number of visits."""
        return value_change(self.earlier.visits, self.present.visits)

    @strawberry.field
    def redemptions(self) -> ValueChange:
        """Change of the number of redemptions."""
        return value_change(self.earlier.redemptions, self.present.redemptions)

    @strawberry.field
    def revenue(self) -> list[RevenueChange]:
        """Changes of the revenue by currency, sorted by currency. A period without the currency counts as 0."""
        before = {row.currency: row for row in self.earlier.revenue}
        now = {row.currency: row for row in self.present.revenue}
        return [
            _revenue_change(before.get(currency, SpendRow(currency)), now.get(currency, SpendRow(currency)))
            for currency in sorted({*before, *now})
        ]

    @strawberry.field
    async def active_passes(self, info: Info) -> ValueChange:
        """Change of the number of passes with an event."""
        before, now = await _count_active(info, self.earlier_asked), await _count_active(info, self.present_asked)
        return value_change(before.active, now.active)


@strawberry.type
class EventSummary:
    """Summary of a period over all customers.

    Events that rules and checkouts made are no activity of a customer: they count in the revenue only. Declined and removed
    events do not count.
    """

    from_at: datetime = strawberry.field(name="from", description="Start of the period, inclusive.")
    to_at: datetime = strawberry.field(name="to", description="End of the period, exclusive.")
    timezone: str = strawberry.field(description="IANA time zone of months and days.")
    later: strawberry.Private[LaterFreshness]
    asked: strawberry.Private[Asked]
    compared: strawberry.Private[Comparison | None]
    strong: strawberry.Private[bool]
    summary: strawberry.Private[Summary]
    rows: strawberry.Private[Sequence[CountedRow]]

    @strawberry.field
    async def freshness(self, info: Info) -> Freshness:
        """How current the answer is."""
        return await self.later.read(info)

    @strawberry.field
    def total_events(self) -> int:
        """Number of events."""
        return self.summary.total_events

    @strawberry.field
    def purchases(self) -> int:
        """Number of purchases and checkouts, less rejects of checkouts."""
        return self.summary.purchases

    @strawberry.field
    def visits(self) -> int:
        """Number of events of the types `visit` and `check_in`."""
        return self.summary.visits

    @strawberry.field
    def redemptions(self) -> int:
        """Number of redemptions, less those that were rolled back."""
        return self.summary.redemptions

    @strawberry.field
    def revenue(self) -> list[Revenue]:
        """Revenue by currency, sorted by currency."""
        return _revenue_of(self.summary)

    @strawberry.field
    def by_type(self) -> list[TypeCount]:
        """Number of events by type, sorted by type."""
        return [TypeCount(type=kind, count=count) for kind, count in self.summary.by_type.items()]

    @strawberry.field
    async def active_passes(self, info: Info) -> int:
        """Number of passes with an event in the period.

        Whole months are read from sums of passes, all else from events. If more than 200,000 events would be read, the
        field fails with `LIMIT` and advice. So do `newPasses` and `returningPasses`.
        """
        return (await _count_active(info, self.asked)).active

    @strawberry.field
    async def new_passes(self, info: Info) -> int:
        """Number of passes whose first event lies in the period."""
        return (await _count_active(info, self.asked)).new

    @strawberry.field
    async def returning_passes(self, info: Info) -> int:
        """Number of passes with an event in the period and one before it."""
        return (await _count_active(info, self.asked)).returning

    @strawberry.field
    async def series(
        self, unit: Annotated[PeriodUnit, strawberry.argument(description="Length of a part.")] = PeriodUnit.DAY
    ) -> list[EventSummaryPoint]:
        """Summaries of the parts of the period, in order of time: at most 400 days, weeks, months, quarters or years.

        Parts without events are included. The first and the last part end with the period.
        """
        periods = _split_series(self.asked, unit)
        await charge_rows(len(self.rows))
        parts = await asyncio.to_thread(summarize_each, self.rows, periods)
        return [
            EventSummaryPoint(
                at=from_ms(start),
                to_at=from_ms(end),
                total_events=each.total_events,
                purchases=each.purchases,
                visits=each.visits,
                redemptions=each.redemptions,
                revenue=_revenue_of(each),
            )
            for (start, end), each in zip(periods, parts, strict=True)
        ]

    @strawberry.field
    async def comparison(self, info: Info) -> EventSummaryComparison | None:
        """Comparison with the period that `compareTo` names. Null without `compareTo`."""
        if self.compared is None:
            return None
        earlier = earlier_period(self.asked, self.compared)
        selection = Selection(earlier.from_ms, earlier.to_ms)
        counts = [partial(_count_active, asked=each) for each in (earlier, self.asked)]
        marks = await mark_customers(info, are_read=is_resolved_at_once(info, "activePasses"))
        reading = await read_rows(info.context.commands, selection, earlier.zone, strong=self.strong)
        return EventSummaryComparison(
            from_at=from_ms(earlier.from_ms),
            to_at=from_ms(earlier.to_ms),
            later=LaterFreshness(marks, freshness_of(reading.freshness), counts),
            earlier=await asyncio.to_thread(summarize, reading.rows),
            present=self.summary,
            earlier_asked=earlier,
            present_asked=self.asked,
        )


def _split_series(asked: Asked, unit: PeriodUnit) -> list[tuple[int, int]]:
    return split_period(asked, unit, MAX_SERIES_POINTS, "unit")


def _revenue_of(summary: Summary) -> list[Revenue]:
    return [
        Revenue(
            currency=row.currency,
            gross=row.gross,
            refunded=row.refunded,
            net=row.net,
            orders=row.orders,
            average=row.average,
        )
        for row in summary.revenue
    ]


def _revenue_change(before: SpendRow, now: SpendRow) -> RevenueChange:
    return RevenueChange(
        currency=now.currency,
        net=value_change(before.net, now.net),
        orders=value_change(before.orders, now.orders),
        average=value_change(before.average, now.average),
    )


async def _count_active(info: Info, asked: Asked) -> ActivePasses:
    async def read() -> ActivePasses:
        return await count_active(info.context.commands, from_ms(asked.from_ms), from_ms(asked.to_ms))

    return await info.context.read_once(info, ("active passes", asked.from_ms, asked.to_ms), read)


async def event_summary(
    info: Info, input: Annotated[EventSummaryInput, strawberry.argument(description="Period of the summary.")]
) -> EventSummary:
    """Summarize the events of a period over all customers. Needs the scope `read`."""
    asked = await parse_period(info, input)
    check_arguments(info, "series", partial(_split_series, asked))
    strong = not await may_leave_out(info, input)
    # The days are read only if a series needs them.
    cells = Cells.DAY if is_selected(info, "series") else Cells.TOTAL
    selection = Selection(asked.from_ms, asked.to_ms, cells=cells)
    are_counted = is_resolved_at_once(info, "activePasses", "newPasses", "returningPasses")
    marks = await mark_customers(info, are_read=are_counted)
    # Without `freshness`, the answer does not show what waits before the period.
    finds_new = is_selected(info, "freshness") and is_resolved_at_once(info, "newPasses", "returningPasses")
    reading = await read_rows(info.context.commands, selection, asked.zone, strong=strong, finds_new=finds_new)
    return EventSummary(
        from_at=from_ms(asked.from_ms),
        to_at=from_ms(asked.to_ms),
        timezone=asked.zone.key,
        later=LaterFreshness(marks, freshness_of(reading.freshness), [partial(_count_active, asked=asked)]),
        asked=asked,
        compared=input.compare_to,
        strong=strong,
        summary=await asyncio.to_thread(summarize, reading.rows),
        rows=reading.rows,
    )
