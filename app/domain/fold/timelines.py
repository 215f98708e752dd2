"""Timeline of a walk: the order and the instants in which its events count."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.events.events import PASS_ERASED, PASS_MERGED, Event

from .prefetch import effective_ms

Timeline = list[tuple[int, int, str, Event]]
"""Sorted tuples (effective ms, occurred ms, id, event)."""


def build_timeline(events: Iterable[Event], start_ms: int, floor_ms: int) -> Timeline:
    """Return the events in the order in which they count, for a pass that was evaluated until `start_ms`.

    No event counts before `floor_ms`. Events whose tombstone has an earlier effective instant are left out, and so are
    events after the erasure or merge of the pass.
    """
    timeline = sorted(
        ((max(effective_ms(e, start_ms), floor_ms), e.occurred_ms, e.id, e) for e in events), key=lambda item: item[:3]
    )
    removal_ms = {item[3].removes: item[0] for item in timeline if item[3].removes is not None}
    timeline = [item for item in timeline if item[0] <= removal_ms.get(item[2], item[0])]
    end_ms = next((item[0] for item in timeline if item[3].type in (PASS_ERASED, PASS_MERGED)), None)
    return timeline if end_ms is None else [item for item in timeline if item[0] <= end_ms]
