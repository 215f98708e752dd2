"""Tokens for one pass: what a new one may say, and whose external ids are whose."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.errors import InvalidInput
from app.domain.pass_tokens import (
    Grant,
    PassToken,
    PassTokenScope,
    TokenKey,
    parse_life,
    parse_record_types,
    parse_token_scopes,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
KEY = TokenKey("tk_1", "ws_1", bytes(range(32)), NOW)
TOKEN = PassToken(
    "pass_1", frozenset({PassTokenScope.READ, PassTokenScope.RECORD}), frozenset({"scan", "visit"}), 7, NOW
)


def test_key_ends_when_it_retires() -> None:
    retiring = TokenKey("tk_1", "ws_1", b"", NOW, retires_at=NOW)
    assert (KEY.is_usable_at(NOW), retiring.is_usable_at(NOW)) == (True, False)
    assert retiring.is_usable_at(NOW - timedelta(milliseconds=1))


def test_external_ids_of_a_pass_are_its_own() -> None:
    grant = Grant(TOKEN, "pass_2", frozenset({"pass_1", "pass_2"}))
    assert grant.own_names("x:1") == ("pass_1:x:1", "pass_2:x:1")
    assert grant.short_name("pass_1:x:1") == "x:1"
    assert [grant.short_name(each) for each in ("pass_3:x", "x", None)] == ["pass_3:x", "x", None]


@pytest.mark.parametrize("event_type", ["point_add", "field_updated", "checkout", "redemption", "points_transferred"])
def test_token_records_no_type_that_moves_points_or_money_by_itself(event_type: str) -> None:
    with pytest.raises(InvalidInput):
        parse_record_types([event_type], [PassTokenScope.RECORD], "recordTypes")
    assert parse_record_types(["purchase", "own"], [PassTokenScope.RECORD]) == {"purchase", "own"}


def test_scopes_and_life_are_checked() -> None:
    assert parse_token_scopes(["READ", PassTokenScope.READ]) == {PassTokenScope.READ}
    assert [parse_life(each).total_seconds() for each in (1, 86_400)] == [1, 86_400]
    for wrong in (0, 86_401, -1, True, 1.5, None):
        with pytest.raises(InvalidInput):
            parse_life(wrong, "expiresInSeconds")
    with pytest.raises(InvalidInput):
        parse_token_scopes(["ADMIN"], "scopes")
