"""Passes and outbox entries as documents."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import bson
from bson import Decimal128
from hypothesis import given

from app.domain.activities import POINTS_EXPIRED, Entry
from app.domain.events.events import Category
from app.domain.passes.passes import Erased, Pass, Profile
from app.domain.state.aggregates import Aggregate
from app.store.codecs.pass_parts import (
    aggregate_to_doc,
    aggregates_from_docs,
    encode_aggregate_key,
    entry_from_doc,
    entry_to_doc,
)
from app.store.codecs.passes import from_doc, stub_to_doc, to_doc
from app.store.workspace.passes import LIST_PROJECTION
from tests.store.generated import encode_and_decode, entries, passes


@given(passes)
def test_decoded_pass_equals_the_encoded_one(card: Pass) -> None:
    assert from_doc(encode_and_decode(to_doc(card))) == card


@given(passes)
def test_stub_of_an_erased_pass_keeps_only_what_fold_and_feed_need(card: Pass) -> None:
    erased = Erased(5, 7, 2, segments=("seg_1",))
    doc = encode_and_decode(stub_to_doc(card, erased, 7))
    assert not {"created_at", "rev", "due", "profile", "base", "aggregates", "memberships"} & doc.keys()
    stub = from_doc(doc)
    stored = (
        stub.id,
        stub.workspace_id,
        stub.version,
        stub.write_id,
        stub.last_folded_ids,
        stub.last_activity,
        stub.outbox,
        stub.evaluated_until_ms,
        stub.erased,
    )
    assert stored == (
        card.id,
        card.workspace_id,
        card.version,
        card.write_id,
        card.last_folded_ids,
        card.last_activity,
        card.outbox,
        card.evaluated_until_ms,
        erased,
    )
    assert (stub.profile, stub.initial_profile, dict(stub.aggregates)) == (Profile(), Profile(), {})
    assert (stub.points, stub.next_due_ms) == (Decimal(0), None)


@given(entries)
def test_decoded_outbox_entry_equals_the_encoded_one(entry: Entry) -> None:
    assert entry_from_doc(encode_and_decode(entry_to_doc(entry))) == entry


@given(passes)
def test_document_has_index_marks_only_for_work_that_is_left(card: Pass) -> None:
    doc = to_doc(card, 7)
    assert doc.get("pub") == (7 if card.outbox else None)
    assert ("due" in doc) == (card.next_due_ms is not None)


@given(passes)
def test_pass_decodes_without_the_parts_that_lists_leave_out(card: Pass) -> None:
    doc = encode_and_decode(to_doc(card))
    for part in LIST_PROJECTION:
        doc.pop(part, None)
    read = from_doc(doc)
    assert (read.measures, read.last_folded_ids, read.outbox, read.lots) == ({}, (), (), None)
    assert (read.aggregates, read.memberships, read.profile) == (card.aggregates, card.memberships, card.profile)


def test_spent_part_of_an_aggregate_follows_from_its_category_unless_it_is_stored() -> None:
    """Documents of version 0.1.0 have no `spent`."""
    row = Aggregate(Category.TRANSACTION, 2, Decimal(9), min=None, max=None, first_ms=1, last_ms=2)
    for category, spent in ((Category.TRANSACTION, Decimal(9)), (Category.CUSTOM, Decimal(0))):
        stored = aggregate_to_doc(("dues", "EUR"), replace(row, category=category, spent=spent))
        assert "spent" not in stored
        assert aggregates_from_docs({"dues|EUR": stored})["dues", "EUR"].spent == spent
    assert aggregate_to_doc(("dues", "EUR"), replace(row, spent=Decimal(4)))["spent"] == Decimal128("4")


def test_keys_of_aggregates_differ_for_types_that_differ_in_dots_and_dollars() -> None:
    kinds = ["a.b", "a%2Eb", "a$b", "a%24b", "a%b", "a%25b", "ab"]
    assert len({encode_aggregate_key((kind, "USD")) for kind in kinds}) == len(kinds)
    assert all(not set(encode_aggregate_key((kind, None))) & set(".$") for kind in kinds)


def test_outbox_entry_of_expiring_points_is_small() -> None:
    """At most 300 bytes, with ids and decimals as large as they can be."""
    refs = {"event": f"event_{'f' * 30}", "points": Decimal("9" * 34), "balance": Decimal("-" + "9" * 34)}
    entry = Entry(2**31, POINTS_EXPIRED, 2**42, recorded_ms=2**42, cause={"kind": "TIME"}, refs=refs, late=True)
    assert len(bson.encode(entry_to_doc(entry))) <= 300
    assert entry_from_doc(encode_and_decode(entry_to_doc(entry))) == entry
