"""Which stored events count: for questions about customers, and in a pass.

(Source: docs/explanation/exactly-once.md, "What counts".)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.domain.events.decided import with_decision
from app.domain.events.events import CHECKOUT_DIFFERENCES, INTERNAL_TYPES, RULE_CHANNEL, TOMBSTONES, Event
from app.domain.events.guards import OutcomeStatus
from app.domain.events.tombstones import targets_of
from app.domain.passes.passes import Pass
from app.store.mongo.queries import Doc

from .events import from_doc
from .guards import NOT_DECLINED, is_declined

COUNTED: Sequence[Doc] = ({"type": {"$nin": sorted(INTERNAL_TYPES)}}, NOT_DECLINED)
"""Conditions of the events that count for questions about customers: no internal types, and no declined events."""
NOT_MADE: Sequence[Doc] = (
    {"origin.channel": {"$ne": RULE_CHANNEL}},
    {"type": {"$nin": sorted(CHECKOUT_DIFFERENCES)}},
)
"""Conditions of events that no walk made."""
IS_MADE: Doc = {"$or": [{"$eq": ["$origin.channel", RULE_CHANNEL]}, {"$in": ["$type", sorted(CHECKOUT_DIFFERENCES)]}]}
"""Expression for whether a walk made an event, as `is_made` says."""


def _exists(field: str) -> Doc:
    return {"$ne": [{"$ifNull": [f"${field}", None]}, None]}


WAITS: Doc = {
    "$and": [
        _exists("pend"),
        {
            "$or": [
                {"$lt": ["$pend", 0]},
                {
                    "$and": [
                        {"$ne": [{"$ifNull": ["$moved.told", False]}, True]},
                        {"$not": [IS_MADE]},
                        {"$not": [_exists("outcome")]},
                        {"$or": [_exists("guard"), _exists("correction_of")]},
                    ]
                },
            ]
        },
    ]
}
"""Expression for whether an event counts in no row yet: it is parked, or the fold decides whether it counts.

A parked event has a negative slot. See `must_be_decided` of the fold.
"""
DECIDED: Doc = {
    "$or": [
        {"pend": {"$exists": False}},
        {
            "pend": {"$gte": 0},
            "$or": [
                {"moved.told": True},
                {"origin.channel": RULE_CHANNEL},
                {"type": {"$in": sorted(CHECKOUT_DIFFERENCES)}},
                {"outcome": {"$exists": True}},
                {"guard": {"$exists": False}, "correction_of": {"$exists": False}},
            ],
        },
    ]
}
"""Condition of the events that do not wait, as `WAITS` says. Conditions cost the embedded servers less than expressions."""

IS_ACTIVITY: Doc = {
    "$and": [
        {"$not": [{"$in": ["$type", sorted(INTERNAL_TYPES)]}]},
        {"$ne": ["$outcome.status", OutcomeStatus.DECLINED.value]},
        {"$not": [IS_MADE]},
        {"$not": [WAITS]},
    ]
}
"""Expression for whether an event is an activity of the customer: it meets `COUNTED`, `DECIDED` and `NOT_MADE`."""


def may_count(doc: Mapping[str, Any]) -> bool:
    """Return whether the event of a document meets the conditions `COUNTED`."""
    return doc["type"] not in INTERNAL_TYPES and not is_declined(doc)


def is_made(doc: Mapping[str, Any]) -> bool:
    """Return whether a walk made the event of a document, as `Event.is_made` says."""
    return doc["origin"]["channel"] == RULE_CHANNEL or doc["type"] in CHECKOUT_DIFFERENCES


def waits(doc: Mapping[str, Any]) -> bool:
    """Return whether an event counts in no row yet, as `WAITS` says."""
    slot = doc.get("pend")
    if slot is None or slot < 0:
        return slot is not None
    is_new = not (doc.get("moved", {}).get("told", False) or is_made(doc) or "outcome" in doc)
    return is_new and ("guard" in doc or "correction_of" in doc)


def counting_in(card: Pass) -> Callable[[Doc], Event | None]:
    """Return a function that gives the event of a document as it counts in the pass as read; None if it does not count.

    What counts are the events that are not pending or are in `last_folded_ids`, less the targets of tombstones in
    `last_folded_ids`, and less the declined ones. An event that is decided but not cleared is returned as the clearing
    will store it. Events that the outbox carries are left out: the caller adds them, each once, whether publish has
    inserted them or not.
    """
    folded = frozenset(card.last_folded_ids)
    removed = targets_of(card.last_folded_ids) | {event.id for event in card.made_events}

    def as_it_counts(doc: Doc) -> Event | None:
        if "removed" in doc or doc["type"] in TOMBSTONES or doc["_id"] in removed or is_declined(doc):
            return None
        if "pend" not in doc:
            return from_doc(doc)
        if doc["_id"] not in folded:
            return None
        return with_decision(from_doc(doc), card.decisions.get(doc["_id"]))

    return as_it_counts
