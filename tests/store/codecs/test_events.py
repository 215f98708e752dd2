from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.domain.events.events import Event
from app.store.codecs.events import from_doc, to_doc
from tests.store.generated import events, through_bson


@given(events)
def test_an_event_comes_back_from_its_document_as_it_was(event: Event) -> None:
    assert from_doc(through_bson(to_doc(event, "ws_1", b"0123456789abcdef", 7))) == event


@given(events, st.binary(min_size=16, max_size=16), st.integers(0, 63))
def test_the_document_says_what_was_sent_and_where_it_waits(event: Event, fingerprint: bytes, slot: int) -> None:
    doc = through_bson(to_doc(event, "ws_1", fingerprint, slot))
    assert (doc["workspace"], doc["ph"], doc["pend"]) == ("ws_1", fingerprint, slot)


@given(events)
def test_an_event_once_folded_reads_as_before(event: Event) -> None:
    doc = through_bson(to_doc(event, "ws_1", b"", 7))
    del doc["pend"]
    assert from_doc(doc) == event
