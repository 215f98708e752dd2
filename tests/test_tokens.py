"""Tokens for one pass as text: what they say, and which texts are refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import jwt

from app.domain.pass_tokens import MAX_RECORD_TYPES, MAX_TOKEN_CHARACTERS, PassToken, PassTokenScope, TokenKey
from app.graphql.protocol.ws_rules import MAX_EARLY_MESSAGE_BYTES
from app.tokens import find_key_id, looks_like_token, read_token, sign_token

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
KEY = TokenKey("tk_1", "ws_1", bytes(range(32)), NOW)
TOKEN = PassToken(
    "pass_1", frozenset({PassTokenScope.READ, PassTokenScope.RECORD}), frozenset({"scan", "visit"}), 7, NOW
)


def test_token_says_what_it_was_made_for_until_it_expires() -> None:
    text = sign_token(TOKEN, KEY)
    assert (looks_like_token(text), find_key_id(text)) == (True, "tk_1")
    assert read_token(text, KEY, NOW - timedelta(milliseconds=1)) == TOKEN
    assert read_token(text, KEY, NOW) is None


def test_longest_token_fits_into_a_header_and_into_connection_init() -> None:
    types = frozenset(f"{number:02}{'x' * 98}" for number in range(MAX_RECORD_TYPES))
    longest = PassToken("pass_" + "a" * 30, frozenset(PassTokenScope), types, 2**53, NOW)
    text = sign_token(longest, KEY)
    assert len(text) <= MAX_TOKEN_CHARACTERS
    sent = json.dumps({"type": "connection_init", "payload": {"authorization": "Bearer " + "x" * MAX_TOKEN_CHARACTERS}})
    assert len(sent) <= MAX_EARLY_MESSAGE_BYTES
    assert read_token(text, KEY, NOW - timedelta(days=1)) == longest


def test_only_the_one_algorithm_is_read() -> None:
    claims = jwt.decode(sign_token(TOKEN, KEY), options={"verify_signature": False, "verify_exp": False})
    unsigned = jwt.encode(claims, "", "none", headers={"kid": "tk_1"})
    stronger = jwt.encode(claims, KEY.secret * 2, "HS512", headers={"kid": "tk_1"})
    for text in (unsigned, stronger, "a.b.c", "é.b.c", "..", sign_token(TOKEN, KEY) + "A" * MAX_TOKEN_CHARACTERS):
        assert find_key_id(text) is None, text
        assert read_token(text[:MAX_TOKEN_CHARACTERS], KEY, NOW - timedelta(days=1)) is None, text
