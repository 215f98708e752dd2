"""Rows of counted events for a question about all customers, with how current they are."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from app.commands.context import Context
from app.domain.errors import Code, InvalidInput
from app.domain.rollups.plans import PeriodPlan, plan_period
from app.domain.rollups.selections import Plan, Reading, Selection
from app.domain.values.instants import format_instant, from_ms
from app.store.workspace.rollups import TooManyEvents
from app.store.workspace.waiting import Waiting

from .freshness import find_waiting_before, look_for_missing
from .sealed import MAX_EVENTS, SealedRows, read_sealed

BY_SECONDS = "In this period, the clocks of the time zone differ from UTC by no whole quarters of an hour."
NOT_MARKED = "The upgrade has not prepared rollups for all stored events yet."
TOO_MANY_DIRTY = f"More than {MAX_EVENTS:,} events of the period are in hours that are not sealed yet."
TOO_MANY_VALUES = "More than 50,000 events whose values are asked for are in no rollup yet."
UNSTABLE = "The rollups of the period changed each time while they were read."
"""Reasons why a period is read from events. They are shown to developers."""


async def read_rows(
    ctx: Context, selection: Selection, zone: ZoneInfo, *, strong: bool = False, finds_new: bool = False
) -> Reading:
    """Return the rows of a selection without a dimension. `zone` is the time zone of its cells.

    The rows hold every event recorded before the call, pending ones included, apart from events that wait for a decision
    and those of parked passes. `freshness` counts what is left out. With `finds_new`, the answer also says which customers
    are new, so `freshness` counts these events before the selection, too.

    If more than 50,000 events are in hours that are not sealed, the latest of these hours are left out. If the rollups
    changed during each of three readings, the rows are of several instants. With `strong`, InvalidInput is raised instead.
    Raises OperationTooLarge or Throttled if reading costs the running operation too much. Raises Unavailable; safe to
    repeat.
    """
    missing = await look_for_missing(ctx, selection.to_ms)
    earlier = await find_waiting_before(ctx, selection.from_ms) if finds_new else Waiting()
    planned = await _plan(ctx, selection, zone)
    if isinstance(planned, PeriodPlan):
        sealed = await read_sealed(ctx, planned)
        rows, waiting, plan = sealed.rows, sealed.waiting, sealed.plan
        left_out_ms, is_stable = sealed.left_out_ms, sealed.is_stable
        if not is_stable and await ctx.workspace.rollups.fit_events(selection, MAX_EVENTS):
            planned = UNSTABLE
    if isinstance(planned, str):
        left_out_ms, is_stable = None, True
        rows, waiting = await ctx.workspace.rollups.rows_of_events(selection, zone)
        plan = Plan(reason=planned)
    if strong and (left_out_ms is not None or not is_stable):
        raise _not_strong(left_out_ms)
    freshness = missing.freshness(earlier | waiting, left_out_ms=left_out_ms, is_stable=is_stable)
    return Reading(rows, freshness, plan)


async def read_whole(ctx: Context, selection: Selection, zone: ZoneInfo) -> SealedRows | str:
    """Return the rows of a selection from rollups if they hold what a read of all events would hold.

    Otherwise return the reason why only a read of the events does. Raises as `read_rows` does.
    """
    planned = await _plan(ctx, selection, zone)
    if isinstance(planned, str):
        return planned
    try:
        sealed = await read_sealed(ctx, planned)
    except TooManyEvents:
        return TOO_MANY_VALUES
    if sealed.left_out_ms is not None:
        return TOO_MANY_VALUES if selection.dimension is not None else TOO_MANY_DIRTY
    return sealed if sealed.is_stable else UNSTABLE


async def _plan(ctx: Context, selection: Selection, zone: ZoneInfo) -> PeriodPlan | str:
    """Return the plan to read rollups, or the reason to read events."""
    if not await ctx.workspace.rollup_heads.are_complete():
        return NOT_MARKED
    return plan_period(selection, zone) or BY_SECONDS


def _not_strong(left_out_ms: int | None) -> InvalidInput:
    if left_out_ms is None:
        message = f"{UNSTABLE} Ask for a shorter period, retry in some minutes, or leave out `consistency`."
    else:
        instant = format_instant(from_ms(left_out_ms))
        message = (
            f"More than {MAX_EVENTS:,} events are in hours that are not sealed yet. Ask for a period that ends at {instant} "
            "or before, retry in some minutes, or leave out `consistency`."
        )
    return InvalidInput(Code.LIMIT, message, "input", "consistency")
