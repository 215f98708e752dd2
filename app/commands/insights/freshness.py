"""Freshness of an answer: what was recorded or requested before the events were read, and does not count in them yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.commands.context import Context
from app.domain.rollups.selections import Freshness, Selection
from app.domain.values.instants import EARLIEST, to_ms
from app.store.workspace.removals import CustomerMarks
from app.store.workspace.waiting import Waiting


@dataclass(frozen=True, slots=True)
class Missing:
    """What waited before the events of an answer were read.

    - `now_ms`: instant of the question.
    - `removals`: removals, erasures and merges that were requested.
    - `made_at`: earliest instant of an event that a walk made and that is not stored yet, or of one for which a walk will
      make a difference of a checkout; None without one, and for answers without such events.
    """

    now_ms: int
    removals: Waiting
    made_at: datetime | None = None

    def freshness(self, waiting: Waiting, *, left_out_ms: int | None = None, is_stable: bool = True) -> Freshness:
        """Return the freshness of the answer. `waiting` are the events that the read has left out.

        `left_out_ms` is the first instant that the answer leaves out; None if it leaves out none. With `is_stable` false,
        the answer may be of several instants.
        """
        missing = self.removals | waiting
        missing_from = [at for at in (missing.oldest_at, self.made_at) if at is not None]
        # Clocks of other processes may be ahead, so what is missing may have an instant after this one.
        through_ms = min([self.now_ms, *map(to_ms, missing_from)]) - (1 if missing_from else 0)
        return Freshness(
            self.now_ms,
            through_ms if left_out_ms is None else min(through_ms, left_out_ms),
            pending_events=missing.number,
            exact=not missing.number and self.made_at is None and left_out_ms is None and is_stable,
        )


@dataclass(frozen=True, slots=True)
class CustomerLook:
    """First look of a question about single customers: the marks of merges and erasures, and what was missing after.

    A merge moves the events of a customer in several writes. A question that reads in between sees one customer as two, or
    in part. So such a question looks a second time after it has read its events.
    """

    marks: CustomerMarks
    missing: Missing


async def look_at_customers(ctx: Context, end_ms: int) -> CustomerLook:
    """Begin a question about single customers. It ends with `end_look`. Raises Unavailable; safe to repeat."""
    # A merge or an erasure that is requested after the marks are read changes them. The other ones are found as missing.
    marks = await ctx.workspace.removals.mark_customers()
    return CustomerLook(marks, await look_for_missing(ctx, end_ms))


async def end_look(ctx: Context, look: CustomerLook, waiting: Waiting) -> Freshness:
    """Return the freshness of an answer after its events were read. `waiting` are those that it has left out.

    Raises Unavailable; safe to repeat.
    """
    is_stable = await ctx.workspace.removals.are_same_customers(look.marks)
    return look.missing.freshness(waiting, is_stable=is_stable)


async def look_for_missing(ctx: Context, end_ms: int) -> Missing:
    """Return what waits before the instant at which a question ends.

    Call it before the events are read: a removal or a made event that is finished in between is then reported as missing.
    Raises Unavailable; safe to repeat.
    """
    now, rollups = await ctx.now(), ctx.workspace.rollups
    removals = await ctx.workspace.removals.pending()
    # A removal or a cause that the fold clears has left what it made in the outbox before. So the outboxes are read last.
    cause_at = await rollups.first_cause_at(end_ms)
    made_at = await rollups.first_made_at(end_ms)
    return Missing(to_ms(now), removals, min((at for at in (cause_at, made_at) if at is not None), default=None))


async def find_waiting_before(ctx: Context, at_ms: int, types: Sequence[str] = ()) -> Waiting:
    """Return the events before an instant that wait for a decision, or whose passes are parked; of `types`, if any.

    A customer whose first event is one of them looks new after the instant. Call it before the events are read. Raises
    Unavailable; safe to repeat.
    """
    return await ctx.workspace.rollups.waiting(Selection(to_ms(EARLIEST), at_ms, types=types))


async def find_freshness(ctx: Context, selection: Selection) -> Freshness:
    """Return the freshness of an answer about a selection whose values are read after this call.

    Raises Unavailable; safe to repeat.
    """
    missing = await look_for_missing(ctx, selection.to_ms)
    pending = await ctx.workspace.rollups.pending_rows(selection)
    return missing.freshness(pending.waiting | await ctx.workspace.rollups.parked(selection))


async def find_pass_freshness(ctx: Context, pass_id: str) -> Freshness:
    """Return the freshness of the figures that Punchcard keeps for a pass. Read the pass after this call.

    Six round trips. Raises Unavailable; safe to repeat.
    """
    now = await ctx.now()
    # What waits is read first: an event or a removal that is counted in between is then reported as pending.
    uncounted = await ctx.workspace.uncounted.of_pass(pass_id)
    return Missing(to_ms(now), await ctx.workspace.removals.pending()).freshness(uncounted)


async def find_members_freshness(ctx: Context) -> Freshness:
    """Return the freshness of memberships. Read the memberships after this call.

    Eleven reads. Raises Unavailable; safe to repeat.
    """
    now, store = await ctx.now(), ctx.workspace
    uncounted = await store.uncounted.of_workspace()
    missing = Missing(to_ms(now), await store.removals.pending())
    through = await store.progress.computed_through(now)
    # The instants after it are not in the history yet.
    return missing.freshness(uncounted, left_out_ms=to_ms(through) if through < now else None)
