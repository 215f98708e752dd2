"""Webhook messages: smaller than 20 kB whatever an event contains, and signed by every secret."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.activities import CUSTOM_EVENT, Activity
from app.domain.signatures import Verification, VerifiedSignature, generate_secret, verify_signature
from app.domain.values.cursors import activity_cursor
from app.domain.webhooks import messages
from app.domain.webhooks.messages import MAX_MESSAGE_BYTES, render_message, sign_headers

AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
OLD, NEW = generate_secret(b"o" * 32), generate_secret(b"n" * 32)
EVENT = {"id": "event_1", "type": "purchase", "amount": "12.50", "metadata": {"till": "é"}}


def new_activity(data: dict[str, Any]) -> Activity:
    return Activity(
        7,
        3,
        "pass_1",
        type=CUSTOM_EVENT,
        category="ACTION",
        occurred_at=AT,
        recorded_at=AT,
        cause={"kind": "EVENT"},
        data=data,
    )


def render(data: dict[str, Any]) -> dict[str, Any]:
    body = render_message(new_activity(data), "ann").body
    assert len(body) < MAX_MESSAGE_BYTES
    parsed: dict[str, Any] = json.loads(body)
    return parsed


def test_message_contains_the_activity_under_the_names_of_standard_webhooks() -> None:
    """Query, subscription, export and webhook have the same cursor."""
    message = render_message(new_activity({"event": EVENT}), "ann")
    assert message.id == "act_1:3"
    assert "." not in message.id
    assert json.loads(message.body) == {
        "id": "act_1:3",
        "type": CUSTOM_EVENT,
        "timestamp": "2026-01-02T03:04:05.678Z",
        "created_at": "2026-01-02T03:04:05.678Z",
        "passId": "pass_1",
        "passExternalId": "ann",
        "sequence": 7,
        "passSequence": 3,
        "cursor": activity_cursor(7),
        "data": {"event": EVENT},
    }


def test_largest_values_are_left_out_of_a_message_that_would_be_too_large() -> None:
    large = {**EVENT, "metadata": {"note": "é" * 16_000}, "changes": {"fields": {"bio": "b" * 5_000}}}
    assert render({"event": large}) == render({"event": {**EVENT, "changes": large["changes"]}}) | {
        "data": {"event": {k: v for k, v in large.items() if k != "metadata"}, "truncated": True}
    }
    assert render({"event": {**large, "changes": {"fields": {"bio": "b" * 25_000}}}})["data"]["event"] == {
        name: value for name, value in EVENT.items() if name != "metadata"
    }
    assert render({"before": ["x" * 30_000]})["data"] == {"truncated": True}


@pytest.mark.parametrize("spare", range(-3, 4))
def test_limit_of_a_message_is_exact(spare: int) -> None:
    empty = len(render_message(new_activity({"event": {**EVENT, "metadata": {"n": ""}}}), "ann").body)
    data = render({"event": {**EVENT, "metadata": {"n": "x" * (MAX_MESSAGE_BYTES - empty + spare)}}})["data"]
    assert ("truncated" in data) == (spare >= 0)


def test_every_secret_signs_a_message_during_a_rotation() -> None:
    message = messages.render_test_message("test_1", "wh_1", AT)
    headers = sign_headers(message, [NEW, OLD], 1_767_323_045, "00-trace-01")
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (OLD, NEW):
        found = verify_signature(Verification(), [secret], headers, message.body)
        assert found == VerifiedSignature("test_1", 1_767_323_045)
    assert (headers["webhook-id"], headers["traceparent"]) == ("test_1", "00-trace-01")
    assert verify_signature(Verification(), [generate_secret(b"x" * 32)], headers, message.body) is None
