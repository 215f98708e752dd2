"""Turns: what a round of the fold reads for other workspaces, while one workspace has a long backlog.

A round reads pending events in the order of slots, workspaces and passes. If a workspace has 100,000 of them there, the
single event of another workspace may lie behind them all. So a round whose read is full also reads, for the next few other
workspaces in turn, their first events.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from app.domain.ids import slot_of
from app.flow import bounds_of
from app.store.stages.pending import BacklogPosition, PendingEvent, id_after
from workers.worker import Worker

WORKSPACES_PER_ROUND = 4
"""Workspaces that get a turn in one round."""
EVENTS_PER_TURN = 50
"""Pending events that one turn reads."""

Between = tuple[str, str | None]
"""A range of workspaces: from an id to before another one; None for no end."""


async def read_turns(
    worker: Worker,
    key: str,
    start: BacklogPosition | None,
    pending: Sequence[PendingEvent],
    *,
    workspace_ids: Sequence[str] | None = None,
) -> list[list[PendingEvent]]:
    """Return the first pending events of the next workspaces, one list for each; the fullest workspace gets no turn.

    `pending` is the full read of the round, which began after `start`. Two or three round trips if no other workspace has
    pending events in the slot range. Each of them reads up to 16 slots at once. `workspace_ids` are those that the round
    names, if it names any.
    """
    bounds = worker.sharing.bounds("fold", key) or bounds_of(key)
    [(fullest, _)] = Counter(item.workspace_id for item in pending).most_common(1)
    slots = find_unread_slots(bounds, start, pending)
    turns: dict[str, list[PendingEvent]] = {}
    for between in order_ranges(worker.turns.get(key, ""), fullest):
        if len(turns) < WORKSPACES_PER_ROUND:
            count = WORKSPACES_PER_ROUND - len(turns)
            turns |= await read_first_events(worker, slots, between, count, workspace_ids=workspace_ids)
    worker.turns[key] = list(turns)[-1] if turns else ""
    return list(turns.values())


def find_unread_slots(
    bounds: tuple[int, int], start: BacklogPosition | None, pending: Sequence[PendingEvent]
) -> list[int]:
    """Return the slots of a range of which a full read, in order and after `start`, left pending events unread."""
    low, high = bounds
    first, last = low - 1 if start is None else start.slot, slot_of(pending[-1].event.pass_id)
    return [slot for slot in range(low, high + 1) if not first < slot < last]


def order_ranges(last: str, fullest: str) -> list[Between]:
    """Return ranges of all workspaces but the fullest, in order of ids; begin after `last` and wrap round.

    No range contains the fullest workspace, because on the embedded servers all its index entries would be read.
    """
    begin = id_after(last) if last else ""
    ranges: list[Between] = [(begin, None), ("", fullest), (id_after(fullest), begin)]
    if last < fullest:
        ranges = [(begin, fullest), (id_after(fullest), None), ("", begin)]
    return [(first, end) for first, end in ranges if end is None or first < end]


async def read_first_events(
    worker: Worker,
    slots: Sequence[int],
    between: Between,
    count: int,
    *,
    workspace_ids: Sequence[str] | None = None,
) -> dict[str, list[PendingEvent]]:
    """Return the first pending events in these slots of the first workspaces of a range, up to `count`, by workspace id.

    One round trip, unless a workspace has many pending events in a slot and hides the workspaces behind it.
    """
    turns: dict[str, list[PendingEvent]] = {}
    first, end = between
    while slots and len(turns) < count:
        reads = await asyncio.gather(
            *(
                worker.fold_queries.pending_between(slot, (first, end), EVENTS_PER_TURN, workspace_ids=workspace_ids)
                for slot in slots
            )
        )
        found: dict[str, list[PendingEvent]] = {}
        for item in (item for read in reads for item in read):
            found.setdefault(item.workspace_id, []).append(item)
        chosen = sorted(each for each in found if all(is_read(read, each) for read in reads))[: count - len(turns)]
        turns |= {each: found[each][:EVENTS_PER_TURN] for each in chosen}
        if not chosen:
            break
        first = id_after(chosen[-1])
        # A slot is read again only if workspaces behind the chosen ones have, or may have, pending events in it.
        slots = [
            slot
            for slot, read in zip(slots, reads, strict=True)
            if len(read) == EVENTS_PER_TURN or (read and read[-1].workspace_id >= first)
        ]
    return turns


def is_read(read: Sequence[PendingEvent], workspace_id: str) -> bool:
    """Return whether the read of a slot has all events of a workspace, or those of this workspace only.

    A full read may end within the events of its last workspace, and lacks those of later workspaces.
    """
    if len(read) < EVENTS_PER_TURN:
        return True
    return workspace_id < read[-1].workspace_id or workspace_id == read[0].workspace_id
