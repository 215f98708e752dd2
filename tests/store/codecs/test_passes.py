from __future__ import annotations

from decimal import Decimal

import bson
from hypothesis import given

from app.domain.activities import POINTS_EXPIRED, Entry
from app.domain.passes.passes import Erased, Pass, Profile
from app.store.codecs.pass_parts import aggregate_key, entry_doc, entry_from
from app.store.codecs.passes import from_doc, stub_doc, to_doc
from app.store.workspace.passes import LIST_PROJECTION
from tests.store.generated import entries, passes, through_bson


@given(passes)
def test_a_pass_comes_back_from_its_document_as_it_was(card: Pass) -> None:
    assert from_doc(through_bson(to_doc(card))) == card


@given(passes)
def test_of_an_erased_pass_comes_back_only_what_the_fold_and_the_feed_need(card: Pass) -> None:
    erased = Erased(5, 7, 2, ("seg_1",))
    doc = through_bson(stub_doc(card, erased))
    assert not {"created_at", "rev", "due", "profile", "base", "aggregates", "memberships"} & doc.keys()
    left = from_doc(doc)
    kept = (
        left.id,
        left.workspace_id,
        left.version,
        left.write_id,
        left.last_folded_ids,
        left.last_activity,
        left.outbox,
        left.evaluated_until_ms,
        left.erased,
    )
    assert kept == (
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
    assert (left.profile, left.initial_profile, dict(left.aggregates)) == (Profile(), Profile(), {})
    assert (left.points, left.next_due_ms) == (Decimal(0), None)


@given(entries)
def test_an_outbox_entry_comes_back_as_it_was(entry: Entry) -> None:
    assert entry_from(through_bson(entry_doc(entry))) == entry


@given(passes)
def test_the_document_tells_the_indexes_what_waits_and_what_does_not(card: Pass) -> None:
    doc = to_doc(card)
    assert ("pub" in doc) == bool(card.outbox)
    assert ("due" in doc) == (card.next_due_ms is not None)


@given(passes)
def test_what_only_the_fold_needs_may_be_left_out_of_a_reading(card: Pass) -> None:
    doc = through_bson(to_doc(card))
    for part in LIST_PROJECTION:
        doc.pop(part, None)
    shown = from_doc(doc)
    assert (shown.measures, shown.last_folded_ids, shown.outbox, shown.lots) == ({}, (), (), None)
    assert (shown.aggregates, shown.memberships, shown.profile) == (card.aggregates, card.memberships, card.profile)


def test_rows_of_types_that_differ_only_in_dots_and_dollars_do_not_meet() -> None:
    kinds = ["a.b", "a%2Eb", "a$b", "a%24b", "a%b", "a%25b", "ab"]
    assert len({aggregate_key((kind, "USD")) for kind in kinds}) == len(kinds)
    assert all(not set(aggregate_key((kind, None))) & set(".$") for kind in kinds)


def test_an_outbox_entry_of_points_that_end_is_small() -> None:
    """At most 300 bytes, as every entry: ids and decimals as large as they get."""
    refs = {"event": f"event_{'f' * 30}", "points": Decimal("9" * 34), "balance": Decimal("-" + "9" * 34)}
    entry = Entry(2**31, POINTS_EXPIRED, 2**42, 2**42, {"kind": "TIME"}, refs, late=True)
    assert len(bson.encode(entry_doc(entry))) <= 300
    assert entry_from(through_bson(entry_doc(entry))) == entry
