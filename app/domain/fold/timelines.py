"""In which order, and at which instants, the events of a walk count."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.events.events import PASS_ERASED, PASS_MERGED, Event

from .prefetch import effective_ms

Timeline = list[tuple[int, int, str, Event]]
"""(effective ms, occurred ms, id, event), in order."""


def build_timeline(events: Iterable[Event], start_ms: int, floor_ms: int) -> Timeline:
    """The events in the order in which they count, without those that are removed before their time comes."""
    timeline = sorted(
        ((max(effective_ms(e, start_ms), floor_ms), e.occurred_ms, e.id, e) for e in events), key=lambda item: item[:3]
    )
    gone = {item[3].removes: item[0] for item in timeline if item[3].removes is not None}
    timeline = [item for item in timeline if item[0] <= gone.get(item[2], item[0])]
    ended = next((item[0] for item in timeline if item[3].type in (PASS_ERASED, PASS_MERGED)), None)
    return timeline if ended is None else [item for item in timeline if item[0] <= ended]
