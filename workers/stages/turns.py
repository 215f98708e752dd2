"""Turns: what a round of the fold reads for other workspaces, while one workspace has a long backlog.

A round reads pending events in the order of slots and passes. If a workspace has 100,000 of them there, the single event of
another workspace may lie behind them all. So a round whose read is full also reads, for the next few other workspaces in
turn, their first events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app.flow import bounds_of
from app.store.stages.fold import PendingEvent
from workers.worker import Worker

WORKSPACES_PER_ROUND = 4
"""Workspaces that get a turn in one round."""
EVENTS_PER_TURN = 50
"""Pending events that one turn reads."""


async def read_turns(worker: Worker, key: str, pending: Sequence[PendingEvent]) -> list[list[PendingEvent]]:
    """Return the first pending events of the next workspaces, one list for each; the fullest workspace gets no turn.

    Two or three round trips if no other workspace has pending events in the slot range, and one more for each that has.
    """
    low, high = bounds_of(key)
    [(fullest, _)] = Counter(item.workspace_id for item in pending).most_common(1)
    after = worker.turns.get(key, "")
    has_wrapped = after == ""
    turns: dict[str, list[PendingEvent]] = {}
    while len(turns) < WORKSPACES_PER_ROUND:
        # The ranges leave out the fullest workspace, whose entries of the index would all be read.
        before = fullest if after < fullest else None
        found = await worker.fold_queries.pending_between(low, high, (after, before), EVENTS_PER_TURN)
        if found:
            after = found[0].workspace_id
            if after in turns:
                break
            turns[after] = [item for item in found if item.workspace_id == after]
        elif before is not None:
            after = fullest
        elif has_wrapped:
            break
        else:
            after, has_wrapped = "", True
    worker.turns[key] = list(turns)[-1] if turns else ""
    return list(turns.values())
