"""Global ids: opaque, and never an error."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.graphql.types.ids import database_id, from_global_id, given_id, to_global_id


def test_a_global_id_gives_back_type_and_id() -> None:
    assert from_global_id(to_global_id("Event", "event_1")) == ("Event", "event_1")
    assert database_id(to_global_id("Event", "event_1"), "Event") == "event_1"


def test_a_prefixed_id_is_taken_as_it_is() -> None:
    assert database_id("pass_1", "Pass") == "pass_1"


@pytest.mark.parametrize(
    "text",
    ["", "x", "ä_1", "pass_\x00", to_global_id("Event", "event_1"), b64encode(b"Pass").decode(), "a_" * 400, "\ud800_"],
)
def test_any_other_text_names_no_pass_and_is_left_for_the_check_to_refuse(text: str) -> None:
    assert database_id(text, "Pass") is None
    assert given_id(text, "Pass") == text


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    from_global_id(text)
    database_id(text, "Pass")
