"""The size that a segment would have had on each of the last days: a replay of passes by its criteria."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from app.commands import preview_runs
from app.domain.preview import PreviewOrder
from app.domain.values.estimates import Estimate, estimate_count
from app.domain.values.instants import to_ms
from app.domain.values.zones import days_of, stored_zone

from .context import Context
from .copies import read_definitions
from .preview_runs import run_in_chunks, start_run

MAX_DAYS = 90


@dataclass(frozen=True, slots=True)
class DaySize:
    """The size at the end of a local day, or now on the last of the days."""

    day: date
    size: Estimate


async def size_by_day(ctx: Context, order: PreviewOrder, count: int) -> list[DaySize]:
    """Return the size that a segment would have had at the end of each of the last `count` days of its time zone.

    Every event counts when it occurred. Exact for up to 2,000 passes with 100,000 events, else an estimate. Writes nothing.
    Raises LimitExceeded and Unavailable; safe to repeat.
    """
    now_ms = to_ms(await ctx.resources.clock.elapsed()) if order.at_ms is None else order.at_ms
    days = _last_days(order.timezone, now_ms, count)
    total = await ctx.workspace.passes.count()
    run = await start_run(ctx.workspace, await read_definitions(ctx, ()), order, now_ms, is_replayed=True)
    replay = partial(run.replay, instants_ms=[at_ms for _, at_ms in days], max_events=preview_runs.MAX_PREVIEWED_EVENTS)
    replayed = [memberships for part in await run_in_chunks(await run.draw(total), replay) for memberships in part]
    whole = max(total, len(replayed))
    return [
        DaySize(day, estimate_count(sum(memberships[index] for memberships in replayed), len(replayed), whole))
        for index, (day, _) in enumerate(days)
    ]


def _last_days(timezone: str, now_ms: int, count: int) -> Sequence[tuple[date, int]]:
    """Return the last days of a time zone, the earliest first, each with its last instant in ms; today with now."""
    days = days_of(stored_zone(timezone))
    today = days.day_of(now_ms)
    found = [today - timedelta(days=back) for back in range(count - 1, -1, -1)]
    return [(day, min(now_ms, days.start_ms(day + timedelta(days=1)) - 1)) for day in found]
