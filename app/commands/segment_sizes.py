"""The size that a segment would have had on each of the last days: a replay of passes by its criteria."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from app.domain.errors import LimitExceeded
from app.domain.passes.passes import Pass
from app.domain.preview import PreviewOrder
from app.domain.values.estimates import Estimate, estimate_count
from app.domain.values.instants import to_ms
from app.domain.values.zones import days_of, stored_zone

from .context import Context
from .copies import read_definitions
from .preview_runs import PreviewRun, start_run, too_large

MAX_REPLAYED_PASSES = 2_000
"""Passes of a workspace that a request replays. Of more passes, so many are drawn."""
MAX_REPLAYED_EVENTS = 100_000
"""Events that a request reads to replay passes."""
MAX_DAYS = 90
REPLAY_CHUNK = 50
"""Passes that are replayed at once."""


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
    sizes, replayed = [0] * count, 0
    cards = await _read(run, total)
    for start in range(0, len(cards), REPLAY_CHUNK):
        part = cards[start : start + REPLAY_CHUNK]
        try:
            found = await run.replay(part, [at_ms for _, at_ms in days], max_events=MAX_REPLAYED_EVENTS)
        except LimitExceeded:
            if not replayed:
                raise
            break
        replayed += len(part)
        sizes = [sum(members, size) for size, members in zip(sizes, zip(*found, strict=True), strict=True)]
    whole = max(total, replayed)
    return [DaySize(day, estimate_count(size, replayed, whole)) for (day, _), size in zip(days, sizes, strict=True)]


async def _read(run: PreviewRun, total: int) -> list[Pass]:
    """Return the passes to replay, in the order of their draws: an estimate may end before the last one."""
    drawn = await run.draw(MAX_REPLAYED_PASSES, total)
    if drawn is None:
        raise too_large(f"The workspace has {total:,} passes, and `punchcard migrate` has not drawn some of them yet.")
    return drawn


def _last_days(timezone: str, now_ms: int, count: int) -> Sequence[tuple[date, int]]:
    """Return the last days of a time zone, the earliest first, each with its last instant in ms; today with now."""
    days = days_of(stored_zone(timezone))
    today = days.day_of(now_ms)
    found = [today - timedelta(days=back) for back in range(count - 1, -1, -1)]
    return [(day, min(now_ms, days.start_ms(day + timedelta(days=1)) - 1)) for day in found]
