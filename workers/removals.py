"""deleteEvents: the events that match get their tombstones, 1,000 at a time, whatever dies in between.

What is to be removed is written into the job, together with where to go on, before any of it is: removed events can no
longer be found, so that who dies in between would not know how many they were.
"""

from __future__ import annotations

from app.commands.context import Context
from app.commands.removals import CHANNEL, matching, remove_events
from app.domain.events import INTERNAL_TYPES
from app.domain.jobs import Tally
from app.store.job_docs import DeletionOrder

from .turns import Turn

BATCH = 1_000


async def carry(turn: Turn) -> bool:
    """Removes events while the turn goes on; whether all that match have been."""
    order = turn.run.order
    assert isinstance(order, DeletionOrder)
    whole = False
    if turn.run.position is None:
        # The first step only counts: what to expect.
        total = await matching(_context(turn), order.query)
        await turn.commit({"place": None, "hand": [], "over": False}, Tally(), total)
    while not whole and await turn.goes_on(records=True):
        whole = await carry_batch(turn, order)
    turn.outcome["deleted"] = turn.run.tally.created
    return whole and not turn.lost


async def carry_batch(turn: Turn, order: DeletionOrder) -> bool:
    """Removes what the job has in hand and takes up the next; whether that was all, or the job is another's by now."""
    position, tally = turn.run.position, turn.run.tally
    hand = [(pass_id, event_id) for pass_id, event_id in position["hand"]]
    removed = await remove_events(_context(turn), hand) if hand else 0
    if position["over"] and not hand:
        return True
    events, place = (
        ([], None) if position["over"] else await turn.workspace.events.walk(order.query, position["place"], BATCH)
    )
    found = [[event.pass_id, event.id] for event in events if event.type not in INTERNAL_TYPES]
    going_on = {"place": None if place is None else list(place), "hand": found, "over": place is None}
    return not await turn.commit(going_on, tally.plus(Tally(removed, len(hand) - removed)))


def _context(turn: Turn) -> Context:
    """The same for one step of the job, whoever takes it and however often: by its name its tombstones are known."""
    return turn.context(CHANNEL, "deletion", f"{turn.run.job_id}:{turn.run.step}")
