"""Which stored events count in a pass. (Source: docs/explanation/exactly-once.md, "What counts".)"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.domain.events.events import TOMBSTONES
from app.domain.events.tombstones import targets_of
from app.domain.passes.passes import Pass


def counting_in(card: Pass) -> Callable[[Mapping[str, Any]], bool]:
    """Return a predicate for the documents of events that count in the pass as read.

    They are the events that are not pending or are in `last_folded_ids`, less the targets of tombstones in
    `last_folded_ids`. Events that the outbox carries are left out: the caller adds them, each once, whether publish has
    inserted them or not.
    """
    folded = frozenset(card.last_folded_ids)
    removed = targets_of(card.last_folded_ids) | {event.id for event in card.made_events}

    def counts(doc: Mapping[str, Any]) -> bool:
        if "removed" in doc or doc["type"] in TOMBSTONES or doc["_id"] in removed:
            return False
        return "pend" not in doc or doc["_id"] in folded

    return counts
