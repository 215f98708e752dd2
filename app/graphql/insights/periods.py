"""Periods of questions about all customers: a month, a window of time, or two instants."""

from __future__ import annotations

import strawberry

from app.commands.insights.sealed import MAX_EVENTS
from app.domain.errors import Code, InvalidInput
from app.domain.insights.periods import MAX_PERIOD_DAYS, Asked, check_length, parse_month
from app.domain.values.instants import to_ms
from app.graphql.context import Info
from app.graphql.passes.statistics import TimeWindow, parse_time, zone_of
from app.graphql.types.consistency import Consistency, await_consistency
from app.graphql.types.scalars import RawDateTime


@strawberry.input
class PeriodInput:
    """Period that a question is about. Give a `month`, a `period`, or `from` and `to`."""

    month: str | None = strawberry.field(default=None, description='Calendar month, for example "2025-01".')
    period: TimeWindow | None = strawberry.field(
        default=None,
        description="Current period of the calendar, or a length of time that ends now. Not `allTime`: the question "
        "needs an end.",
    )
    from_at: RawDateTime | None = strawberry.field(
        name="from", default=None, description="Events that occurred at this instant or later. Needs `to`."
    )
    to_at: RawDateTime | None = strawberry.field(
        name="to",
        default=None,
        description=f"Events that occurred before this instant, at most {MAX_PERIOD_DAYS:,} days after `from`.",
    )
    timezone: str | None = strawberry.field(
        default=None,
        description="IANA time zone of months, days and hours. Default: the time zone of the workspace.",
    )


@strawberry.input
class ConsistentPeriodInput(PeriodInput):
    """Period that a question is about, and how current the answer must be."""

    consistency: Consistency = strawberry.field(
        default=Consistency.EVENTUAL,
        description="How current the answer must be. Default: `EVENTUAL`. If more than "
        f"{MAX_EVENTS:,} events are in hours that are not sealed yet, the answer then leaves out the latest of them, and "
        "`freshness.exact` is false. With other values, the query fails with `LIMIT` instead, and says what to ask.",
    )
    token: str | None = strawberry.field(
        default=None,
        description="Token of a receipt whose events the answer must include. Required with `AT_LEAST`, ignored otherwise.",
    )


async def may_leave_out(info: Info, input: ConsistentPeriodInput) -> bool:
    """Return whether the answer may leave out events. Raises InvalidInput for a wrong or missing token."""
    await await_consistency(info, input.consistency, input.token, "input", reads_events=True)
    return input.consistency is Consistency.EVENTUAL


async def parse_period(info: Info, input: PeriodInput) -> Asked:
    """Return the period of an input.

    Raises InvalidInput: REQUIRED without a period, INVALID with two, OUT_OF_RANGE for more than 3,660 days, and as
    `parse_time` does.
    """
    profile = await info.context.commands.profile()
    zone = zone_of(input.timezone, profile, "input")
    ways = (input.month is not None, input.period is not None, (input.from_at, input.to_at) != (None, None))
    if sum(ways) > 1:
        raise InvalidInput(Code.INVALID, "Give only one of `month`, `period`, and `from` with `to`.", "input")
    if input.month is not None:
        return parse_month(input.month, zone, profile.week_start, "input", "month")
    if input.period is None and (input.from_at is None or input.to_at is None):
        message = "Give a `month` such as 2025-01, a `period`, or `from` and `to`."
        raise InvalidInput(Code.REQUIRED, message, "input", "to" if input.from_at is not None else "from")
    if input.period is not None and isinstance(input.period.all_time, bool):
        message = "This question needs an end. Give `from` and `to`, at most ten years apart, instead of `allTime`."
        raise InvalidInput(Code.UNSUPPORTED, message, "input", "period", "allTime")
    start, end = await parse_time(
        info, input.period, input.timezone, "input", from_at=input.from_at, to_at=input.to_at, name="period"
    )
    assert start is not None
    # A length of time ends with the present instant, which belongs to it.
    end_ms = to_ms(await info.context.commands.now()) + 1 if end is None else to_ms(end)
    return check_length(Asked(to_ms(start), end_ms, zone, week_start=profile.week_start), "input", "to")
