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
    `last_folded_ids`.
    """
    folded, removed = frozenset(card.last_folded_ids), targets_of(card.last_folded_ids)

    def counts(doc: Mapping[str, Any]) -> bool:
        if "removed" in doc or doc["type"] in TOMBSTONES or doc["_id"] in removed:
            return False
        return "pend" not in doc or doc["_id"] in folded

    return counts
