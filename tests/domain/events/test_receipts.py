"""Receipts: they pack into few bytes, and their tokens open only with the key that issued them."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, Problem
from app.domain.events.events import EventInput
from app.domain.events.receipts import (
    MAX_CARRIED_BYTES,
    ItemOutcome,
    Receipt,
    RecordStatus,
    Token,
    body_hash,
    issue_carrying_token,
    issue_naming_token,
    open_token,
    pack_receipt,
    unpack_receipt,
)
from app.domain.ids import event_id
from app.domain.values.instants import from_ms

KEY = b"k" * 32
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
problems = st.builds(Problem, st.sampled_from(Code), names, st.lists(names, max_size=3).map(tuple))
outcomes = st.builds(
    ItemOutcome,
    st.sampled_from(RecordStatus),
    st.none() | names.map(lambda name: event_id("ws", "api", name)),
    st.lists(problems, max_size=3).map(tuple),
)
receipts = st.builds(
    Receipt, st.integers(0, 10**13).map(from_ms), st.lists(outcomes, min_size=1, max_size=30).map(tuple)
)


def without_messages(receipt: Receipt) -> Receipt:
    return dataclasses.replace(
        receipt,
        outcomes=tuple(
            dataclasses.replace(outcome, problems=tuple(dataclasses.replace(p, message="") for p in outcome.problems))
            for outcome in receipt.outcomes
        ),
    )


@given(receipts)
def test_unpacked_receipt_equals_the_packed_one(receipt: Receipt) -> None:
    data = pack_receipt(receipt)
    assert without_messages(unpack_receipt(data)) == without_messages(receipt)
    if len(data) <= MAX_CARRIED_BYTES:
        token = open_token(KEY, issue_carrying_token(KEY, data))
        assert token is not None
        assert token.receipt == unpack_receipt(data)


def test_receipt_of_a_thousand_events_is_small_and_contains_no_external_id() -> None:
    created = [ItemOutcome(RecordStatus.CREATED, event_id("ws", "api", f"secret-{n}")) for n in range(1_000)]
    data = pack_receipt(Receipt(from_ms(0), tuple(created)))
    assert len(data) < 17_100
    assert b"secret" not in data


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda raw: raw.hex()))
def test_text_that_is_no_token_opens_nothing(text: str) -> None:
    assert open_token(KEY, text) is None


def test_token_opens_only_with_the_key_that_issued_it() -> None:
    data = pack_receipt(Receipt(from_ms(0), (ItemOutcome(RecordStatus.CREATED, event_id("ws", "api", "1")),)))
    carried, named = issue_carrying_token(KEY, data), issue_naming_token(KEY, "receipt_1")
    assert open_token(KEY, carried) == Token(unpack_receipt(data))
    assert open_token(KEY, named) == Token(stored_id="receipt_1")
    for token in (carried, named):
        assert open_token(b"other", token) is None
        assert open_token(KEY, token[:-2]) is None
        assert open_token(KEY, "B" + token[1:]) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"amount": "5.00"}, {"amount": 5}, True),
        ({"occurred_at": "2026-01-01T00:00:00Z"}, {"occurred_at": "2026-01-01T01:00:00+01:00"}, True),
        ({"metadata": {"a": 1, "b": 2}}, {"metadata": {"b": 2, "a": 1}}, True),
        ({"amount": "a lot"}, {"amount": "a lot"}, True),
        ({"amount": "a lot"}, {"amount": "a bit"}, False),
        ({"amount": 5}, {"points": 5}, False),
        ({"amount": 5}, {}, False),
        ({"external_id": "5"}, {"external_id": "05"}, False),
    ],
)
def test_body_hash_depends_on_the_content_not_on_its_spelling(
    one: dict[str, object], other: dict[str, object], same: bool
) -> None:
    """A repeated call with the same idempotency key is recognized by this hash."""
    first, second = ([EventInput(type="purchase", pass_id="pass_1", **sent)] for sent in (one, other))
    assert (body_hash(KEY, first, atomic=False) == body_hash(KEY, second, atomic=False)) is same
    assert body_hash(KEY, first, atomic=False) != body_hash(KEY, first, atomic=True)
    assert body_hash(KEY, first, atomic=False) != body_hash(KEY, first * 2, atomic=False)
