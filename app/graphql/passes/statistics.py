"""Statistics of a pass, as types; the arithmetic is the domain's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import strawberry

from app.domain.errors import Code, InvalidInput
from app.domain.passes import passes
from app.domain.state import statistics as domain
from app.domain.values.instants import LATEST, from_ms
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.types.enums import CalendarPeriod, EventCategory

MAX_DAYS = 3660
MAX_TYPES = 50


@strawberry.input(one_of=True)
class RollingTimeWindow:
    """A length of time up to now. Exactly one unit."""

    days: int | None = strawberry.field(default=strawberry.UNSET, description="Days of 24 hours: 1 to 3,660.")
    hours: int | None = strawberry.field(default=strawberry.UNSET, description="Hours: 1 to 87,840.")


@strawberry.input(one_of=True)
class TimeWindow:
    """Which time is meant. Exactly one field."""

    calendar: CalendarPeriod | None = strawberry.field(
        default=strawberry.UNSET, description="The current period of the calendar, in the time zone."
    )
    rolling: RollingTimeWindow | None = strawberry.field(
        default=strawberry.UNSET, description="A length of time up to now."
    )
    all_time: bool | None = strawberry.field(default=strawberry.UNSET, description="true: no window at all.")


@strawberry.type
class TypeStatistics:
    """One type of event in one currency."""

    type: str = strawberry.field(description="The type.")
    category: EventCategory = strawberry.field(description="Its category.")
    currency: str | None = strawberry.field(description="The currency; absent for events without an amount.")
    count: int = strawberry.field(description="How many events.")
    sum: Decimal | None = strawberry.field(description="The exact sum of their amounts, as recorded.")
    average: Decimal | None = strawberry.field(description="The average amount, half-even to 6 places.")
    min: Decimal | None = strawberry.field(description="The least amount.")
    max: Decimal | None = strawberry.field(description="The greatest amount.")
    first_at: datetime = strawberry.field(description="When the first occurred.")
    last_at: datetime = strawberry.field(description="When the last occurred.")


@strawberry.type
class Spend:
    """What was spent in one currency."""

    currency: str = strawberry.field(description="The currency.")
    gross: Decimal = strawberry.field(description="The sum of purchases.")
    refunded: Decimal = strawberry.field(description="The sum of refunds and credits.")
    net: Decimal = strawberry.field(description="Gross less refunded.")
    orders: int = strawberry.field(description="How many purchases.")


@strawberry.type
class PassStatistics:
    """What the events of a pass come to."""

    event_count: int = strawberry.field(description="How many events.")
    first_event_at: datetime | None = strawberry.field(description="When the first occurred.")
    last_event_at: datetime | None = strawberry.field(description="When the last occurred.")
    by_type: list[TypeStatistics] = strawberry.field(description="A row for each type and currency.")
    spend: list[Spend] = strawberry.field(description="A row for each currency.")


async def pass_statistics(
    info: Info, card: passes.Pass, types: list[str] | None, window: TimeWindow | None, timezone: str | None
) -> PassStatistics:
    """The statistics of a pass: from its aggregates for all time, from its events for a window. Raises InvalidInput."""
    if types is not None and len(types) > MAX_TYPES:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_TYPES}.", "types")
    kinds = None if types is None else [parse_text(kind, "types", str(i)) for i, kind in enumerate(types)]
    bounds = await time_bounds(info, window, timezone)
    if bounds is None:
        return _published(domain.statistics(card.aggregates, kinds))
    events = [event async for event in info.context.workspace.events.of_pass(card.id, *bounds)]
    return _published(domain.statistics_of(events, kinds))


async def time_bounds(info: Info, window: TimeWindow | None, timezone: str | None) -> tuple[datetime, datetime] | None:
    """The time that a window means, as [start, end); None for all time. Raises InvalidInput."""
    if window is None or window.all_time is True:
        return None
    if window.all_time is False:
        raise InvalidInput(Code.INVALID, "Leave the window out, or give true.", "timeWindow", "allTime")
    now = await info.context.commands.now()
    profile = await info.context.commands.profile()
    if window.calendar:
        zone = parse_zone(timezone or profile.timezone)
        start, end = domain.period_of(now, window.calendar, zone, profile.week_start)
        return start.astimezone(UTC), end.astimezone(UTC)
    rolling = window.rolling
    assert rolling
    unit, length = ("hours", rolling.hours) if rolling.days is strawberry.UNSET else ("days", rolling.days)
    if not isinstance(length, int) or not 0 < length <= (MAX_DAYS if unit == "days" else MAX_DAYS * 24):
        raise InvalidInput(Code.OUT_OF_RANGE, "From one hour to 3,660 days.", "timeWindow", "rolling", unit)
    # (now - length, now], as everywhere; the store takes [start, end).
    span = timedelta(**{unit: length})
    return now - span + timedelta(milliseconds=1), LATEST


def parse_zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name. Raises InvalidInput."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise InvalidInput(
            Code.UNKNOWN, 'No such time zone; use an IANA name, for example "Europe/Berlin".', "timezone"
        ) from None


def _published(found: domain.Statistics) -> PassStatistics:
    return PassStatistics(
        event_count=found.event_count,
        first_event_at=None if found.first_ms is None else from_ms(found.first_ms),
        last_event_at=None if found.last_ms is None else from_ms(found.last_ms),
        by_type=[
            TypeStatistics(
                type=row.type,
                category=row.category,
                currency=row.currency,
                count=row.count,
                sum=row.sum,
                average=row.average,
                min=row.min,
                max=row.max,
                first_at=from_ms(row.first_ms),
                last_at=from_ms(row.last_ms),
            )
            for row in found.by_type
        ],
        spend=[
            Spend(currency=row.currency, gross=row.gross, refunded=row.refunded, net=row.net, orders=row.orders)
            for row in found.spend
        ],
    )
