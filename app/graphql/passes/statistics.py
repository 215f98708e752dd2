"""Statistics of a pass as GraphQL types. The domain computes them."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import strawberry

from app.commands.insights.freshness import find_pass_freshness
from app.domain.errors import Code, InvalidInput
from app.domain.passes import passes
from app.domain.rollups.selections import Selection
from app.domain.state import statistics as domain
from app.domain.values.instants import EARLIEST, LATEST, from_ms, parse_instant, to_ms
from app.domain.values.text import parse_text
from app.domain.values.zones import parse_zone, stored_zone
from app.domain.workspaces import WorkspaceProfile
from app.graphql.context import Info
from app.graphql.types.enums import CalendarPeriod, EventCategory
from app.graphql.types.freshness import Freshness, freshness_of, read_freshness
from app.graphql.types.selections import is_selected

MAX_DAYS = 3660
"""Length of the longest rolling window."""
MAX_TYPES = 50
"""Event types that one call may name."""


@strawberry.input(one_of=True)
class RollingTimeWindow:
    """Length of time that ends now. Give exactly one unit."""

    days: int | None = strawberry.field(default=strawberry.UNSET, description="Days of 24 hours: 1 to 3,660.")
    hours: int | None = strawberry.field(default=strawberry.UNSET, description="Hours: 1 to 87,840.")


@strawberry.input(one_of=True)
class TimeWindow:
    """Time that events must have occurred in. Give exactly one field."""

    calendar: CalendarPeriod | None = strawberry.field(
        default=strawberry.UNSET, description="Current period of the calendar in the time zone, for example this month."
    )
    rolling: RollingTimeWindow | None = strawberry.field(
        default=strawberry.UNSET, description="Length of time that ends now, for example the last 30 days."
    )
    all_time: bool | None = strawberry.field(default=strawberry.UNSET, description="All time. Only `true` is accepted.")


@strawberry.type
class TypeStatistics:
    """Statistics of the events of one type in one currency."""

    type: str = strawberry.field(description="Type of the events.")
    category: EventCategory = strawberry.field(description="Category of the events.")
    currency: str | None = strawberry.field(description="Currency of the events. Null for events without an amount.")
    count: int = strawberry.field(description="Number of events.")
    sum: Decimal | None = strawberry.field(
        description="Exact sum of the amounts as recorded, so refunds are positive. Null for events without an amount."
    )
    average: Decimal | None = strawberry.field(
        description="Average amount, rounded half-even to 6 decimal places. Null for events without an amount."
    )
    min: Decimal | None = strawberry.field(description="Least amount. Null for events without an amount.")
    max: Decimal | None = strawberry.field(description="Greatest amount. Null for events without an amount.")
    first_at: datetime = strawberry.field(description="Instant of the first event, by `occurredAt`.")
    last_at: datetime = strawberry.field(description="Instant of the last event, by `occurredAt`.")


@strawberry.type
class Spend:
    """Money that a customer spent in one currency: the amounts of all transactions.

    Transactions are the events of the category `TRANSACTION`. `refund` and `credit` subtract; all other types of the
    category add, so a `charge` adds, too. `aggregateEvents` with `SUM` over this category has the same value as `net`.
    """

    currency: str = strawberry.field(description="Currency: a code of ISO 4217.")
    gross: Decimal = strawberry.field(
        description="Sum of the amounts of all transactions except `refund` and `credit`, for example of `purchase`, "
        "`payment` and `charge`."
    )
    refunded: Decimal = strawberry.field(description="Sum of the amounts of events of the types `refund` and `credit`.")
    net: Decimal = strawberry.field(description="`gross` minus `refunded`.")
    orders: int = strawberry.field(
        description="Number of purchases and checkouts, less rejects of checkouts. Purchases that rules made do not count."
    )


@strawberry.type
class PassStatistics:
    """Statistics over events of a pass. Changes that `updatePass` records do not count."""

    event_count: int = strawberry.field(description="Number of events.")
    first_event_at: datetime | None = strawberry.field(
        description="Instant of the first event, by `occurredAt`. Null if there is none."
    )
    last_event_at: datetime | None = strawberry.field(
        description="Instant of the last event, by `occurredAt`. Null if there is none."
    )
    by_type: list[TypeStatistics] = strawberry.field(
        description="Statistics by type and currency, sorted by type and then by currency."
    )
    spend: list[Spend] = strawberry.field(
        description="Spend by currency, sorted by currency. A currency without a transaction has no item."
    )
    freshness: Freshness = strawberry.field(description="How current the statistics are.")


async def build_pass_statistics(
    info: Info,
    card: passes.Pass,
    types: list[str] | None,
    window: TimeWindow | None,
    timezone: str | None,
    *,
    from_at: object = None,
    to_at: object = None,
) -> PassStatistics:
    """Return the statistics of a pass: from its aggregates for all time, from its events for a part of it.

    Raises InvalidInput for more than 50 types, and as `parse_time` does.
    """
    if types is not None and len(types) > MAX_TYPES:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_TYPES} types; this list has {len(types)}.", "types")
    names = None if types is None else [parse_text(name, "types", str(i)) for i, name in enumerate(types)]
    if timezone is not None:
        parse_zone(timezone, "timezone")
    start, end = await parse_time(info, window, timezone, from_at=from_at, to_at=to_at)
    after, before = start or EARLIEST, end or LATEST
    if start is not None or end is not None:
        freshness = await read_freshness(info, Selection(to_ms(after), to_ms(before)))
        recorded, made = await info.context.workspace.aggregations.of_pass(card.id, after, before)
        return _statistics_of(domain.build_statistics(recorded, names, made=made), freshness)
    if is_selected(info, "freshness"):
        freshness = freshness_of(await find_pass_freshness(info.context.commands, card.id))
        # The pass was read before. An event that was counted since is in the pass as it is now.
        card = await info.context.workspace.passes.get(card.id) or card
    else:
        freshness = await read_freshness(info, Selection(to_ms(after), to_ms(before)))
    return _statistics_of(domain.build_statistics(card.aggregates, names, made=card.made_aggregates), freshness)


async def parse_time(
    info: Info,
    window: TimeWindow | None,
    timezone: str | None,
    *under: str,
    from_at: object,
    to_at: object,
    name: str = "timeWindow",
) -> tuple[datetime | None, datetime | None]:
    """Return the time that a window or two instants mean as [start, end). None is an open end.

    `under` is the path of the arguments, and `name` is that of the window among them. Raises InvalidInput for a window
    beside an instant, if `from` does not lie before `to`, and as `_parse_window`.
    """
    if from_at is None and to_at is None:
        bounds = await _parse_window(info, window, timezone, *under, name=name)
        if bounds is None:
            return None, None
        start, end = bounds
        return start, None if end == LATEST else end
    if window is not None:
        raise InvalidInput(Code.INVALID, f"Give `{name}`, or `from` and `to`, not both.", *under, name)
    start_at = None if from_at is None else parse_instant(from_at, *under, "from")
    end_at = None if to_at is None else parse_instant(to_at, *under, "to")
    if start_at is not None and end_at is not None and start_at >= end_at:
        raise InvalidInput(Code.OUT_OF_RANGE, "`from` must lie before `to`.", *under, "from")
    return start_at, end_at


async def _parse_window(
    info: Info, window: TimeWindow | None, timezone: str | None, *under: str, name: str
) -> tuple[datetime, datetime] | None:
    """Return the time that a window means as [start, end), or None for all time.

    Raises InvalidInput for `allTime: false`, an unknown time zone, or a length outside one hour to 3,660 days.
    """
    if window is None or window.all_time is True:
        return None
    if window.all_time is False:
        raise InvalidInput(
            Code.INVALID,
            f"`allTime` must be true. Leave out `{name}` for all time.",
            *under,
            name,
            "allTime",
        )
    now = await info.context.commands.now()
    profile = await info.context.commands.profile()
    if window.calendar:
        zone = zone_of(timezone, profile, *under)
        return domain.period_of(now, window.calendar, zone, profile.week_start)
    rolling = window.rolling
    assert rolling
    unit, length = ("hours", rolling.hours) if rolling.days is strawberry.UNSET else ("days", rolling.days)
    if not isinstance(length, int) or not 0 < length <= (MAX_DAYS if unit == "days" else MAX_DAYS * 24):
        advice = f"A rolling window has 1 hour to {MAX_DAYS:,} days."
        raise InvalidInput(Code.OUT_OF_RANGE, advice, *under, name, "rolling", unit)
    # A rolling window is (now - length, now], as in criteria. The store takes [start, end), so the start moves by 1 ms.
    span = timedelta(**{unit: length})
    return now - span + timedelta(milliseconds=1), LATEST


def zone_of(timezone: str | None, profile: WorkspaceProfile, *under: str) -> ZoneInfo:
    """Return the time zone of a query: the one that it names, or else the workspace's. Raises InvalidInput."""
    return stored_zone(profile.timezone) if timezone is None else parse_zone(timezone, *under, "timezone")


def _statistics_of(statistics: domain.Statistics, freshness: Freshness) -> PassStatistics:
    return PassStatistics(
        event_count=statistics.event_count,
        first_event_at=None if statistics.first_ms is None else from_ms(statistics.first_ms),
        last_event_at=None if statistics.last_ms is None else from_ms(statistics.last_ms),
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
            for row in statistics.by_type
        ],
        spend=[
            Spend(currency=row.currency, gross=row.gross, refunded=row.refunded, net=row.net, orders=row.orders)
            for row in statistics.spend
        ],
        freshness=freshness,
    )
