"""Events as documents."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.domain.events.events import Category, Event
from app.domain.events.guards import COUNTED, UNDECIDED, Decision
from app.store.codecs.events import from_doc, to_doc
from app.store.codecs.guards import decision_to_doc
from tests.store.generated import decisions, encode_and_decode, events


@given(events)
def test_decoded_event_equals_the_encoded_one(event: Event) -> None:
    assert from_doc(encode_and_decode(to_doc(event, "ws_1", b"0123456789abcdef", 7))) == event


@given(events, st.binary(min_size=16, max_size=16), st.integers(0, 63))
def test_document_has_the_workspace_the_fingerprint_and_the_slot(event: Event, fingerprint: bytes, slot: int) -> None:
    doc = encode_and_decode(to_doc(event, "ws_1", fingerprint, slot))
    assert (doc["workspace"], doc["ph"], doc["pend"]) == ("ws_1", fingerprint, slot)


@given(events)
def test_folded_event_decodes_to_the_same_event(event: Event) -> None:
    doc = encode_and_decode(to_doc(event, "ws_1", b"", 7))
    del doc["pend"]
    assert from_doc(doc) == event


@given(events)
def test_event_of_a_category_that_a_later_version_added_keeps_it(original: Event) -> None:
    doc = to_doc(original, "ws_1", b"", 7) | {"category": "SUBSCRIPTION"}
    event = from_doc(doc)
    assert event.category not in list(Category)
    assert to_doc(event, "ws_1", b"", 7) == doc
    assert Category.of_stored("CUSTOM") is Category.CUSTOM


@given(events, decisions)
def test_event_has_the_outcome_that_its_clearing_writes(event: Event, decision: Decision) -> None:
    doc = encode_and_decode(to_doc(event, "ws_1", b"", 7))
    assert from_doc(doc).outcome == UNDECIDED
    del doc["pend"]
    assert from_doc(doc).outcome == COUNTED
    decided = from_doc(encode_and_decode(doc | decision_to_doc(decision)))
    assert decided.outcome == decision.outcome
    assert decided.amount == (event.amount if decision.amount is None else decision.amount)
    assert decided.step == decision.step


@given(events)
def test_event_that_counted_before_a_merge_has_the_outcome_while_it_is_pending(event: Event) -> None:
    doc = to_doc(event, "ws_1", b"", 7)
    assert from_doc(doc | {"moved": {"home": "pass_a", "n": 1, "told": True}}).outcome == COUNTED
    assert from_doc(doc | {"moved": {"home": "pass_a", "n": 1, "told": False}}).outcome == UNDECIDED
