"""Corrections wait for the events that they correct: a round takes no correction before its original.

(Source: docs/explanation/declined-events.md.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.domain.events.ordering import originals_of, without_waiting
from app.domain.passes.passes import Pass
from app.store.stages.pending import PendingAt, PendingEvent
from workers.worker import Worker

from .rounds import Backlog


async def add_originals(
    worker: Worker, backlog: Backlog, passes: Mapping[str, Pass], still_pending: dict[str, PendingAt]
) -> Backlog:
    """Return the backlog, with the originals of passes of which only corrections were read. They are added to both.

    A round reads the oldest events of a pass. If all of them are dated before the events that they correct, it reads those
    by id. They are pending, and were when the round looked: so they do not count in the pass as read. No read is made if one
    event of each pass need not wait.
    """
    for pass_id, card in passes.items():
        events = backlog.events_of(pass_id)
        while events and not without_waiting(events, still_pending):
            unread = originals_of(events) - {event.id for event in events}
            own = {each for each in unread if each in still_pending and still_pending[each].pass_id == pass_id}
            found = await worker.fold_queries.pending_by_ids(dict.fromkeys(own, card.workspace_id)) if own else []
            if not found:
                break
            events += found
            items = [PendingEvent(card.workspace_id, event) for event in events]
            backlog = replace(backlog, by_pass={**backlog.by_pass, pass_id: items})
            further = dict.fromkeys(originals_of(found) - still_pending.keys(), card.workspace_id)
            still_pending |= await worker.fold_queries.still_pending(list(further), workspace_ids=further)
    return backlog
