"""Examples of webhook messages: fixed activities, rendered by the code that renders real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from app.domain import activities
from app.domain.activities import Activity, Entry
from app.domain.events.events import OWN_SOURCE, PASS_UPDATED, POINT_ADD, RULE_FIRED, Category, Event, Origin
from app.domain.events.points_expiry import PointsExpiry
from app.domain.rendering import render_activity
from app.domain.segments.parsing import parse_criteria
from app.domain.segments.segments import Segment
from app.domain.snapshots import Customer
from app.domain.values.decimals import ZERO
from app.domain.values.instants import to_ms
from app.domain.webhooks.messages import Message, render_message, render_test_message, sign_headers

PASS_ID, EXTERNAL_ID = "pass_66a1f0c27b3e4d5f8a90", "ann"
START = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The secret in the example of a signature. It is no secret of an endpoint."""

PURCHASE = Event(
    id="event_8d4b7e0f2c915a63b7d8e4f01c2a3b",
    pass_id=PASS_ID,
    category=Category.TRANSACTION,
    type="purchase",
    amount=Decimal("29.30"),
    currency="EUR",
    points=ZERO,
    source="till",
    external_id="R-1001",
    metadata={"store": "north"},
    occurred_at=START,
    recorded_at=START + timedelta(milliseconds=412),
    origin=Origin("API"),
)
GRANT = replace(
    PURCHASE,
    id="event_1f6a3c9e5b7d20488c6e1a9f3d5b70",
    external_id="R-1002",
    points=Decimal(29),
    points_expiry=PointsExpiry(after_days=90),
    metadata={},
)
REDEMPTION = replace(
    PURCHASE,
    id="event_5c2e8b1d7f90463ab4d6c8e2f1a059",
    category=Category.ACTIVITY,
    type="redemption",
    amount=None,
    currency=None,
    points=Decimal(-20),
    external_id="R-1003",
    metadata={"reward": "free coffee"},
)
FIELD_CHANGE = replace(
    PURCHASE,
    id="event_a07d5e3b9c1f4826d8b0e7a2c4f613",
    category=Category.FIELD_CHANGE,
    type="field_updated",
    amount=None,
    currency=None,
    external_id="crm-77",
    source="crm",
    field_name="level",
    old_value="silver",
    new_value="gold",
    metadata={},
)
UPDATE = replace(
    FIELD_CHANGE,
    id="event_3b8f6d2a0e5c47918f7a4d1c9e6b02",
    type=PASS_UPDATED,
    external_id=None,
    source=OWN_SOURCE,
    field_name=None,
    old_value=None,
    new_value=None,
    changes={"holder": {"email": "ann@shop.example"}},
)
AWARD = replace(
    PURCHASE,
    id="event_5c2a9e71d04b8f63a1e7c90b2d4f86",
    category=Category.CUSTOM,
    type=POINT_ADD,
    amount=None,
    currency=None,
    points=Decimal(5),
    external_id=None,
    source="rule:reviews",
    origin=Origin("RULE", rule="rule_66a1f1b24d7c8e0f5a39", rule_version=1, depth=1, cause=PURCHASE.id, effect=0),
    metadata={},
    matures_ms=to_ms(START + timedelta(days=14)),
)
FIRING = replace(
    AWARD,
    id="event_0e7b4d92c6a15f38b7d1e4a06c9f25",
    type=RULE_FIRED,
    points=ZERO,
    metadata={"effects": [{"index": 0, "status": "SUCCEEDED", "event": AWARD.id, "points": "5"}]},
    matures_ms=None,
)
CUSTOMER = Customer(EXTERNAL_ID, {"email": "ann@shop.example"}, status="ACTIVE", tier=None, points=Decimal("34.5"))
LARGE = replace(PURCHASE, metadata={"receipt": "x" * 20_000})
EVENTS: Mapping[str, Event] = {
    event.id: event for event in (PURCHASE, GRANT, REDEMPTION, FIELD_CHANGE, UPDATE, AWARD, FIRING)
}
SEGMENT = Segment(
    id="seg_66a1f0d94c2b7e1f3a58",
    key="regulars",
    name="2 or more purchases",
    description=None,
    criteria=parse_criteria({"event": {"types": ["purchase"], "value": 2}}, "EUR"),
    timezone="UTC",
    version=1,
    revision=1,
    archived=False,
    created_at=START,
    updated_at=START,
)


