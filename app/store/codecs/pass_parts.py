"""The parts of a pass's document: its profile, its figures, its outbox; each `…_from(…_doc(x)) == x`."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from bson import Decimal128

from app.domain.activities import Entry
from app.domain.events.events import Category
from app.domain.passes.passes import Membership, Profile
from app.domain.state.aggregates import Aggregate, Aggregates
from app.domain.state.measures import FirstAndLast, State, Total, Window
from app.domain.state.points import Lot, Lots
from app.store.mongo.decimal128 import from_decimal128, to_decimal128
from app.store.mongo.queries import Doc

from .events import end_doc, end_from


def profile_doc(profile: Profile) -> Doc:
    """A profile as stored."""
    return {
        "holder": dict(profile.holder),
        "fields": dict(profile.fields),
        "metadata": dict(profile.metadata),
        "status": profile.status,
    }


def profile_from(doc: Doc) -> Profile:
    """A stored profile."""
    if not doc:
        return Profile()
    return Profile(doc["holder"], doc["fields"], doc["metadata"], doc["status"])


def memberships_doc(memberships: Mapping[str, Membership]) -> list[Doc]:
    """Current memberships as stored: a list, so that one index finds the members of a segment."""
    return [
        {"s": m.segment_id, "since": m.since_ms, "rev": m.revision, "c": dict(m.cause)} for m in memberships.values()
    ]


def aggregate_key(key: tuple[str, str | None]) -> str:
    """A field name for a row: dots and dollars of type names mean something else to Mongo."""
    kind, currency = key
    return f"{kind.replace('%', '%25').replace('.', '%2E').replace('$', '%24')}|{currency or ''}"


def aggregate_doc(key: tuple[str, str | None], row: Aggregate) -> Doc:
    """One aggregate as stored."""
    return {
        "t": key[0],
        "u": key[1],
        "c": row.category.value,
        "n": row.count,
        "sum": to_decimal128(row.sum),
        "min": None if row.min is None else to_decimal128(row.min),
        "max": None if row.max is None else to_decimal128(row.max),
        "first": row.first_ms,
        "last": row.last_ms,
    }


def aggregates_from(docs: Mapping[str, Doc]) -> Aggregates:
    """Stored aggregates."""
    return {
        (d["t"], d["u"]): Aggregate(
            Category(d["c"]),
            d["n"],
            from_decimal128(d["sum"]),
            None if d["min"] is None else from_decimal128(d["min"]),
            None if d["max"] is None else from_decimal128(d["max"]),
            d["first"],
            d["last"],
        )
        for d in docs.values()
    }


def state_doc(state: State) -> Doc:
    """A measure's state as stored: {t} a total, {f, l} a span, {v, i, w, m} a window."""
    match state:
        case Total(value):
            return {"t": to_bson(value)}
        case FirstAndLast(first, last):
            return {"f": first, "l": last}
        case Window():
            return {
                "v": to_bson(state.value),
                "i": list(state.instants),
                "w": [to_bson(weight) for weight in state.weights],
                "m": state.has_more,
            }


def state_from(doc: Doc) -> State:
    """A stored state."""
    if "t" in doc:
        return Total(from_bson(doc["t"]))
    if "f" in doc:
        return FirstAndLast(doc["f"], doc["l"])
    return Window(from_bson(doc["v"]), tuple(doc["i"]), tuple(from_bson(w) for w in doc["w"]), doc["m"])


def lot_doc(lot: Lot) -> Doc:
    """A lot of points as stored: what is left, when it was given, its end {at} or {days}."""
    return {"p": to_decimal128(lot.remaining), "g": lot.granted_ms, "e": end_doc(lot.end)}


def lots_from(docs: Mapping[str, Doc] | None) -> Lots | None:
    """Stored lots; None for a pass that never had points with an end."""
    if docs is None:
        return None
    return {key: Lot(from_decimal128(d["p"]), d["g"], end_from(d["e"])) for key, d in docs.items()}


def entry_doc(entry: Entry) -> Doc:
    """An outbox entry as stored; flags that are off are left out."""
    doc: Doc = {
        "n": entry.number,
        "type": entry.type,
        "at": entry.at_ms,
        "rec": entry.recorded_ms,
        "cause": dict(entry.cause),
        "refs": {name: _ref_bson(value) for name, value in entry.refs.items()},
    }
    for flag in ("late", "silent", "historical"):
        if getattr(entry, flag):
            doc[flag] = True
    return doc


def entry_from(doc: Doc) -> Entry:
    """A stored outbox entry."""
    return Entry(
        doc["n"],
        doc["type"],
        doc["at"],
        doc["rec"],
        doc["cause"],
        {
            name: tuple(from_bson(v) for v in value) if isinstance(value, list) else from_bson(value)
            for name, value in doc["refs"].items()
        },
        doc.get("late", False),
        doc.get("silent", False),
        doc.get("historical", False),
    )


def to_bson(value: Any) -> Any:
    """A value for Mongo: decimals as Decimal128, anything else as it is."""
    return to_decimal128(value) if isinstance(value, Decimal) else value


def from_bson(value: Any) -> Any:
    """The inverse of `to_bson`."""
    return from_decimal128(value) if isinstance(value, Decimal128) else value


def _ref_bson(value: object) -> object:
    return [to_bson(v) for v in value] if isinstance(value, (list, tuple)) else to_bson(value)
