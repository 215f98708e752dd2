"""Examples of webhook messages about programs: rewards, points, gift cards, referrals, consents and messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from app.domain import activities
from app.domain.events.events import (
    CONSENT_GIVEN,
    CONSENT_REVOKED,
    GIFT_ADDED,
    GIFT_SPENT,
    MESSAGE_FAILED,
    MESSAGE_SENT,
    OWN_SOURCE,
    PASS_CONFIRMED,
    PASS_REFERRED,
    POINT_ADD,
    POINTS_TRANSFERRED,
    REDEMPTION,
    REDEMPTION_ROLLBACK,
    Category,
    Event,
    Origin,
)
from app.domain.events.guards import Guard, RewardGuard
from app.domain.ids import redemption_id
from app.domain.values.decimals import ZERO
from app.domain.values.instants import to_ms
from app.domain.webhooks.messages import Message, render_message

from .payload_examples import EXTERNAL_ID, PURCHASE, START, make_activity

FRIEND_ID = "pass_66a1f0c89d5e2b7f4c13"
_BLANK = replace(
    PURCHASE, category=Category.ACTIVITY, amount=None, currency=None, source=OWN_SOURCE, external_id=None, metadata={}
)
REDEEMED = replace(
    _BLANK,
    id="event_7b1e4d9a0c63f5827e4b9d1a6c3f08",
    type=REDEMPTION,
    points=Decimal(-100),
    guard=Guard(reward=RewardGuard("reward_5d0c2b7e1f4a", "free-coffee", 1, code="COFFEE-7QX2M9")),
)
ROLLBACK = replace(
    _BLANK,
    id="event_9e3c7a1f5d8b20644c6e0b8d2f9a71",
    type=REDEMPTION_ROLLBACK,
    points=Decimal(100),
    correction_of=REDEEMED.id,
    metadata={
        "redemption": redemption_id(REDEEMED.id), "rewardKey": "free-coffee", "quantity": 1, "reason": "machine broken",
    },
)  # fmt: skip
GIVEN = replace(
    REDEEMED, points=ZERO, origin=Origin("INTERNAL", rule="rule_66a1f1b24d7c8e0f5a39", cause=PURCHASE.id, effect=0)
)
AWARD = replace(
    _BLANK,
    id="event_2f8d0b6c4e1a39755b7d9f3e0a1c84",
    category=Category.CUSTOM,
    type=POINT_ADD,
    points=Decimal(5),
    source="rule:reviews",
    origin=Origin("RULE", rule="rule_66a1f1b24d7c8e0f5a39", rule_version=1, depth=1, cause=PURCHASE.id, effect=0),
)
GIFT = replace(
    PURCHASE,
    id="event_6c9a2e0d7b4f1835a1c8e6f4d0b723",
    category=Category.CUSTOM,
    type=GIFT_ADDED,
    amount=Decimal("50.00"),
    external_id="G-1",
    metadata={},
)
SPENT = replace(GIFT, id="event_0d4f8b2c6e9a17533f7b1d5e9c0a42", type=GIFT_SPENT, amount=Decimal(80), external_id="G-2")
SENT_POINTS = replace(
    _BLANK,
    id="event_4a7c1e9d3b5f08622d8e6a0c4f9b15",
    category=Category.CUSTOM,
    type=POINTS_TRANSFERRED,
    points=Decimal(-40),
    metadata={"to": FRIEND_ID},
    guard=Guard(min_balance=ZERO),
)
CONFIRMATION = replace(_BLANK, id="event_b5d8f0a3c6e91724e0a2c4d6f8b193", type=PASS_CONFIRMED)
REFERRAL = replace(_BLANK, id="event_c3e6a9d0f2b5184701c3e5a7d9f2b4", type=PASS_REFERRED, metadata={"by": FRIEND_ID})
_CONSENT = {"consent": "marketing", "channel": "mail", "how": "checkout"}
CONSENT = replace(_BLANK, id="event_d1f4a7c0e3b6192834c6e8a0d2f5b7", type=CONSENT_GIVEN, metadata=_CONSENT)
REVOCATION = replace(CONSENT, id="event_e2a5b8d1f4c70939a5d7f9b1e3c6a8", type=CONSENT_REVOKED)
NO_POINTS = [["INSUFFICIENT_POINTS", "The pass has 20 points; this needs 100."]]


def program_messages() -> Mapping[str, Message]:
    """Return the examples by name, numbered from 30."""
    declined = [["INSUFFICIENT_BALANCE", "The gift card holds 50 EUR; this needs 80."]]
    found = [
        ("confirmed", activities.CONFIRMED, CONFIRMATION, None),
        ("referred", activities.REFERRED, REFERRAL, None),
        ("event-declined", activities.EVENT_DECLINED, SPENT, declined),
        ("redeemed", activities.REDEEMED, REDEEMED, None),
        ("redemption-failed", activities.REDEMPTION_FAILED, REDEEMED, NO_POINTS),
        ("rolled-back", activities.ROLLED_BACK, ROLLBACK, None),
        ("rollback-failed", activities.ROLLBACK_FAILED, ROLLBACK, [["NOT_COUNTED", "The redemption was declined."]]),
        ("rewarded", activities.REWARDED, GIVEN, None),
        ("rewarded-points", activities.REWARDED_POINTS, AWARD, None),
        ("code-issued", activities.CODE_ISSUED, REDEEMED, None),
        ("code-not-issued", activities.CODE_NOT_ISSUED, REDEEMED, NO_POINTS),
        ("gift-added", activities.GIFT_BALANCE_ADDED, GIFT, None),
        ("transferred", activities.TRANSFERRED, SENT_POINTS, None),
        ("consent-given", activities.CONSENTS[CONSENT_GIVEN], CONSENT, None),
        ("consent-revoked", activities.CONSENTS[CONSENT_REVOKED], REVOCATION, None),
    ]  # fmt: skip
    named = {
        name: _render(number, kind, event, reasons) for number, (name, kind, event, reasons) in enumerate(found, 30)
    }
    return {**named, **_outcomes()}


def _outcomes() -> Mapping[str, Message]:
    """Return an example of each outcome of a message on each route, numbered from 50. Their names are the types."""
    found = {}
    for number, kind in enumerate(sorted(activities.MESSAGE_TYPES), 50):
        _, route, outcome = kind.split(".")
        was_sent = outcome == "sent"
        why = {} if was_sent else {"reason": "NO_ADDRESS"}
        metadata = {
            "message": "msg_0b3d5f7a9c1e20446688aaccee0022", "channel": "mail", "via": route,
            "status": "SENT" if was_sent else "SUPPRESSED", **why, "origin": "RULE", "rule": "welcome",
        }  # fmt: skip
        event = replace(
            _BLANK,
            id="event_f3b6c9d2e5a80a1ab6e8fac2d4e7b9",
            category=Category.CUSTOM,
            type=MESSAGE_SENT if was_sent else MESSAGE_FAILED,
            metadata=metadata,
        )
        found[kind] = _render(number, kind, event, None)
    return found


def _render(number: int, kind: str, event: Event, reasons: list[list[str]] | None) -> Message:
    refs: dict[str, object] = {"event": event.id, **({} if reasons is None else {"reasons": reasons})}
    return render_message(make_activity(number, kind, refs, {event.id: event}, to_ms(START)), EXTERNAL_ID)
