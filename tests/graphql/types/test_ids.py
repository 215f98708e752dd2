"""Global ids: encoding, and decoding of any text without an exception."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.graphql.types.ids import database_id, from_global_id, given_id, to_global_id


def test_global_id_is_decoded_into_type_and_database_id() -> None:
    assert from_global_id(to_global_id("Event", "event_1")) == ("Event", "event_1")
    assert database_id(to_global_id("Event", "event_1"), "Event") == "event_1"


def test_database_id_is_accepted_in_place_of_a_global_id() -> None:
    assert database_id("pass_1", "Pass") == "pass_1"


@pytest.mark.parametrize(
    "text",
    ["", "x", "ä_1", "pass_\x00", to_global_id("Event", "event_1"), b64encode(b"Pass").decode(), "a_" * 400, "\ud800_"],
)
def test_text_that_is_no_id_of_a_pass_has_no_database_id_and_stays_as_given(text: str) -> None:
    """The check of the input rejects the text later, and can name it."""
    assert database_id(text, "Pass") is None
    assert given_id(text, "Pass") == text


@given(st.text())
def test_decoding_raises_for_no_text(text: str) -> None:
    from_global_id(text)
    database_id(text, "Pass")
