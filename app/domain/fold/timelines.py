"""Timeline of a walk: the order and the instants in which its events count."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.events.events import PASS_ERASED, PASS_MERGED, Event
from app.domain.events.ordering import complete_orders

from .prefetch import effective_ms

Timeline = list[tuple[int, tuple[int, int, int, str], Event]]
"""Sorted tuples (effective ms, order, event)."""


def build_timeline(events: Iterable[Event], start_ms: int, floor_ms: int) -> Timeline:
    """Return the events in the order in which they count, for a pass that was evaluated until `start_ms`.

    No event counts before `floor_ms`. Events whose tombstone has an earlier effective instant are left out, and so are
    events after the erasure or merge of the pass.
    """
    timeline = sorted(
        ((max(effective_ms(e, start_ms), floor_ms), e.order, e) for e in complete_orders(events)),
        key=lambda item: item[:2],
    )
    removal_ms = {event.removes: at_ms for at_ms, _, event in timeline if event.removes is not None}
    timeline = [item for item in timeline if item[0] <= removal_ms.get(item[2].id, item[0])]
    end_ms = next((at_ms for at_ms, _, event in timeline if event.type in (PASS_ERASED, PASS_MERGED)), None)
    return timeline if end_ms is None else [item for item in timeline if item[0] <= end_ms]
