"""Events as documents, and back; `from_doc(to_doc(x)) == x`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.domain.events.events import OWN_SOURCE, TOMBSTONES, Category, Event, Move, Origin
from app.domain.events.points_expiry import PointsExpiry
from app.domain.events.tombstones import Tombstone
from app.domain.ids import slot_of
from app.domain.values.decimals import ZERO
from app.store.mongo.decimal128 import from_decimal128, to_decimal128
from app.store.mongo.queries import Doc

OPTIONAL = (
    "currency", "external_id", "field_name", "old_value", "new_value", "correction_of", "label", "definition_version",
)  # fmt: skip


def to_doc(event: Event, workspace_id: str, fingerprint: bytes, slot: int) -> Doc:
    """The document of an event not yet folded: `ph` tells a repeat from a conflict, `pend` says that it waits, and where."""
    origin = event.origin
    doc: Doc = {
        "_id": event.id,
        "workspace": workspace_id,
        "pass": event.pass_id,
        "category": event.category.value,
        "type": event.type,
        "source": event.source,
        "occurred_at": event.occurred_at,
        "recorded_at": event.recorded_at,
        "origin": {"channel": origin.channel, "actor": origin.actor},
        "ph": fingerprint,
        "pend": slot,
    }
    if event.amount is not None:
        doc["amount"] = to_decimal128(event.amount)
    if event.points:
        doc["points"] = to_decimal128(event.points)
    if event.metadata:
        doc["metadata"] = event.metadata
    if event.changes:
        doc["changes"] = event.changes
    if event.points_expiry is not None:
        doc["points_end"] = end_doc(event.points_expiry)
    if event.historical:
        doc["historical"] = True
    if origin.ip_address is not None:
        doc["origin"]["ip_address"] = origin.ip_address
    if origin.user_agent is not None:
        doc["origin"]["user_agent"] = origin.user_agent
    if origin.batch is not None:
        doc["origin"]["batch"] = origin.batch
    if origin.staff is not None:
        doc["origin"]["staff"] = origin.staff
    if event.move is not None:
        doc["moved"] = move_doc(event.move)
    for name in OPTIONAL:
        value = getattr(event, name)
        if value is not None:
            doc[name] = value
    return doc


def tombstone_doc(tombstone: Tombstone, workspace_id: str, origin: Origin) -> Doc:
    """The document of a tombstone not yet folded."""
    doc: Doc = {
        "_id": tombstone.id,
        "workspace": workspace_id,
        "pass": tombstone.pass_id,
        "category": Category.CUSTOM.value,
        "type": tombstone.type,
        "source": OWN_SOURCE,
        "occurred_at": tombstone.recorded_at,
        "recorded_at": tombstone.recorded_at,
        "origin": {"channel": origin.channel, "actor": origin.actor, "batch": origin.batch},
        "pend": slot_of(tombstone.pass_id),
    }
    if tombstone.removes is not None:
        doc["removes"] = tombstone.removes
    if tombstone.into is not None:
        doc |= {"into": tombstone.into, "merge": tombstone.rank}
    return doc


def stub_doc(workspace_id: str, pass_id: str, at: datetime) -> Doc:
    """All that is left of a removed event, its id apart: without an instant no list finds it."""
    return {"workspace": workspace_id, "pass": pass_id, "removed": at}


def is_event(doc: Doc) -> bool:
    """Whether a document is an event: neither what is left of a removed one, nor what removes one."""
    return "removed" not in doc and doc["type"] not in TOMBSTONES


def from_doc(doc: Doc) -> Event:
    """The event of a document."""
    get = doc.get
    amount: Any = get("amount")
    points: Any = get("points")
    origin = doc["origin"]
    return Event(
        doc["_id"],
        doc["pass"],
        Category(doc["category"]),
        doc["type"],
        None if amount is None else from_decimal128(amount),
        get("currency"),
        ZERO if points is None else from_decimal128(points),
        doc["source"],
        get("external_id"),
        get("metadata", {}),
        doc["occurred_at"],
        doc["recorded_at"],
        Origin(
            origin["channel"],
            origin.get("actor"),
            origin.get("ip_address"),
            origin.get("user_agent"),
            origin.get("batch"),
            origin.get("staff"),
        ),
        get("field_name"),
        get("old_value"),
        get("new_value"),
        get("correction_of"),
        get("historical", False),
        get("changes", {}),
        removes=get("removes"),
        into=get("into"),
        move=move_from(doc["moved"]) if "moved" in doc else None,
        points_expiry=end_from(doc["points_end"]) if "points_end" in doc else None,
        label=get("label"),
        definition_version=get("definition_version"),
    )


def move_doc(move: Move) -> Doc:
    """How an event came to its pass, as stored."""
    return {"home": move.home_pass_id, "n": move.count, "told": move.was_published}


def move_from(doc: Doc) -> Move:
    """A stored move."""
    return Move(doc["home"], doc["n"], doc["told"])


def end_doc(end: PointsExpiry) -> Doc:
    """When points end, as stored: {at} in ms, or {days}."""
    return {"days": end.after_days} if end.at_ms is None else {"at": end.at_ms}


def end_from(doc: Doc) -> PointsExpiry:
    """A stored end of points."""
    return PointsExpiry(doc.get("at"), doc.get("days"))
