"""Freshness of an answer: what was recorded or requested and is not in the answer yet."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import strawberry

from app.commands.insights.freshness import find_freshness
from app.domain.errors import PunchcardError
from app.domain.rollups import selections
from app.domain.rollups.selections import Selection
from app.domain.values.instants import from_ms
from app.graphql.context import Info
from app.graphql.types.selections import is_selected
from app.store.workspace.removals import CustomerMarks


@strawberry.type
class Freshness:
    """How current an answer is.

    Answers about all customers include the recorded events that no worker has counted yet. `Pass.statistics` of all time and
    the members of segments do not. Answers still include events whose removal was requested and is not finished.
    """

    as_of: datetime = strawberry.field(description="Instant of the query.")
    computed_through: datetime = strawberry.field(
        description="Instant up to which the answer includes everything that was recorded or requested. Equals `asOf` "
        "if nothing is missing."
    )
    pending_events: int = strawberry.field(
        description="Number of recorded events and requested changes that the answer does not include yet. The changes are "
        "removals of events, erasures and merges of passes. A job of `deleteEvents` counts as one until it has ended. At "
        "most 10,000 of each kind are counted. Usually 0."
    )
    exact: bool = strawberry.field(
        description="Whether the answer includes everything. While it is false, the answer may lack recorded events or "
        "still include removed ones."
    )
    error: Decimal | None = strawberry.field(
        default=None,
        description="Relative error that an estimate is expected to stay within, for example 0.02 for 2 %. Null for answers "
        "that are no estimates.",
    )


async def read_freshness(info: Info, selection: Selection) -> Freshness:
    """Return the freshness of an answer that is computed from events after this call.

    What finishes in between is then reported as pending. Eleven reads if the operation selects `freshness`; none otherwise.
    """
    if is_selected(info, "freshness"):
        return freshness_of(await find_freshness(info.context.commands, selection))
    now = await info.context.commands.now()
    return Freshness(as_of=now, computed_through=now, pending_events=0, exact=True)


@dataclass(frozen=True, slots=True)
class LaterFreshness:
    """Freshness of an answer of which some fields read single customers after the answer itself was read.

    - `marks`: marks of merges and erasures before everything was read; None if no field reads customers.
    - `found`: freshness of the answer itself.
    - `reads`: what the fields read. Each read must run once, however often it is called.
    """

    marks: CustomerMarks | None
    found: Freshness
    reads: Sequence[Callable[[Info], Awaitable[object]]]

    async def read(self, info: Info) -> Freshness:
        """Return the freshness after all fields have read. The answer is not exact if customers were merged meanwhile."""
        if self.marks is None:
            return self.found
        for read in self.reads:
            # The field itself reports the error.
            with contextlib.suppress(PunchcardError):
                await read(info)
        is_same = await info.context.workspace.removals.are_same_customers(self.marks)
        return replace(self.found, exact=self.found.exact and is_same)


async def mark_customers(info: Info, *, are_read: bool) -> CustomerMarks | None:
    """Return the marks for `LaterFreshness`; None if fields read no customers, or the operation selects no `freshness`."""
    if are_read and is_selected(info, "freshness"):
        return await info.context.workspace.removals.mark_customers()
    return None


def freshness_of(freshness: selections.Freshness) -> Freshness:
    """Return the GraphQL object of the freshness of rows."""
    return Freshness(
        as_of=from_ms(freshness.as_of_ms),
        computed_through=from_ms(freshness.computed_through_ms),
        pending_events=freshness.pending_events,
        exact=freshness.exact,
        error=freshness.error,
    )
