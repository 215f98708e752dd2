"""deleteEvents: insert tombstones for the events of a query, in batches of 1,000.

The job stores the ids of a batch, and the position behind the batch, before any of its events is removed. Queries do
not find removed events. Without the stored ids, the count would be wrong after a crash in the middle of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.commands.context import Context
from app.commands.events.vocabulary import words_of
from app.commands.passes.removals import CHANNEL, count_matching_events, remove_events
from app.domain.events.events import INTERNAL_TYPES, Event
from app.domain.jobs import Tally
from app.store.codecs.jobs import DeletionOrder

from .lease import JobLease

REMOVAL_BATCH_SIZE = 1_000


async def run_removal(lease: JobLease) -> bool:
    """Remove events for one slice of time and return whether all matching events are removed."""
    order = lease.run.order
    assert isinstance(order, DeletionOrder)
    is_complete = False
    if lease.run.position is None:
        # The first step only counts the events, for the progress.
        total = await count_matching_events(_context(lease), order.query, order.homes)
        first = order.homes[0] if order.homes else order.query.pass_id
        await lease.commit({"pass": first, "place": None, "hand": [], "over": False}, Tally(), total)
    while not is_complete and await lease.can_continue(records=True):
        is_complete = await remove_batch(lease, order)
    lease.result |= {"deleted": lease.run.tally.created, "leftOut": lease.run.position.get("left", 0)}
    return is_complete and not lease.is_lost


async def remove_batch(lease: JobLease, order: DeletionOrder) -> bool:
    """Remove the events whose ids the job holds, and store the ids of the next ones in the job.

    Returns whether nothing is left to do: all events are removed, or another worker has claimed the job.
    """
    position, tally = lease.run.position, lease.run.tally
    targets = [(pass_id, event_id) for pass_id, event_id in position["hand"]]
    removed = await remove_events(_context(lease), targets) if targets else 0
    # The words are doubted only now: before, the events counted as in use.
    await lease.workspace.vocabulary.doubt((kind, word) for kind, word in position.get("words", ()))
    if position["over"] and not targets:
        return True
    next_position = (
        {**position, "hand": [], "words": []} if position["over"] else await _find_next(lease, order, position)
    )
    return not await lease.commit(next_position, tally.plus(Tally(removed, len(targets) - removed)))


async def _find_next(lease: JobLease, order: DeletionOrder, position: Mapping[str, Any]) -> dict[str, Any]:
    """Return the next position of the job: the ids to remove next, and where to continue after them.

    The passes are read in the order in which a merge moves events, aliases before the survivor, so that none is missed.
    """
    pass_id, home_ids = position.get("pass", order.query.pass_id), order.homes
    query = replace(order.query, pass_id=pass_id)
    events, next_start = await lease.workspace.events.scan(query, position["place"], REMOVAL_BATCH_SIZE)
    targets = [[event.pass_id, event.id] for event in events if not event.is_made and _is_named(event, home_ids)]
    left = position.get("left", 0) + sum(event.is_made and _is_named(event, home_ids) for event in events)
    words = [list(word) for word in sorted(words_of(events))] if targets else []
    if next_start is not None or not home_ids:
        start = next_start and list(next_start)
        return {
            "pass": pass_id,
            "place": start,
            "hand": targets,
            "words": words,
            "over": next_start is None,
            "left": left,
        }
    later_ids = home_ids[home_ids.index(pass_id) + 1 :] if pass_id in home_ids else ()
    # The last pass may have been merged since the job was created: continue with its survivor.
    next_id = later_ids[0] if later_ids else await lease.workspace.passes.survivor_id(pass_id)
    return {"pass": next_id, "place": None, "hand": targets, "words": words, "over": next_id is None, "left": left}


def _is_named(event: Event, home_ids: Sequence[str]) -> bool:
    """Return whether the job is about the event, or would be if no rule had made it."""
    return event.type not in INTERNAL_TYPES and (not home_ids or event.home_pass_id in home_ids)


def _context(lease: JobLease) -> Context:
    """Return the context for the tombstones of one step.

    Each repeat of a step has the same batch name, so a repeat recognizes its own tombstones and counts them again.
    """
    return lease.context(CHANNEL, "deletion", f"{lease.run.job_id}:{lease.run.step}")
