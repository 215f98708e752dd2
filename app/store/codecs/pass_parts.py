"""Parts of the document of a pass: profile, aggregates, lots, outbox; each conversion has its inverse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from bson import Decimal128

from app.domain.activities import Entry
from app.domain.events.events import Category
from app.domain.events.spend import SPEND_CATEGORY
from app.domain.passes.consents import Consent
from app.domain.passes.passes import Membership, PassTier, Profile
from app.domain.state.aggregates import Aggregate, Aggregates
from app.domain.state.firings import Firings
from app.domain.state.lots import Lot, Lots, Pending, PendingPoints
from app.domain.state.redeemed import Redeemed
from app.domain.values.decimals import ZERO, plain
from app.store.mongo.decimal128 import MAX_DIGITS, from_decimal128, to_decimal128
from app.store.mongo.queries import Doc

from . import events
from .events import expiry_from_doc, expiry_to_doc, made_to_doc


def profile_to_doc(profile: Profile) -> Doc:
    """Return the document of a profile."""
    return {
        "holder": dict(profile.holder),
        "fields": dict(profile.fields),
        "metadata": dict(profile.metadata),
        "status": profile.status,
        **({"problems": dict(profile.problems)} if profile.problems else {}),
        **({"lists": dict(profile.lists)} if profile.lists else {}),
        **({"consents": [_consent_to_doc(*each) for each in profile.consents.items()]} if profile.consents else {}),
    }


def profile_from_doc(doc: Doc) -> Profile:
    """Return the profile from a document."""
    if not doc:
        return Profile()
    return Profile(
        holder=doc["holder"],
        fields=doc["fields"],
        metadata=doc["metadata"],
        status=doc["status"],
        problems=doc.get("problems", {}),
        lists=doc.get("lists", {}),
        consents={each["key"]: _consent_from_doc(each) for each in doc.get("consents", ())},
    )


def _consent_to_doc(key: str, consent: Consent) -> Doc:
    how = {} if consent.how is None else {"how": consent.how}
    return {"key": key, "given": consent.given, "since": consent.since_ms, "event": consent.event_id, **how}


def _consent_from_doc(doc: Doc) -> Consent:
    return Consent(doc["given"], doc["since"], doc["event"], how=doc.get("how"))


def memberships_to_docs(memberships: Mapping[str, Membership]) -> list[Doc]:
    """Return the documents of current memberships: a list, so that one index finds the members of a segment."""
    return [
        {
            "s": m.segment_id,
            "since": m.since_ms,
            "rev": m.revision,
            "c": dict(m.cause),
            **({"n": m.number} if m.number else {}),
        }
        for m in memberships.values()
    ]


def memberships_from_docs(docs: Sequence[Doc]) -> dict[str, Membership]:
    """Return the current memberships from their documents, by segment id."""
    return {
        doc["s"]: Membership(doc["s"], doc["since"], doc["rev"], cause=doc["c"], number=doc.get("n", 0)) for doc in docs
    }


def tier_to_doc(tier: PassTier | None) -> Doc:
    """Return the fields of a tier. The key has a field of its own, as in version 0.1.0, where it was always null."""
    if tier is None:
        return {"tier": None, "tier_span": None}
    return {"tier": tier.key, "tier_span": {"since": tier.since_ms, "until": tier.until_ms}}


def tier_from_doc(doc: Doc) -> PassTier | None:
    """Return the tier of the document of a pass."""
    key, span = doc.get("tier"), doc.get("tier_span")
    return None if key is None or span is None else PassTier(key, span["since"], span["until"])


def encode_aggregate_key(key: tuple[str, str | None]) -> str:
    """Return the field name of an aggregate.

    Dots and dollars in types are escaped, because they have a meaning in MongoDB.
    """
    event_type, currency = key
    return f"{event_type.replace('%', '%25').replace('.', '%2E').replace('$', '%24')}|{currency or ''}"


def aggregate_to_doc(key: tuple[str, str | None], row: Aggregate) -> Doc:
    """Return the document of one aggregate. `spent` is stored only if it does not follow from category and sum."""
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
        **({} if row.spent == _spent_by_category(row.category, row.sum) else {"spent": to_decimal128(row.spent)}),
    }


def _spent_by_category(category: Category, total: Decimal) -> Decimal:
    return total if category is SPEND_CATEGORY else ZERO


def aggregates_from_docs(docs: Mapping[str, Doc]) -> Aggregates:
    """Return the aggregates from their documents."""
    return {(doc["t"], doc["u"]): _aggregate_from_doc(doc) for doc in docs.values()}


def _aggregate_from_doc(doc: Doc) -> Aggregate:
    category, total = Category.of_stored(doc["c"]), from_decimal128(doc["sum"])
    return Aggregate(
        category=category,
        count=doc["n"],
        sum=total,
        min=None if doc["min"] is None else from_decimal128(doc["min"]),
        max=None if doc["max"] is None else from_decimal128(doc["max"]),
        first_ms=doc["first"],
        last_ms=doc["last"],
        spent=from_decimal128(doc["spent"]) if "spent" in doc else _spent_by_category(category, total),
    )


def lot_to_doc(lot: Lot) -> Doc:
    """Return the document of a lot of points: {p} what is left, {g} when it was granted, {e} its expiry."""
    return {"p": to_decimal128(lot.remaining), "g": lot.granted_ms, "e": expiry_to_doc(lot.expiry)}


def lots_from_docs(docs: Mapping[str, Doc] | None) -> Lots | None:
    """Return the lots from their documents; None for a pass that never had points with an expiry."""
    if docs is None:
        return None
    return {key: Lot(from_decimal128(d["p"]), d["g"], expiry_from_doc(d["e"])) for key, d in docs.items()}


def entry_to_doc(entry: Entry) -> Doc:
    """Return the document of an outbox entry. Flags that are false are left out."""
    doc: Doc = {
        "n": entry.number,
        "type": entry.type,
        "at": entry.at_ms,
        "rec": entry.recorded_ms,
        "cause": dict(entry.cause),
        "refs": {name: _ref_to_bson(value) for name, value in entry.refs.items()},
    }
    for flag in ("late", "silent", "historical"):
        if getattr(entry, flag):
            doc[flag] = True
    if entry.made is not None:
        doc["made"] = made_to_doc(entry.made)
    return doc


def entry_from_doc(doc: Doc) -> Entry:
    """Return the outbox entry of a document."""
    return Entry(
        number=doc["n"],
        type=doc["type"],
        at_ms=doc["at"],
        recorded_ms=doc["rec"],
        cause=doc["cause"],
        refs={
            name: tuple(from_bson(v) for v in value) if isinstance(value, list) else from_bson(value)
            for name, value in doc["refs"].items()
        },
        late=doc.get("late", False),
        silent=doc.get("silent", False),
        historical=doc.get("historical", False),
        made=events.from_doc(doc["made"]) if "made" in doc else None,
    )


def firings_to_doc(firings: Firings) -> Doc:
    """Return the document of a rule's firings: {t} total, {n} highest numbers, {i} instants of the last ones."""
    return {"t": firings.total, "n": dict(firings.numbers), "i": list(firings.instants)}


