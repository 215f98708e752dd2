"""Passes as documents, and back; `from_doc(to_doc(x)) == x`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from app.domain.activities import Entry
from app.domain.events.events import INTERNAL_TYPES
from app.domain.ids import draw_of, slot_of
from app.domain.passes.passes import Erased, Pass, Profile
from app.domain.state.firings import RuleFirings
from app.domain.values.instants import from_ms
from app.store.mongo.decimal128 import from_decimal128, to_decimal128
from app.store.mongo.queries import Doc

from .guards import decisions_from_docs, decisions_to_docs
from .pass_parts import (
    aggregate_to_doc,
    aggregates_from_docs,
    encode_aggregate_key,
    entry_from_doc,
    entry_to_doc,
    firings_from_doc,
    firings_to_doc,
    lot_to_doc,
    lots_from_docs,
    memberships_from_docs,
    memberships_to_docs,
    pending_from_docs,
    pending_to_docs,
    profile_from_doc,
    profile_to_doc,
    redeemed_from_doc,
    redeemed_to_doc,
    tier_from_doc,
    tier_to_doc,
)
from .pass_search import find_part_to_doc
from .states import state_from_doc, state_to_doc


def to_doc(card: Pass, system_ms: int = 0) -> Doc:
    """Return the whole document of a pass. `system_ms` is the time of the machine, from which its outbox waits."""
    return {
        "_id": card.id,
        "workspace": card.workspace_id,
        "external_id": card.external_id,
        "base": profile_to_doc(card.initial_profile),
        "created_at": card.created_at,
        "slot": slot_of(card.id),
        "draw": draw_of(card.id),
        "v": card.version,
        "fid": card.write_id,
        "lb": list(card.last_folded_ids),
        "out": [entry_to_doc(entry) for entry in card.outbox],
        "aggregates": {encode_aggregate_key(key): aggregate_to_doc(key, row) for key, row in card.aggregates.items()},
        "state": {key: state_to_doc(state) for key, state in card.measures.items()},
        "memberships": memberships_to_docs(card.memberships),
        **progress_to_doc(card),
        **({"pub": system_ms} if card.outbox else {}),
        **made_at_part(card.outbox),
        **({} if card.next_due_ms is None else {"due": card.next_due_ms}),
        **made_parts_to_doc(card),
        **({} if card.lots is None else {"lots": {key: lot_to_doc(lot) for key, lot in card.lots.items()}}),
        **({"fails": card.failures} if card.failures else {}),
        **({"historical": True} if card.historical else {}),
        **({} if card.gift_currency is None else {"gift": card.gift_currency}),
        **decisions_part(card),
        **dirty_part(card),
        **redeemed_part(card),
        **find_part_to_doc(card),
    }


def redeemed_part(card: Pass) -> Doc:
    """Return the units of rewards that the pass has redeemed; nothing if there are none."""
    redeemed = {reward_id: redeemed_to_doc(each) for reward_id, each in card.redeemed.items()}
    return {"redeemed": redeemed} if redeemed else {}


def decisions_part(card: Pass) -> Doc:
    """Return the decisions about the events of the last fold; nothing if there are none."""
    return {"decided": decisions_to_docs(card.decisions)} if card.decisions else {}


def dirty_part(card: Pass) -> Doc:
    """Return the months of the pass that must be sealed, and the earliest of them; nothing if there are none."""
    months = sorted(card.dirty_months)
    return {"dirty_months": months, "dirty_from": months[0]} if months else {}


def made_parts_to_doc(card: Pass) -> Doc:
    """Return what rules left in the pass; nothing for a pass on which none has fired."""
    made = {encode_aggregate_key(key): aggregate_to_doc(key, row) for key, row in card.made_aggregates.items()}
    wait = pending_to_docs(card.pending_points)
    return {**firings_part(card), **{name: part for name, part in (("made", made), ("wait", wait)) if part}}


def made_at_part(entries: Iterable[Entry]) -> Doc:
    """Return the instant of the earliest made event that outbox entries carry, in milliseconds; nothing if there is none.

    Rollups have these events only after publish has inserted them. The index is partial on instants from 1970 on, so
    earlier ones are stored as 0. Internal events are in no rollup.
    """
    made = [entry.made for entry in entries if entry.made is not None]
    instants = [event.occurred_ms for event in made if event.type not in INTERNAL_TYPES]
    return {"made_at": max(0, min(instants))} if instants else {}


def firings_part(card: Pass) -> Doc:
    """Return the firings of the pass; nothing if no rule has fired on it."""
    fired = {rule_id: firings_to_doc(each) for rule_id, each in card.firings.items()}
    return {"fired": fired} if fired else {}


def progress_to_doc(card: Pass) -> Doc:
    """Return the small fields that every write of fold, due and backfill sets."""
    return {
        "profile": profile_to_doc(card.profile),
        "updated_at": card.updated_at,
        "at": card.evaluated_until_ms,
        "rev": card.revision,
        "n": card.last_activity,
        "points": to_decimal128(card.points),
        **tier_to_doc(card.tier),
        "installed_at": card.installed_at,
        "installed_by_event": card.installed_by_event,
    }


def stub_to_doc(card: Pass, erased: Erased, system_ms: int) -> Doc:
    """Return what is kept of an erased pass; `erasing` stays until the erase stage has emptied everything else.

    The stub keeps the external id until the erasure is finished: the erase stage needs it to free the name.
    """
    return {**_remainder_to_doc(card, system_ms), "erased": erased_to_doc(erased), "erasing": 1}


def alias_to_doc(card: Pass, into: str, system_ms: int) -> Doc:
    """Return what is kept of a merged pass; `merging` stays until its events have moved."""
    origin = {"base": profile_to_doc(card.initial_profile), "born": card.created_at, **firings_part(card)}
    state = {"alias": 1, "alias_of": into, "merging": 1, "had_checkouts": card.had_families}
    return {**_remainder_to_doc(card, system_ms), **origin, **tier_to_doc(card.tier), **state}


def _remainder_to_doc(card: Pass, system_ms: int) -> Doc:
    """Return the identity of a pass in the feed, and the proof of how far it was folded.

    Without `created_at` no list returns the document, and without `rev` the backfill does not.
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
        "out": [entry_to_doc(entry) for entry in card.outbox],
        "pub": system_ms,
        **made_at_part(card.outbox),
        **decisions_part(card),
    }


