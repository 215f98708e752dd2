"""Passes as documents, and back; `from_doc(to_doc(x)) == x`."""

from __future__ import annotations

from app.domain.ids import slot_of
from app.domain.passes.passes import Erased, Membership, Pass, Profile
from app.domain.values.instants import from_ms
from app.store.mongo.decimal128 import from_decimal128, to_decimal128
from app.store.mongo.queries import Doc

from .pass_parts import (
    aggregate_doc,
    aggregate_key,
    aggregates_from,
    entry_doc,
    entry_from,
    lot_doc,
    lots_from,
    memberships_doc,
    profile_doc,
    profile_from,
    state_doc,
    state_from,
)


def to_doc(card: Pass) -> Doc:
    """The whole document of a pass."""
    return {
        "_id": card.id,
        "workspace": card.workspace_id,
        "external_id": card.external_id,
        "base": profile_doc(card.initial_profile),
        "created_at": card.created_at,
        "installed_at": card.installed_at,
        "slot": slot_of(card.id),
        "v": card.version,
        "fid": card.write_id,
        "lb": list(card.last_folded_ids),
        "out": [entry_doc(entry) for entry in card.outbox],
        "aggregates": {aggregate_key(key): aggregate_doc(key, row) for key, row in card.aggregates.items()},
        "state": {key: state_doc(state) for key, state in card.measures.items()},
        "memberships": memberships_doc(card.memberships),
        **progress_doc(card),
        **({"pub": 1} if card.outbox else {}),
        **({} if card.next_due_ms is None else {"due": card.next_due_ms}),
        **({} if card.lots is None else {"lots": {key: lot_doc(lot) for key, lot in card.lots.items()}}),
    }


def progress_doc(card: Pass) -> Doc:
    """The small fields that any write of the fold or a pump sets."""
    return {
        "profile": profile_doc(card.profile),
        "updated_at": card.updated_at,
        "at": card.evaluated_until_ms,
        "rev": card.revision,
        "n": card.last_activity,
        "points": to_decimal128(card.points),
        "tier": card.tier,
    }


def stub_doc(card: Pass, erased: Erased) -> Doc:
    """What is left of an erased pass; `erasing` stays until everything of it is emptied.

    Its external id goes with the document: one that was only changed the faster embedded server gives to nobody again.
    """
    return {**_left(card), "erased": erased_doc(erased), "erasing": 1}


def alias_doc(card: Pass, into: str) -> Doc:
    """What is left of a pass that was merged into another; `merging` stays until its events have moved."""
    born = {"base": profile_doc(card.initial_profile), "born": card.created_at}
    return {**_left(card), **born, "alias": 1, "alias_of": into, "merging": 1}


def _left(card: Pass) -> Doc:
    """Who a pass was to the feed, and the proof of how far it was folded.

    Without `created_at` and `rev` no list and no pump finds it.
    """
    return {
        "_id": card.id,
        "workspace": card.workspace_id,
        "external_id": card.external_id,
        "slot": slot_of(card.id),
        "at": card.evaluated_until_ms,
        "v": card.version,
        "fid": card.write_id,
        "lb": list(card.last_folded_ids),
        "n": card.last_activity,
        "out": [entry_doc(entry) for entry in card.outbox],
        "pub": 1,
    }


def erased_doc(erased: Erased) -> Doc:
    """The figures of an erased pass as stored."""
    segments = list(erased.segments)
    return {"at": erased.at_ms, "events": erased.events, "rows": erased.aggregates, "segments": segments}


def erased_from(doc: Doc) -> Erased:
    """Stored figures of an erased pass."""
    return Erased(doc["at"], doc["events"], doc["rows"], tuple(doc["segments"]))


def erasure_doc(card: Pass, erased: Erased) -> Doc:
    """All that is kept of an erased pass in the end."""
    return {"_id": card.id, "workspace": card.workspace_id, "n": card.last_activity, "erased": erased_doc(erased)}


def _from_left(doc: Doc) -> Pass:
    erased = erased_from(doc["erased"]) if "erased" in doc else None
    born = doc["born"] if erased is None else from_ms(erased.at_ms)
    return Pass(
        id=doc["_id"],
        workspace_id=doc["workspace"],
        external_id=doc["external_id"],
        initial_profile=profile_from(doc.get("base", {})),
        profile=Profile(),
        installed_at=None,
        created_at=born,
        updated_at=born,
        evaluated_until_ms=doc["at"],
        version=doc["v"],
        write_id=doc["fid"],
        last_folded_ids=tuple(doc.get("lb", ())),
        last_activity=doc["n"],
        outbox=tuple(entry_from(entry) for entry in doc.get("out", ())),
        erased=erased,
        alias_of=doc.get("alias_of"),
    )


def from_doc(doc: Doc) -> Pass:
    """The pass of a document; parts left out by a projection are empty."""
    if "erased" in doc or "alias_of" in doc:
        return _from_left(doc)
    return Pass(
        id=doc["_id"],
        workspace_id=doc["workspace"],
        external_id=doc["external_id"],
        initial_profile=profile_from(doc.get("base", {})),
        profile=profile_from(doc["profile"]),
        installed_at=doc["installed_at"],
        created_at=doc["created_at"],
        updated_at=doc["updated_at"],
        evaluated_until_ms=doc["at"],
        revision=doc["rev"],
        points=from_decimal128(doc["points"]),
        aggregates=aggregates_from(doc.get("aggregates", {})),
        measures={key: state_from(state) for key, state in doc.get("state", {}).items()},
        memberships={m["s"]: Membership(m["s"], m["since"], m["rev"], m["c"]) for m in doc.get("memberships", ())},
        version=doc["v"],
        write_id=doc["fid"],
        last_folded_ids=tuple(doc.get("lb", ())),
        last_activity=doc["n"],
        outbox=tuple(entry_from(entry) for entry in doc.get("out", ())),
        next_due_ms=doc.get("due"),
        tier=doc["tier"],
        lots=lots_from(doc.get("lots")),
    )
