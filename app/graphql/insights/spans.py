"""Period of a question about customers, which may also be all time, with the profile of the workspace."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import strawberry

from app.commands.insights.customer_questions import QuestionTime
from app.domain.errors import Code, InvalidInput
from app.domain.insights.periods import MAX_PERIOD_DAYS, Asked, check_length
from app.domain.rollups.selections import Plan
from app.domain.values.currencies import parse_currency
from app.domain.values.instants import to_ms
from app.domain.values.text import parse_text
from app.domain.workspaces import WorkspaceProfile
from app.graphql.context import Info
from app.graphql.passes.statistics import TimeWindow, parse_time, zone_of
from app.graphql.plans import note_plan
from app.graphql.types.filters import parse_each
from app.graphql.types.scalars import RawDateTime

from .periods import PeriodInput, parse_period

TYPES = (
    "Event types that count as an activity of the customer, at most 50. Default: all types, without events that rules made "
    "and without changes that `updatePass` records."
)
CURRENCY = "Currency of the revenue: a code of ISO 4217. Default: the currency of the workspace."


@strawberry.input
class CustomerPeriodInput(PeriodInput):
    """Period of a question about customers: a `month`, a `period`, or `from` and `to`. Default: all time up to now."""

    period: TimeWindow | None = strawberry.field(
        default=None,
        description="Current period of the calendar, a length of time that ends now, or all time. Default: all time up to "
        "now, unless another field names the period.",
    )
    from_at: RawDateTime | None = strawberry.field(
        name="from",
        default=None,
        description="Events that occurred at this instant or later. Default: no lower bound.",
    )
    to_at: RawDateTime | None = strawberry.field(
        name="to",
        default=None,
        description="Events that occurred before this instant, at most "
        f"{MAX_PERIOD_DAYS:,} days after `from`. Default: now.",
    )


@dataclass(frozen=True, slots=True)
class SpanAsked:
    """Checked period of a question, and the profile of the workspace."""

    span: QuestionTime
    profile: WorkspaceProfile

    def currency(self, sent: str | None) -> str:
        """Return the currency that a question names, or else that of the workspace. Raises InvalidInput."""
        return self.profile.currency if sent is None else parse_currency(sent, "input", "currency")


async def parse_span(info: Info, input: CustomerPeriodInput) -> SpanAsked:
    """Return the period of a question. Without an end, it ends with the present millisecond. Raises InvalidInput."""
    profile = await info.context.commands.profile()
    now = await info.context.commands.now()
    if input.month is not None:
        asked = await parse_period(info, input)
        span = QuestionTime(asked.from_ms, asked.to_ms, asked.zone, now_ms=to_ms(now))
    else:
        span = await _parse_bounds(info, input, zone_of(input.timezone, profile, "input"), to_ms(now))
    return SpanAsked(span, profile)


async def _parse_bounds(info: Info, input: CustomerPeriodInput, zone: ZoneInfo, now_ms: int) -> QuestionTime:
    start, end = await parse_time(
        info, input.period, input.timezone, "input", from_at=input.from_at, to_at=input.to_at, name="period"
    )
    start_ms, end_ms = None if start is None else to_ms(start), now_ms + 1 if end is None else to_ms(end)
    if start_ms is not None:
        if start_ms >= end_ms:
            raise InvalidInput(Code.OUT_OF_RANGE, "`from` must lie before now, or before `to`.", "input", "from")
        check_length(Asked(start_ms, end_ms, zone), "input", "from")
    return QuestionTime(start_ms, end_ms, zone, now_ms=now_ms)


def parse_types(types: list[str] | None) -> list[str]:
    """Return the types that a question names; none for None. Raises InvalidInput."""
    return parse_each(types, parse_text, "input", "types")


def note_events_read(info: Info, field: str) -> None:
    """Note in the plan of the operation that the answer of a field was computed from events."""
    note_plan(
        info.context, field, Plan(reason="What single customers did one after the other is read from their events.")
    )
