"""deleteEvents: the events that match get their tombstones, 1,000 at a time, whatever dies in between.

What is to be removed is written into the job, together with where to go on, before any of it is: removed events can no
longer be found, so that who dies in between would not know how many they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.commands.context import Context
from app.commands.passes.removals import CHANNEL, matching_events, remove_events
from app.domain.events.events import INTERNAL_TYPES
from app.domain.jobs import Tally
from app.store.codecs.jobs import DeletionOrder

from .lease import JobLease

REMOVAL_BATCH_SIZE = 1_000


async def run_removal(turn: JobLease) -> bool:
    """Removes events while the turn goes on; whether all that match have been."""
    order = turn.run.order
    assert isinstance(order, DeletionOrder)
    whole = False
    if turn.run.position is None:
        # The first step only counts: what to expect.
        total = await matching_events(_context(turn), order.query, order.homes)
        first = order.homes[0] if order.homes else order.query.pass_id
        await turn.commit({"pass": first, "place": None, "hand": [], "over": False}, Tally(), total)
    while not whole and await turn.can_continue(records=True):
        whole = await remove_batch(turn, order)
    turn.outcome["deleted"] = turn.run.tally.created
    return whole and not turn.lost


async def remove_batch(turn: JobLease, order: DeletionOrder) -> bool:
    """Removes what the job has in hand and takes up the next; whether that was all, or the job is another's by now."""
    position, tally = turn.run.position, turn.run.tally
    hand = [(pass_id, event_id) for pass_id, event_id in position["hand"]]
    removed = await remove_events(_context(turn), hand) if hand else 0
    if position["over"] and not hand:
        return True
    going_on = {**position, "hand": []} if position["over"] else await _further(turn, order, position)
    return not await turn.commit(going_on, tally.plus(Tally(removed, len(hand) - removed)))


async def _further(turn: JobLease, order: DeletionOrder, position: Mapping[str, Any]) -> dict[str, Any]:
    """The next events in hand, and where to go on: in the order in which events move, so that none is missed."""
    pass_id, homes = position.get("pass", order.query.pass_id), order.homes
    query = replace(order.query, pass_id=pass_id)
    events, place = await turn.workspace.events.walk(query, position["place"], REMOVAL_BATCH_SIZE)
    found = [
        [e.pass_id, e.id] for e in events if e.type not in INTERNAL_TYPES and (not homes or e.home_pass_id in homes)
    ]
    if place is not None or not homes:
        return {"pass": pass_id, "place": place and list(place), "hand": found, "over": place is None}
    behind = homes[homes.index(pass_id) + 1 :] if pass_id in homes else ()
    # Behind the last of them is whatever that was merged into meanwhile.
    then = behind[0] if behind else await turn.workspace.passes.survivor_id(pass_id)
    return {"pass": then, "place": None, "hand": found, "over": then is None}


def _context(turn: JobLease) -> Context:
    """The same for one step of the job, whoever takes it and however often: by its name its tombstones are known."""
    return turn.context(CHANNEL, "deletion", f"{turn.run.job_id}:{turn.run.step}")
