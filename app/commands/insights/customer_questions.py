"""Questions about all customers that are answered from events: each reads the events of its time once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from zoneinfo import ZoneInfo

from app.commands.context import Context
from app.domain.events.event_queries import EventQuery
from app.domain.insights.customer_values import Cell, CustomerValues, Thresholds
from app.domain.insights.funnels import Funnel, FunnelStep
from app.domain.insights.moments import MAX_MOMENTS, Moment
from app.domain.insights.retention import Cohort, Cohorts, CohortUnit
from app.domain.insights.returns import ActiveDays, ReturnRate
from app.domain.rollups.selections import Freshness
from app.domain.values.instants import DAY_MS, EARLIEST, LATEST, from_ms, to_ms
from app.store.workspace.waiting import Waiting

from .freshness import end_look, find_waiting_before, look_at_customers


@dataclass(frozen=True, slots=True)
class QuestionTime:
    """Time that a question covers, [from_ms, to_ms), in a time zone, asked at `now_ms`. None is no lower bound."""

    from_ms: int | None
    to_ms: int
    zone: ZoneInfo
    now_ms: int

    def query(self, types: Sequence[str] = (), *, more_days: int = 0) -> EventQuery:
        """Return the query for the events of the span, and of so many days of 24 hours after it."""
        end_ms = min(to_ms(LATEST), self.to_ms + more_days * DAY_MS)
        start = None if self.from_ms is None else from_ms(self.from_ms)
        return EventQuery(types=types, occurred_after=start, occurred_before=from_ms(end_ms))

    @property
    def start_ms(self) -> int:
        """The lower bound, or the earliest instant."""
        return to_ms(EARLIEST) if self.from_ms is None else self.from_ms


async def find_return_rate(
    ctx: Context, span: QuestionTime, types: Sequence[str], within_days: Sequence[int]
) -> tuple[ReturnRate, Freshness]:
    """Return how many customers came again. Raises InvalidInput (LIMIT) beyond 200,000 events. Safe to repeat."""
    active_days = ActiveDays(types, span.zone, from_ms=span.start_ms, to_ms=span.to_ms)
    # A local day may have 25 hours, so the last day within reach ends later.
    query = span.query(types, more_days=max(within_days) + 2)
    look = await look_at_customers(ctx, to_ms(query.occurred_before or LATEST))
    read = await ctx.workspace.moments.read_moments(query, active_days.add, MAX_MOMENTS)
    answer = await asyncio.to_thread(active_days.answer, within_days, span.now_ms)
    return answer, await end_look(ctx, look, read.waiting)


async def find_cohorts(
    ctx: Context, span: QuestionTime, unit: CohortUnit, types: Sequence[str], currency: str
) -> tuple[tuple[Cohort, ...], Freshness]:
    """Return the cohorts of new customers. Raises InvalidInput (LIMIT) beyond 200,000 events or 200 periods.

    Who acted before the span is no new customer: the store looks for earlier events of the customers. Safe to repeat.
    """
    profile = await ctx.profile()
    cohorts = Cohorts(unit, types, currency, zone=span.zone, week_start=profile.week_start)
    if span.from_ms is not None:
        # Before any event is read: a span that is too long would cost up to 200,000 events, and be refused after them.
        cohorts.periods(span.from_ms, span.to_ms, "input", "from")
    look = await look_at_customers(ctx, span.to_ms)
    earlier = Waiting() if span.from_ms is None else await find_waiting_before(ctx, span.from_ms, types)
    read = await ctx.workspace.moments.read_moments(span.query(types), cohorts.add, MAX_MOMENTS, spend_in=currency)
    not_new: set[str] = set()
    if span.from_ms is not None:
        not_new = await ctx.workspace.moments.acted_before(cohorts.active, types, from_ms(span.from_ms))
    answer = partial(cohorts.answer, span.from_ms, span.to_ms, "input", "from", not_new=not_new)
    return await asyncio.to_thread(answer), await end_look(ctx, look, earlier | read.waiting)


async def find_customer_values(
    ctx: Context, span: QuestionTime, types: Sequence[str], currency: str, quantiles: int
) -> tuple[Thresholds, tuple[Cell, ...], Freshness]:
    """Return the cells of recency, frequency and monetary value, of events of `types`.

    Raises InvalidInput (LIMIT) beyond 200,000 events. Safe to repeat.
    """
    values = CustomerValues(types, currency)
    look = await look_at_customers(ctx, span.to_ms)
    read = await ctx.workspace.moments.read_moments(span.query(types), values.add, MAX_MOMENTS, spend_in=currency)
    thresholds, cells = await asyncio.to_thread(values.answer, quantiles)
    return thresholds, cells, await end_look(ctx, look, read.waiting)


async def find_funnel(
    ctx: Context, span: QuestionTime, steps: Sequence[EventQuery | None], within_days: int
) -> tuple[tuple[FunnelStep, ...], Freshness]:
    """Return how many customers took each step. A step that is None matches no event.

    Raises InvalidInput (LIMIT) if more than 200,000 events match all steps together. Safe to repeat.
    """
    funnel = Funnel(len(steps), within_days * DAY_MS, from_ms=span.start_ms, to_ms=span.to_ms)

    def take(step: int, types: Sequence[str], moments: Sequence[Moment]) -> None:
        funnel.add(step, (moment for moment in moments if moment.is_activity(types)))

    # An event exactly so many days after a start is in time, and the bound of the query is exclusive.
    first, later = span.query(), span.query(more_days=within_days + 1)
    look = await look_at_customers(ctx, to_ms(later.occurred_before or LATEST))
    count, waiting = 0, Waiting()
    for number, step in enumerate(steps):
        if step is None:
            continue
        query = _within(step, later if number else first)
        taken = partial(take, number, step.types)
        read = await ctx.workspace.moments.read_moments(query, taken, MAX_MOMENTS - count)
        count, waiting = count + read.number, waiting | read.waiting
    return await asyncio.to_thread(funnel.answer), await end_look(ctx, look, waiting)


def _within(step: EventQuery, time: EventQuery) -> EventQuery:
    """Return the query of a step, limited to the time of another query."""
    after = [each for each in (step.occurred_after, time.occurred_after) if each is not None]
    before = [each for each in (step.occurred_before, time.occurred_before) if each is not None]
    return replace(step, occurred_after=max(after, default=None), occurred_before=min(before, default=None))
