"""Cursors: opaque, versioned, and rejected unless this server issued them."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, InvalidInput
from app.domain.values.cursors import (
    VERSION,
    FeedCursor,
    activity_cursor,
    decode_cursor,
    encode_cursor,
    parse_feed_cursor,
)


@given(st.integers(-(2**43), 2**43 - 1), st.text("abc_123", max_size=40))
def test_cursor_decodes_to_its_key(at: int, key: str) -> None:
    assert decode_cursor(encode_cursor("event", at, key), "event", (int, str)) == (at, key)


def test_cursor_begins_with_its_version() -> None:
    text = activity_cursor(7)
    assert urlsafe_b64decode(text + "=" * (-len(text) % 4))[:1] == VERSION
    assert parse_feed_cursor(text) == FeedCursor(7)


@given(st.text(max_size=60))
def test_text_that_is_no_cursor_is_rejected(text: str) -> None:
    with pytest.raises(InvalidInput):
        decode_cursor(text, "event", (int, str), "after")


@pytest.mark.parametrize(
    "text",
    [
        encode_cursor("pass", 1, "a"),
        encode_cursor("event", "1", "a"),
        encode_cursor("event", 1),
        encode_cursor("event", 1, "a", 2),
        encode_cursor("event", 2**43, "a"),
        encode_cursor("event", 1, "\x00"),
        urlsafe_b64encode(b'\x02["event",1,"a"]').decode(),
        urlsafe_b64encode(b'\x01["event",true,"a"]').decode(),
        urlsafe_b64encode(b"\x01" + b"[" * 300).decode(),
        "A" * 10_000,
    ],
)
def test_cursor_of_another_list_version_or_shape_is_rejected(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decode_cursor(text, "event", (int, str), "after")
    assert [(p.code, p.field) for p in refused.value.problems] == [(Code.INVALID, ("after",))]


def test_negative_position_is_rejected() -> None:
    with pytest.raises(InvalidInput):
        parse_feed_cursor(activity_cursor(-1))


def test_cursor_of_a_later_epoch_names_the_epoch_and_is_no_cursor_of_other_lists() -> None:
    text = activity_cursor(7, "9f3c21ab")
    assert parse_feed_cursor(text) == FeedCursor(7, "9f3c21ab")
    assert str(FeedCursor(7)) == activity_cursor(7) == "AVsiYWN0aXZpdHkiLDdd", "the form of version 0.1.0"
    with pytest.raises(InvalidInput):
        decode_cursor(text, "activity", (int,), "after")