def messages() -> Mapping[str, Message]:
    """Return the examples by name. A template shows each one as `{{ example <name> }}`."""
    grant = {"event": GRANT.id, "points": Decimal(29), "balance": Decimal("12.5")}
    transition = {"segment": SEGMENT.id, "version": 1}
    later = timedelta(days=60)
    return {
        "created": _render(1, activities.CREATED, {}),
        "updated": _render(2, activities.UPDATED, {"event": FIELD_CHANGE.id}),
        "updated-by-call": _render(3, activities.UPDATED, {"event": UPDATE.id}),
        "updated-by-removal": _render(4, activities.UPDATED, {"removed": PURCHASE.id}),
        "custom-event": _render(5, activities.CUSTOM_EVENT, {"event": PURCHASE.id}),
        "removed-event": _render(6, activities.CUSTOM_EVENT, {"event": "event_2d9c6b4a8e1f50737ea5c3d1b9f864"}),
        "points-redeemed": _render(7, activities.REDEEMED, {"event": REDEMPTION.id}),
        "points-added": _render(8, activities.POINTS_ADDED, {"event": GRANT.id}),
        "points-matured": _render(17, activities.POINTS_ADDED, {"points": Decimal(5), "balance": Decimal("34.5")}),
        "points-pending": _render(18, activities.POINTS_PENDING, {"event": AWARD.id}),
        "rule-fired": _render(19, activities.RULE_WAS_FIRED, {"event": FIRING.id}),
        "points-expired": _render(9, activities.POINTS_EXPIRED, grant, at=later),
        "entered": _render(
            10,
            activities.ENTERED,
            {**transition, "before": (1,), "after": (2,)},
            cause={"kind": "EVENT", "event": PURCHASE.id},
        ),
        "left": _render(11, activities.LEFT, {**transition, "before": (2,), "after": (1,)}, at=later),
        **_tiers(),
        "deleted": _render(12, activities.DELETED, {}, external_id=None),
        "merged": _render(13, activities.DELETED, {"into": "pass_66a1f0c89d5e2b7f4c13"}),
        "erased": _erased(),
        "truncated": _render(15, activities.CUSTOM_EVENT, {"event": LARGE.id}, events={LARGE.id: LARGE}),
        "test": _test(),
    }


def signed_headers() -> Mapping[str, str]:
    """Return the headers of the test message, signed with `SECRET`."""
    return sign_headers(_test(), [SECRET], to_ms(START) // 1_000)


def _test() -> Message:
    return render_test_message("msg_66a1f1a05e7d3c9b2f84", "wh_66a1f19e8b4d6a0c7e35", START)


def _tiers() -> Mapping[str, Message]:
    """Return an example of each change of a tier, numbered from 20."""
    day, year = timedelta(days=1) // timedelta(milliseconds=1), timedelta(days=365) // timedelta(milliseconds=1)
    start = to_ms(START)
    silver = {"tier": "silver", "since": start, "until": start + year}
    gold = {"tier": "gold", "since": start + day, "until": start + year}
    before = {f"{name}Before": value for name, value in silver.items()}
    gold_before = {f"{name}Before": value for name, value in gold.items()}
    refs: Mapping[str, Mapping[str, object]] = {
        "joined": {**silver, "values": (Decimal("512.5"),)},
        "upgraded": {**before, **gold, "values": (Decimal(1020),)},
        "prolonged": {**gold_before, **gold, "until": start + 2 * year, "values": (Decimal(1500),)},
        "downgraded": {**gold_before, **silver, "values": (Decimal(640),)},
        "left": {**before, "values": (Decimal(20),)},
    }
    found = {}
    for number, (name, values) in enumerate(refs.items(), 20):
        change = {"change": name.upper(), "program": 1, **values}
        found[f"tier-{name}"] = _render(number, activities.TIER_CHANGES[name.upper()], change)
    change = {"change": "UPGRADED", "program": 1, **refs["upgraded"]}
    return {**found, "loyalty-updated": _render(25, activities.LOYALTY_UPDATED, change)}


def _erased() -> Message:
    activity = make_activity(14, activities.CUSTOM_EVENT, {"event": PURCHASE.id}, EVENTS, to_ms(START))
    return render_message(replace(activity, data=activities.ERASED_DATA), None)


def _render(
    number: int,
    kind: str,
    refs: Mapping[str, object],
    *,
    at: timedelta = timedelta(),
    external_id: str | None = EXTERNAL_ID,
    events: Mapping[str, Event] = EVENTS,
    cause: Mapping[str, object] = MappingProxyType({}),
) -> Message:
    return render_message(make_activity(number, kind, refs, events, to_ms(START + at), cause=cause), external_id)


def make_activity(
    number: int,
    kind: str,
    refs: Mapping[str, object],
    events: Mapping[str, Event],
    at_ms: int,
    *,
    cause: Mapping[str, object] = MappingProxyType({}),
) -> Activity:
    """Return the activity of an outbox entry, as publish renders it."""
    entry = Entry(number, kind, at_ms, at_ms, cause=cause, refs=refs)
    activity = render_activity(PASS_ID, entry, events, {SEGMENT.id: SEGMENT}, customer=CUSTOMER)
    return replace(activity, position=4_710 + number)
