"""Events as documents, and back; `from_doc(to_doc(x)) == x`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.domain.events.events import OWN_SOURCE, TOMBSTONES, Category, Event, Move, Origin
from app.domain.events.points_expiry import PointsExpiry
from app.domain.events.tombstones import Tombstone
from app.domain.ids import slot_of
from app.domain.rollups.marks import counted_hour_of
from app.domain.values.decimals import ZERO
from app.domain.values.instants import from_ms, to_ms
from app.store.mongo.decimal128 import from_decimal128, to_decimal128
from app.store.mongo.queries import Doc

from .guards import guard_from_doc, guard_to_doc, outcome_from_doc

OPTIONAL = (
    "currency", "external_id", "field_name", "old_value", "new_value", "correction_of", "label", "definition_version",
    "root",
)  # fmt: skip
MADE_ORIGIN = ("rule", "rule_version", "cause", "effect", "target")
"""Fields of the origin that only events that rules made or caused have."""


def to_doc(event: Event, workspace_id: str, fingerprint: bytes, slot: int) -> Doc:
    """Return the document of a pending event.

    `ph` stores the fingerprint, which distinguishes a repeat from a conflict. `pend` stores the slot while the event is
    pending. `metadata` stores the form that filters read; `metadata_sent` what the client sent, if the two differ.
    """
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
        doc["metadata"] = event.details
    if event.split_metadata is not None:
        doc["metadata_sent"] = event.metadata
    if event.changes:
        doc["changes"] = event.changes
    if event.corrected_order is not None:
        doc["corrects"] = {"ms": event.corrected_order[0], "depth": event.corrected_order[1]}
    if event.points_expiry is not None:
        doc["points_end"] = expiry_to_doc(event.points_expiry)
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
        doc["moved"] = move_to_doc(event.move)
    if event.step:
        doc["step"] = event.step
    if event.guard is not None:
        doc["guard"] = guard_to_doc(event.guard)
        if event.guard.reward is not None:
            doc["redeems"] = 1  # an index finds the redemptions of a pass by it
    if event.performed_at is not None:
        doc["performed_at"] = event.performed_at
    if event.matures_ms is not None:
        doc["points_from"] = event.matures_ms
    if event.is_made or origin.cause is not None:
        doc["origin"] |= {name: value for name in MADE_ORIGIN if (value := getattr(origin, name)) is not None} | {
            "depth": origin.depth
        }
    for name in OPTIONAL:
        value = getattr(event, name)
        if value is not None:
            doc[name] = value
    return doc


def made_to_doc(event: Event) -> Doc:
    """Return the document of an event that a walk made, as the outbox holds it: without the workspace."""
    doc = to_doc(event, "", b"", 0)
    return {name: value for name, value in doc.items() if name not in ("workspace", "ph", "pend")}


def tombstone_to_doc(tombstone: Tombstone, workspace_id: str, origin: Origin) -> Doc:
    """Return the document of a pending tombstone."""
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
        doc["into"] = tombstone.into
    if tombstone.target_hour_ms is not None:
        doc["hour"] = from_ms(tombstone.target_hour_ms)
    return doc


def build_stub(workspace_id: str, pass_id: str, at: datetime) -> Doc:
    """Return all that is kept of a removed event, apart from its id. Without `occurred_at`, no list returns it."""
    return {"workspace": workspace_id, "pass": pass_id, "removed": at}


def changed_hour_of_doc(doc: Doc) -> int | None:
    """Return the hour whose rollup changes when a pending document is folded, by its first instant in milliseconds.

    It is the hour of an event, and the hour of the target of a tombstone. None for internal events, for tombstones of
    passes, and for a tombstone that was recorded without the hour. The document may have only `type`, `occurred_at` and
    `hour`.
    """
    if "hour" in doc:
        return to_ms(doc["hour"])
    return counted_hour_of(doc["type"], doc["occurred_at"]) if "occurred_at" in doc else None


def is_event(doc: Doc) -> bool:
    """Return whether a document is an event, not a stub or a tombstone."""
    return "removed" not in doc and doc["type"] not in TOMBSTONES


def from_doc(doc: Doc) -> Event:
    """Return the event of a document."""
    get = doc.get
    amount: Any = get("amount")
    points: Any = get("points")
    origin = doc["origin"]
    metadata, sent = get("metadata", {}), get("metadata_sent")
    return Event(
        id=doc["_id"],
        pass_id=doc["pass"],
        category=Category.of_stored(doc["category"]),
        type=doc["type"],
        amount=None if amount is None else from_decimal128(amount),
        currency=get("currency"),
        points=ZERO if points is None else from_decimal128(points),
        source=doc["source"],
        external_id=get("external_id"),
        metadata=metadata if sent is None else sent,
        split_metadata=None if sent is None else metadata,
        occurred_at=doc["occurred_at"],
        recorded_at=doc["recorded_at"],
        origin=Origin(
            channel=origin["channel"],
            actor=origin.get("actor"),
            ip_address=origin.get("ip_address"),
            user_agent=origin.get("user_agent"),
            batch=origin.get("batch"),
            staff=origin.get("staff"),
            depth=origin.get("depth", 0),
            **{name: origin[name] for name in MADE_ORIGIN if name in origin},
        ),
        field_name=get("field_name"),
        old_value=get("old_value"),
        new_value=get("new_value"),
        correction_of=get("correction_of"),
        corrected_order=(doc["corrects"]["ms"], doc["corrects"]["depth"]) if "corrects" in doc else None,
        historical=get("historical", False),
        changes=get("changes", {}),
        removes=get("removes"),
        into=get("into"),
        move=move_from_doc(doc["moved"]) if "moved" in doc else None,
        points_expiry=expiry_from_doc(doc["points_end"]) if "points_end" in doc else None,
        label=get("label"),
        definition_version=get("definition_version"),
        step=get("step", 0),
        root=get("root"),
        matures_ms=get("points_from"),
        guard=guard_from_doc(doc["guard"]) if "guard" in doc else None,
        performed_at=get("performed_at"),
        outcome=outcome_from_doc(doc),
    )


def move_to_doc(move: Move) -> Doc:
    """Return the document of a move.

    It contains the pass where the event was recorded, the number of moves, and whether the event was published.
    """
    return {"home": move.home_pass_id, "n": move.count, "told": move.was_published}


def move_from_doc(doc: Doc) -> Move:
    """Return the move of a document."""
    return Move(doc["home"], doc["n"], doc["told"])


def expiry_to_doc(end: PointsExpiry) -> Doc:
    """Return the document of an expiry of points: {at} in milliseconds, or {days}."""
    return {"days": end.after_days} if end.at_ms is None else {"at": end.at_ms}


def expiry_from_doc(doc: Doc) -> PointsExpiry:
    """Return the expiry of points of a document."""
    return PointsExpiry(doc.get("at"), doc.get("days"))
