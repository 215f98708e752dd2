"""Rows from sealed rollups, from the events of dirty hours, and from pending events that no rollup holds yet.

Hours turn dirty and are sealed while a reading runs. So a reading looks at the heads twice: before it reads rows, and
after. If what it used has changed, it reads again. Both looks go from the hours up: sealing marks a day before it makes an
hour clean, and a month before it makes a day clean. A reader that finds the hours clean therefore finds the mark of the day.
(Source: docs/explanation/rollups.md.)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.commands.context import Context
from app.domain.rollups.choices import Choice, Expansion, choose, choose_hours
from app.domain.rollups.levels import Level
from app.domain.rollups.plans import Head, Period, PeriodPlan, runs_of
from app.domain.rollups.rows import CountedRow
from app.domain.rollups.selections import Plan
from app.domain.values.instants import HOUR_MS
from app.store.mongo.usage import charge
from app.store.workspace.waiting import Waiting

MAX_EVENTS = 50_000
"""Events of dirty hours that one reading examines."""
MAX_SPANS = 20
"""Spans of time into which the dirty hours of a reading are joined; each is one query."""
MAX_DIRTY = 5_000
"""Dirty hours, and dirty days, that one reading looks at: the oldest ones. What is later is left out."""
LOOKS = 3
"""Readings, one after the other, of which one must find the same heads before and after."""


@dataclass(frozen=True, slots=True)
class SealedRows:
    """Rows of a plan, and what is missing in them.

    - `waiting`: events that count in no row yet.
    - `left_out_ms`: first instant that is left out, because its hour does not fit into the bounds; None if nothing is.
    - `is_stable`: whether the heads were the same before and after the rows were read.
    """

    rows: Sequence[CountedRow]
    waiting: Waiting
    left_out_ms: int | None
    is_stable: bool
    plan: Plan


@dataclass(frozen=True, slots=True)
class _Look:
    """What a reading uses of a plan, which may end earlier than the one that was asked for.

    `dirty` has the dirty hours and days around the plan, and clean hours that are read with dirty ones.
    Dirty hours from `bound_ms` on are left out.
    """

    plan: PeriodPlan
    choice: Choice
    dirty: frozenset[Period]
    bound_ms: int
    is_cut: bool

    @property
    def to_read(self) -> list[Period]:
        """The hours whose events are read."""
        return [hour for hour in self.choice.dirty if hour.start_ms < self.bound_ms]

    @property
    def left_out_ms(self) -> int | None:
        """The first instant that is left out; None if nothing is."""
        found = [hour.start_ms for hour in self.choice.dirty if hour.start_ms >= self.bound_ms]
        return min([*found, self.plan.high_ms] if self.is_cut else found, default=None)


async def read_sealed(ctx: Context, plan: PeriodPlan) -> SealedRows:
    """Return the rows of a plan. At most `MAX_EVENTS` events of dirty hours are examined, the oldest hours first.

    Raises OperationTooLarge or Throttled if reading costs the running operation too much. Raises Unavailable; safe to
    repeat.
    """
    store, selection = ctx.workspace, plan.selection
    # An edge is shorter than a quarter of an hour. Yet a business may import a year of events with one instant.
    await store.rollups.charge_spans(selection, plan.edges)
    parked = await store.rollups.parked(selection)
    for number in range(LOOKS):
        look = await _look(ctx, plan)
        spans = [*look.plan.edges, *map(look.plan.clip, runs_of(look.to_read))]
        from_contents, from_events, pending = await asyncio.gather(
            store.rollup_contents.rows(look.plan, look.choice.contents),
            store.rollups.rows_of_spans(selection, spans),
            store.rollups.pending_rows(selection),
        )
        is_stable = from_contents is not None and await _is_unchanged(ctx, look)
        if is_stable or number == LOOKS - 1:
            break
    # An event whose pass was parked or released meanwhile is in one of the two counts.
    parked = max(parked, await store.rollups.parked(selection), key=lambda waiting: waiting.number)
    dirty = {hour.start_ms for hour in look.choice.dirty}
    added = [
        row
        for row in pending.rows
        if look.plan.has_start(row.start_ms) and Level.HOUR.start_ms(row.start_ms) not in dirty
    ]
    used = Counter(period.level for period in look.choice.contents)
    return SealedRows(
        [*(from_contents or ()), *from_events, *added],
        parked | pending.waiting,
        left_out_ms=look.left_out_ms,
        is_stable=is_stable,
        plan=Plan(used[Level.MONTH], used[Level.DAY], used[Level.HOUR], event_hours=len(look.to_read)),
    )


async def _look(ctx: Context, plan: PeriodPlan) -> _Look:
    """Choose what serves a plan, by the heads as they are now."""
    heads = ctx.workspace.rollup_heads
    # Hours before days: see above.
    hours = await heads.dirty(Level.HOUR, plan.around, MAX_DIRTY + 1)
    days = await heads.dirty(Level.DAY, plan.around, MAX_DIRTY + 1)
    cut_ms = min(
        (listed[MAX_DIRTY].start_ms for listed in (hours, days) if len(listed) > MAX_DIRTY), default=plan.high_ms
    )
    shorter = plan.ending_before(cut_ms)
    read, bound_ms = await _fit(ctx, shorter, hours)
    dirty_hours = {*hours, *read}
    dirty = frozenset((*dirty_hours, *days))
    if plan.is_short:
        by_month = Expansion({}, frozenset(), shorter.days_of_short)
    else:
        of_months = await heads.month_heads()
        starts = {each.start_ms for each in of_months} | {each.around(Level.MONTH).start_ms for each in dirty}
        by_month = choose(shorter, Level.MONTH, shorter.months(starts), of_months, dirty)
    by_day = choose(shorter, Level.DAY, by_month.inside, await heads.heads(by_month.inside), dirty_hours)
    by_hour = choose_hours(shorter, by_day.inside, await heads.heads(by_day.inside), dirty_hours)
    unsealed = [hour for hour in by_hour.dirty if hour not in dirty_hours]
    if unsealed and plan.selection.dimension is not None:
        bound_ms = min(bound_ms, await _fit_without_dimension(ctx, shorter, [*unsealed, *read]))
    choice = Choice(
        {**by_month.contents, **by_day.contents, **by_hour.contents},
        by_month.absent | by_day.absent | by_hour.absent,
        by_hour.dirty,
    )
    return _Look(shorter, choice, dirty, bound_ms=bound_ms, is_cut=shorter is not plan)


async def _fit(ctx: Context, plan: PeriodPlan, dirty: Iterable[Period]) -> tuple[list[Period], int]:
    """Return the hours whose events are read, and the instant from which dirty hours do not fit into the bound."""
    remaining, read, bound_ms = MAX_EVENTS, list[Period](), plan.high_ms
    inside = [hour for hour in dirty if hour.start_ms < plan.high_ms and plan.low_ms < hour.end_ms]
    for span in runs_of(inside, MAX_SPANS):
        counts = await ctx.workspace.rollups.count_by_hour(plan.selection, plan.clip(span), remaining + 1)
        number = sum(counts.values())
        fits = number <= remaining
        end_ms = span[1] if fits else max(counts)
        read += [Period(Level.HOUR, start_ms) for start_ms in range(span[0], end_ms, HOUR_MS)]
        if not fits:
            bound_ms = end_ms
            number -= counts[end_ms]
        remaining -= number
        if not fits:
            break
    await charge(MAX_EVENTS - remaining)
    return read, bound_ms


async def _fit_without_dimension(ctx: Context, plan: PeriodPlan, hours: Sequence[Period]) -> int:
    """Return the instant from which hours do not fit into the bounds whose contents may not hold the plan's dimension.

    Unlike dirty hours, they are not joined: the hours between them are read from contents.
    """
    spans = runs_of(hours)
    if len(spans) > MAX_SPANS:
        return spans[0][0]
    number = 0
    for span in spans:
        counts = await ctx.workspace.rollups.count_by_hour(plan.selection, plan.clip(span), MAX_EVENTS + 1)
        number += sum(counts.values())
        if number > MAX_EVENTS:
            return span[0]
    await charge(number)
    return plan.high_ms


async def _is_unchanged(ctx: Context, look: _Look) -> bool:
    """Return whether what a reading used is still valid: nothing else is dirty, and the heads are the same."""
    store, expected = ctx.workspace.rollup_heads, look.choice.heads
    # Hours before days, and days before their heads and those of months: see above.
    for level in (Level.HOUR, Level.DAY):
        found = await store.dirty(level, look.plan.around, MAX_DIRTY + 1)
        if not look.dirty.issuperset(found):
            return False
    heads = await store.heads(expected)
    return all(heads.get(period, Head()) == head for period, head in expected.items())
