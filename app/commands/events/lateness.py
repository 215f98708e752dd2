"""Lateness: whether an event occurred before an instant at which its pass was evaluated already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.store.workspace.workspace import Workspace


class RecordedEvent(NamedTuple):
    """Event as lateness needs it: its id, its pass, and the instant in ms in the order in which events count."""

    id: str
    pass_id: str
    order_ms: int


async def find_late(workspace: Workspace, events: Sequence[RecordedEvent]) -> dict[RecordedEvent, bool]:
    """Return for each event whether it counts late. Two to four round trips.

    An event that is not counted yet is compared with its pass. Activities of other events say whether these counted late.
    """
    passes = await workspace.outboxes.evaluated({event.pass_id for event in events})
    states = await workspace.fold_states.read(event.id for event in events)
    late: dict[RecordedEvent, bool] = {}
    counted: list[RecordedEvent] = []
    for event in events:
        card, state = passes.get(event.pass_id), states.get(event.id)
        if card is None or state is None or state.removed:
            late[event] = False
        # The state was read after the pass. So an event that was pending then, and that the pass had not counted, was not
        # counted when the pass was read.
        elif state.folded or event.id in card.last_folded_ids:
            counted.append(event)
        else:
            late[event] = event.order_ms <= card.until_ms
    published = await _find_published_late(workspace, counted) if counted else set()
    return late | {event: event.id in published for event in counted}


async def _find_published_late(workspace: Workspace, events: Sequence[RecordedEvent]) -> set[str]:
    ids = {event.id for event in events}
    outboxes = await workspace.outboxes.entries({event.pass_id for event in events})
    late = {
        str(entry.cause.get("event"))
        for entries in outboxes.values()
        for entry in entries
        if entry.late and entry.cause.get("event") in ids
    }
    log = await workspace.activities.of_events(ids)
    return late | {event_id for event_id, found in log.items() if any(activity.late for activity in found)}