def erased_to_doc(erased: Erased) -> Doc:
    """Return the document of an erased pass's figures."""
    segments = list(erased.segments)
    return {"at": erased.at_ms, "events": erased.events, "rows": erased.aggregates, "segments": segments}


def erased_from_doc(doc: Doc) -> Erased:
    """Return the figures of an erased pass from a document."""
    return Erased(at_ms=doc["at"], events=doc["events"], aggregates=doc["rows"], segments=tuple(doc["segments"]))


def erasure_to_doc(card: Pass, erased: Erased) -> Doc:
    """Return all that is kept of an erased pass after its erasure is finished."""
    return {"_id": card.id, "workspace": card.workspace_id, "n": card.last_activity, "erased": erased_to_doc(erased)}


def grave_to_doc(card: Pass, erased: Erased) -> Doc:
    """Return what keeps the id of an erased pass taken, after its erasure is finished. It has no personal data."""
    # The unique index of earlier versions, where it still exists, takes each external id once.
    emptied = replace(card, external_id=card.id, last_folded_ids=(), decisions={}, outbox=())
    rest = _remainder_to_doc(emptied, 0)
    del rest["pub"]
    return {**rest, "erased": erased_to_doc(erased), "gone": 1}


def _firings_of(doc: Doc) -> RuleFirings:
    return {rule_id: firings_from_doc(each) for rule_id, each in doc.get("fired", {}).items()}


def _from_remainder(doc: Doc) -> Pass:
    erased = erased_from_doc(doc["erased"]) if "erased" in doc else None
    created_at = doc["born"] if erased is None else from_ms(erased.at_ms)
    return Pass(
        id=doc["_id"],
        workspace_id=doc["workspace"],
        external_id=doc["external_id"],
        initial_profile=profile_from_doc(doc.get("base", {})),
        profile=Profile(),
        installed_at=None,
        created_at=created_at,
        updated_at=created_at,
        evaluated_until_ms=doc["at"],
        version=doc["v"],
        write_id=doc["fid"],
        last_folded_ids=tuple(doc.get("lb", ())),
        last_activity=doc["n"],
        outbox=tuple(entry_from_doc(entry) for entry in doc.get("out", ())),
        erased=erased,
        alias_of=doc.get("alias_of"),
        firings=_firings_of(doc),
        tier=tier_from_doc(doc),
        had_families=doc.get("had_checkouts", False),
        decisions=decisions_from_docs(doc.get("decided", ())),
    )


def from_doc(doc: Doc) -> Pass:
    """Return the pass of a document. Parts that a projection left out are empty."""
    if "erased" in doc or "alias_of" in doc:
        return _from_remainder(doc)
    return Pass(
        id=doc["_id"],
        workspace_id=doc["workspace"],
        external_id=doc["external_id"],
        initial_profile=profile_from_doc(doc.get("base", {})),
        profile=profile_from_doc(doc["profile"]),
        installed_at=doc["installed_at"],
        created_at=doc["created_at"],
        updated_at=doc["updated_at"],
        evaluated_until_ms=doc["at"],
        revision=doc["rev"],
        points=from_decimal128(doc["points"]),
        aggregates=aggregates_from_docs(doc.get("aggregates", {})),
        measures={key: state_from_doc(state) for key, state in doc.get("state", {}).items()},
        memberships=memberships_from_docs(doc.get("memberships", ())),
        version=doc["v"],
        write_id=doc["fid"],
        last_folded_ids=tuple(doc.get("lb", ())),
        last_activity=doc["n"],
        outbox=tuple(entry_from_doc(entry) for entry in doc.get("out", ())),
        next_due_ms=doc.get("due"),
        tier=tier_from_doc(doc),
        lots=lots_from_docs(doc.get("lots")),
        made_aggregates=aggregates_from_docs(doc.get("made", {})),
        firings=_firings_of(doc),
        pending_points=pending_from_docs(doc.get("wait", ())),
        failures=0 if "parked" in doc else doc.get("fails", 0),
        gift_currency=doc.get("gift"),
        historical=doc.get("historical", False),
        installed_by_event=doc.get("installed_by_event", False),
        redeemed={reward_id: redeemed_from_doc(each) for reward_id, each in doc.get("redeemed", {}).items()},
        decisions=decisions_from_docs(doc.get("decided", ())),
        searchable=tuple(doc["searched"]) if "searched" in doc else None,
        dirty_months=frozenset(doc.get("dirty_months", ())),
    )
