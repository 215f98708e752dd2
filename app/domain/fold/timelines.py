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

    No event counts before `floor_ms`, and no correction before the event that it corrects. Events whose tombstone has an
    earlier effective instant are left out, and so are events after the erasure or merge of the pass.
    """
    ordered = [(max(effective_ms(e, start_ms), floor_ms), e.order, e) for e in complete_orders(events)]
    timeline = sorted(_after_originals(ordered), key=lambda item: item[:2])
    removal_ms = {event.removes: at_ms for at_ms, _, event in timeline if event.removes is not None}
    timeline = [item for item in timeline if item[0] <= removal_ms.get(item[2].id, item[0])]
    end_ms = next((at_ms for at_ms, _, event in timeline if event.type in (PASS_ERASED, PASS_MERGED)), None)
    return timeline if end_ms is None else [item for item in timeline if item[0] <= end_ms]


def _after_originals(items: Timeline) -> Timeline:
    """Return the same events, in which each correction counts at the instant of its original at the earliest."""
    if all(event.correction_of is None for _, _, event in items):
        return items
    instants: dict[str, int] = {}
    moved: Timeline = []
    # By `order`, each correction follows its original.
    for at_ms, order, event in sorted(items, key=lambda item: item[1]):
        instants[event.id] = max(at_ms, instants.get(event.correction_of or "", at_ms))
        moved.append((instants[event.id], order, event))
    return moved
