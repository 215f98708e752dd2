"""The query funnel: how many customers take each of several steps."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Annotated

import strawberry

from app.commands.insights.customer_questions import find_funnel
from app.domain.errors import Code, InvalidInput, Refused
from app.domain.events.event_queries import EventQuery
from app.domain.insights.funnels import MAX_FUNNEL_STEPS, MIN_FUNNEL_STEPS
from app.domain.insights.returns import check_within_days
from app.graphql.context import Info
from app.graphql.types.filters import EventFilter, parse_event_filter
from app.graphql.types.freshness import Freshness, freshness_of

from .spans import CustomerPeriodInput, note_events_read, parse_span


@strawberry.input
class FunnelInput(CustomerPeriodInput):
    """Steps that customers take one after the other. First steps lie in the period, the other ones may lie after it."""

    steps: list[EventFilter] = strawberry.field(
        description="Events of each step, in the order of the steps: 2 to 10 steps. Events that rules made take a step only "
        "if it names their type."
    )
    within_days: int = strawberry.field(
        default=30,
        description="Longest time from the first step to each other one, in days of 24 hours: 1 to 3,660. Default: 30.",
    )


@strawberry.type
class FunnelStep:
    """Customers who took a step, and all steps before it."""

    passes: int = strawberry.field(description="Number of passes.")
    rate: Decimal | None = strawberry.field(
        description="Share of the passes that took the first step, rounded half-even to 6 decimal places. Null without any."
    )
    median_seconds: Decimal | None = strawberry.field(
        description="Median time since the step before. Null for the first step, and without passes."
    )


@strawberry.type
class FunnelResult:
    """Answer of `funnel`."""

    steps: list[FunnelStep] = strawberry.field(description="Steps in the order of the input.")
    freshness: Freshness = strawberry.field(description="How current the answer is.")


async def funnel(
    info: Info, input: Annotated[FunnelInput, strawberry.argument(description="Steps and time.")]
) -> FunnelResult:
    """Compute how many customers take each of several steps, one after the other.

    From a first step, each further one is taken by the next later event that matches it. A customer counts with the first
    step that leads to the most steps, and with the earliest of these. At most 200,000 events of all steps are read; with
    more, the query fails with advice.
    """
    if not MIN_FUNNEL_STEPS <= len(input.steps) <= MAX_FUNNEL_STEPS:
        message = f"Give {MIN_FUNNEL_STEPS} to {MAX_FUNNEL_STEPS} steps."
        raise InvalidInput(Code.OUT_OF_RANGE, message, "input", "steps")
    check_within_days(input.within_days, "input", "withinDays")
    steps = [await _parse_step(info, step, str(number)) for number, step in enumerate(input.steps)]
    asked = await parse_span(info, input)
    found, freshness = await find_funnel(info.context.commands, asked.span, steps, input.within_days)
    note_events_read(info, "funnel")
    return FunnelResult(
        steps=[FunnelStep(passes=each.passes, rate=each.rate, median_seconds=each.median_seconds) for each in found],
        freshness=freshness_of(freshness),
    )


async def _parse_step(info: Info, step: EventFilter, number: str) -> EventQuery | None:
    try:
        return await parse_event_filter(info, step)
    except Refused as error:
        # The filter names its values by "filter", as it is called in other queries.
        raise Refused(
            *(replace(each, field=("input", "steps", number, *each.field[1:])) for each in error.problems)
        ) from None