def firings_from_doc(doc: Doc) -> Firings:
    """Return a rule's firings from their document."""
    return Firings(doc["t"], doc["n"], tuple(doc["i"]))


def redeemed_to_doc(redeemed: Redeemed) -> Doc:
    """Return the document of the units of a reward: {t} total, {u} last redemptions, {r} those rolled back."""
    return {"t": redeemed.total, "u": list(map(list, redeemed.taken)), "r": list(map(list, redeemed.returned))}


def redeemed_from_doc(doc: Doc) -> Redeemed:
    """Return the units of a reward from their document."""
    taken, returned = (tuple((at_ms, units) for at_ms, units in doc[name]) for name in ("u", "r"))
    return Redeemed(doc["t"], taken, returned)


def pending_to_docs(pending: Pending) -> list[Doc]:
    """Return the documents of pending points: {p} points, {g} when they were given, {m} when they mature, {e} their end."""
    return [
        {
            "k": key,
            "p": to_decimal128(each.points),
            "g": each.granted_ms,
            "m": each.matures_ms,
            **({} if each.expiry is None else {"e": expiry_to_doc(each.expiry)}),
        }
        for key, each in pending.items()
    ]


def pending_from_docs(docs: Sequence[Doc]) -> Pending:
    """Return the pending points from their documents."""
    return {
        doc["k"]: PendingPoints(
            from_decimal128(doc["p"]), doc["g"], doc["m"], expiry=expiry_from_doc(doc["e"]) if "e" in doc else None
        )
        for doc in docs
    }


def to_bson(value: Any) -> Any:
    """Return a value for MongoDB: decimals as Decimal128, those of more than 34 digits as text, others unchanged."""
    if not isinstance(value, Decimal):
        return value
    return to_decimal128(value) if len(value.as_tuple().digits) <= MAX_DIGITS else plain(value)


def from_bson(value: Any) -> Any:
    """Return a value of MongoDB in Python: the inverse of `to_bson`."""
    return from_decimal128(value) if isinstance(value, Decimal128) else value


def _ref_to_bson(value: object) -> object:
    return [to_bson(v) for v in value] if isinstance(value, (list, tuple)) else to_bson(value)
