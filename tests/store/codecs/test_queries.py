"""Queries and orders of jobs as documents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import bson
from hypothesis import given
from hypothesis import strategies as st

from app.domain.activity_queries import ActivityQuery
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Category
from app.domain.jobs import JobKind
from app.domain.values.conditions import CONDITION_OPERATORS, Condition
from app.domain.webhooks.deliveries import DeliveryQuery, WebhookDeliveryStatus
from app.store.codecs.jobs import ReplayOrder, order_from_doc, order_to_doc
from app.store.codecs.queries import activity_query_from_doc, event_query_from_doc, query_to_doc

OPTIONS: bson.CodecOptions[dict[str, object]] = bson.CodecOptions(tz_aware=True, tzinfo=UTC)
INSTANTS = st.none() | st.integers(0, 10**12).map(
    lambda ms: datetime(1990, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
AMOUNTS = st.none() | st.decimals(0, 10**9, places=2).map(Decimal)
SCALARS = TEXT | st.booleans() | st.integers(-(2**53), 2**53)
CONDITIONS = st.builds(
    Condition,
    TEXT,
    st.sampled_from(CONDITION_OPERATORS),
    st.none() | SCALARS | st.lists(SCALARS).map(tuple),
)


def encode_and_decode(doc: dict[str, object]) -> dict[str, object]:
    """Return the document as the store returns it."""
    return bson.decode(bson.encode(doc), OPTIONS)


@given(
    st.builds(
        EventQuery,
        pass_id=st.none() | TEXT,
        categories=st.lists(st.sampled_from(Category)).map(tuple),
        types=TEXTS,
        sources=TEXTS,
        currency=st.none() | TEXT,
        occurred_after=INSTANTS,
        recorded_before=INSTANTS,
        amount_min=AMOUNTS,
        amount_max=AMOUNTS,
        external_id=st.none() | TEXT,
        metadata=st.lists(CONDITIONS, max_size=3).map(tuple),
    )
)
def test_decoded_query_of_events_equals_the_encoded_one(query: EventQuery) -> None:
    assert event_query_from_doc(encode_and_decode(query_to_doc(query))) == query


@given(
    st.builds(
        ActivityQuery,
        types=TEXTS,
        category=st.none() | TEXT,
        segment_ids=TEXTS,
        occurred_before=INSTANTS,
        recorded_after=INSTANTS,
        include_silent=st.booleans(),
        event_types=TEXTS,
        sources=TEXTS,
        metadata=st.lists(CONDITIONS, max_size=3).map(tuple),
        causes=TEXTS,
    )
)
def test_decoded_query_of_activities_equals_the_encoded_one(query: ActivityQuery) -> None:
    assert activity_query_from_doc(encode_and_decode(query_to_doc(query))) == query


def test_query_without_later_fields_is_stored_as_former_versions_read_it() -> None:
    assert not {"event_types", "sources", "metadata", "causes"} & query_to_doc(ActivityQuery()).keys()


@given(
    st.builds(
        ReplayOrder,
        TEXT,
        st.builds(ActivityQuery, types=TEXTS, recorded_after=INSTANTS, recorded_before=INSTANTS)
        | st.builds(
            DeliveryQuery,
            TEXT,
            st.lists(st.sampled_from(WebhookDeliveryStatus), min_size=1).map(tuple),
            TEXTS,
            st.none() | st.integers(0, 2**40),
            recorded_after=INSTANTS,
            recorded_before=INSTANTS,
        ),
        st.integers(0, 2**40),
    )
)
def test_decoded_order_of_a_replay_equals_the_encoded_one(order: ReplayOrder) -> None:
    assert order_from_doc(JobKind.REPLAY_WEBHOOKS, encode_and_decode(order_to_doc(order))) == order
