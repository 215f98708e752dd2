"""Snapshots of objects that the data of activities carries: customer, voucher, campaign, redemption, publication and more.

A snapshot shows the object when the activity was published, unless the object follows from the event itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from .activities import (
    CODE_ISSUED,
    CODE_NOT_ISSUED,
    EVENT_DECLINED,
    GIFT_BALANCE_ADDED,
    POINTS_ADDED,
    POINTS_PENDING,
    REDEMPTION_TYPES,
    REFERRED,
    REWARDED,
    REWARDED_POINTS,
    TRANSFERRED,
)
from .events.events import (
    CONSENT_EVENTS,
    CONSENT_GIVEN,
    GIFTS,
    MESSAGE_EVENTS,
    POINTS_RETURNED,
    REDEMPTION_ROLLBACK,
    TRANSFERS,
    Event,
)
from .ids import redemption_id
from .values.decimals import plain

_REDEMPTION_DATA = REDEMPTION_TYPES | {REWARDED, CODE_ISSUED, CODE_NOT_ISSUED}
_VOUCHER_DATA = frozenset({POINTS_ADDED, POINTS_PENDING, REWARDED_POINTS, TRANSFERRED, GIFT_BALANCE_ADDED})
RULE_SOURCE = "rule:"
"""Beginning of the source of what a rule makes; the key of the rule follows."""


@dataclass(frozen=True, slots=True)
class Customer:
    """What activities show of a pass and of its customer. `points` is the balance."""

    external_id: str | None
    holder: Mapping[str, object]
    status: str
    tier: str | None
    points: Decimal


def customer_snapshot(pass_id: str, customer: Customer) -> dict[str, object]:
    """Return the customer, under the id of the pass."""
    return {
        "id": pass_id,
        "externalId": customer.external_id,
        "holder": dict(customer.holder),
        "status": customer.status,
        "tier": customer.tier,
    }


def event_snapshots(
    kind: str, event: Event, customer: Customer | None, reasons: list[dict[str, object]] | None
) -> dict[str, object]:
    """Return what an activity shows beside its event, by name. `reasons` says why the event was declined."""
    data: dict[str, object] = {}
    if kind in _REDEMPTION_DATA:
        data |= _redemption(event, is_accepted=reasons is None)
    if kind in _VOUCHER_DATA:
        data["voucher"] = _voucher(event, customer)
    if kind in (CODE_ISSUED, CODE_NOT_ISSUED):
        data["publication"] = _publication(event, reasons)
    if event.type in TRANSFERS and kind in (TRANSFERRED, EVENT_DECLINED):
        data["transfer"] = _transfer(event)
    if event.type in MESSAGE_EVENTS:
        data["message"] = _message(event)
    if event.type in CONSENT_EVENTS:
        data["consent"] = _consent(event)
    if kind == REFERRED:
        data["referral"] = {"referredBy": event.metadata.get("by")}
    campaign = _campaign(event)
    return data if campaign is None else {**data, "campaign": campaign}


def _redemption(event: Event, *, is_accepted: bool) -> dict[str, object]:
    """Return what was redeemed or rolled back; nothing for points that were redeemed for no reward."""
    reward, points = None if event.guard is None else event.guard.reward, plain(abs(event.points))
    if event.type == REDEMPTION_ROLLBACK:
        asked = {name: event.metadata.get(name) for name in ("rewardKey", "quantity")}
        found = {"id": event.metadata.get("redemption"), **asked, **({"pointsReturned": points} if is_accepted else {})}
        return {"redemption": {**found, "reason": event.metadata.get("reason")}}
    if reward is None:
        return {}
    found = {"id": redemption_id(event.id), "rewardKey": reward.key, "quantity": reward.quantity}
    return {"redemption": {**found, **({"pointsSpent": points, "code": reward.code} if is_accepted else {})}}


def _voucher(event: Event, customer: Customer | None) -> dict[str, object]:
    """Return the card and what the event changed on it."""
    if event.type in GIFTS:
        amount = None if event.amount is None else plain(event.amount)
        return {"kind": "GIFT_CARD", "amount": amount, "currency": event.currency}
    balance = None if customer is None else plain(customer.points)
    return {"kind": "LOYALTY_CARD", "points": plain(event.points), "balance": balance}


def _publication(event: Event, reasons: list[dict[str, object]] | None) -> dict[str, object]:
    reward = None if event.guard is None else event.guard.reward
    first: Mapping[str, object] = reasons[0] if reasons else {}
    return {
        "id": redemption_id(event.id),
        "result": "SUCCESS" if reasons is None else "FAILURE",
        "channel": event.origin.channel,
        "code": None if reward is None or reasons is not None else reward.code,
        "failureCode": first.get("code"),
        "failureMessage": first.get("message"),
    }


def _transfer(event: Event) -> dict[str, object]:
    """Return the transfer; its id is that of the event by which the sender gave the points."""
    return {
        "id": event.metadata.get("transfer", event.id),
        "direction": "OUT" if event.points < 0 else "BACK" if event.type == POINTS_RETURNED else "IN",
        "from": event.metadata.get("from", event.pass_id),
        "to": event.metadata.get("to"),
        "points": plain(abs(event.points)),
    }


def _message(event: Event) -> dict[str, object]:
    names = {
        "id": "message", "channel": "channel", "route": "via", "status": "status",
        "failureCode": "reason", "failureMessage": "error",
    }  # fmt: skip
    return {name: event.metadata.get(stored) for name, stored in names.items()}


def _consent(event: Event) -> dict[str, object]:
    return {
        "key": event.metadata.get("consent"),
        "channel": event.metadata.get("channel"),
        "given": event.type == CONSENT_GIVEN,
        "how": event.metadata.get("how"),
    }


def _campaign(event: Event) -> dict[str, object] | None:
    """Return the rule or broadcast from which the event follows; None if it follows from neither."""
    if event.type in MESSAGE_EVENTS:
        rule, job = event.metadata.get("rule"), event.metadata.get("job")
        if job is not None:
            return {"kind": "BROADCAST", "id": job, "key": None}
        return None if rule is None else {"kind": "RULE", "id": None, "key": rule}
    if event.origin.rule is None:
        return None
    key = event.source.removeprefix(RULE_SOURCE) if event.source.startswith(RULE_SOURCE) else None
    return {"kind": "RULE", "id": event.origin.rule, "key": key}
