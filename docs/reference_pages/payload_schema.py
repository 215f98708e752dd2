"""JSON Schema of the webhook body: one definition for each type of message, with a description of each member.

The schema lets members pass that it does not name, because later versions may add some. `strict` forbids them, for tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.domain import activities
from app.domain.webhooks.messages import MAX_MESSAGE_BYTES, TEST

from .payload_members import (
    ALWAYS,
    CONSENT,
    ENVELOPE,
    EVENT,
    EXPIRY,
    GIFT_CARD,
    LOYALTY_CARD,
    MESSAGE,
    PUBLICATION,
    REASONS,
    REDEMPTION,
    REFERRAL,
    ROLLBACK,
    RULE,
    TESTED,
    TIER_CHANGE,
    TRANSFER,
    TRANSITION,
    Schema,
    make_object,
    ref,
    text,
    true,
)

FILE = "webhook-payload.schema.json"

ANY_EVENT = {"anyOf": [ref("event"), ref("removedEvent")], "description": "The event, as it was recorded."}


def _data(properties: Mapping[str, Schema], description: str, optional: frozenset[str] = frozenset()) -> Schema:
    """Return a form of `data` with the snapshots that every activity may have."""
    return make_object({**properties, **ALWAYS}, description, optional | ALWAYS.keys())


def _about(description: str = "For an event.", **snapshots: Schema) -> Schema:
    """Return the form of `data` for an event. Its snapshots are absent if the event was removed."""
    return _data({"event": ANY_EVENT, **snapshots}, description, frozenset(snapshots))


CAUSING: Mapping[str, Schema] = {
    "event": ref("event", "The event that caused the change. Absent if none did, or if it was removed.")
}
NOTHING = make_object({}, "No members.")
CREATION = _data({}, "The customer only.")
REMOVAL = _data({"removed": text("The id of an event that was removed.", "^event_")}, "After the removal of an event.")
MERGE = make_object({"into": text("The id of the survivor.", "^pass_")}, "After a merge.")
OF_EVENT = _about()
POINTS = _about(voucher=make_object(LOYALTY_CARD, "The card."))
_REDEEMED = make_object(REDEMPTION, "What was redeemed. Absent for no reward.", frozenset({"pointsSpent", "code"}))
_ROLLED_BACK = make_object(ROLLBACK, "What was rolled back.", frozenset({"pointsReturned"}))
_PUBLISHED = make_object(PUBLICATION, "The code.")
DECLINED = _about(
    "For an event that was declined.",
    reasons=REASONS,
    transfer=make_object(TRANSFER, "The transfer, if the event is one."),
)
OF_MESSAGE = _about(message=make_object(MESSAGE, "The message."))
OF_CONSENT = _about(consent=make_object(CONSENT, "The consent."))

DATA: Mapping[str, tuple[Schema, ...]] = {
    activities.CREATED: (CREATION,),
    activities.CONFIRMED: (OF_EVENT,),
    activities.REFERRED: (_about(referral=make_object(REFERRAL, "The referral.")),),
    activities.UPDATED: (OF_EVENT, REMOVAL),
    activities.DELETED: (NOTHING, MERGE),
    activities.CUSTOM_EVENT: (OF_EVENT,),
    activities.EVENT_DECLINED: (DECLINED,),
    activities.REDEEMED: (_about(redemption=_REDEEMED),),
    activities.REDEMPTION_FAILED: (_about(redemption=_REDEEMED, reasons=REASONS),),
    activities.ROLLED_BACK: (_about(redemption=_ROLLED_BACK),),
    activities.ROLLBACK_FAILED: (_about(redemption=_ROLLED_BACK, reasons=REASONS),),
    activities.REWARDED: (_about(redemption=_REDEEMED),),
    activities.REWARDED_POINTS: (
        _about(rule=make_object(RULE, "The rule."), voucher=make_object(LOYALTY_CARD, "The card.")),
    ),
    activities.CODE_ISSUED: (_about(redemption=_REDEEMED, publication=_PUBLISHED),),
    activities.CODE_NOT_ISSUED: (_about(redemption=_REDEEMED, publication=_PUBLISHED, reasons=REASONS),),
    activities.GIFT_BALANCE_ADDED: (_about(voucher=make_object(GIFT_CARD, "The card.")),),
    activities.TRANSFERRED: (
        _about(voucher=make_object(LOYALTY_CARD, "The card."), transfer=make_object(TRANSFER, "The transfer.")),
    ),
    **dict.fromkeys(activities.CONSENTS.values(), (OF_CONSENT,)),
    **dict.fromkeys(sorted(activities.MESSAGE_TYPES), (OF_MESSAGE,)),
    activities.POINTS_ADDED: (
        POINTS,
        _data({name: EXPIRY[name] for name in ("points", "balance")}, "Pending points that entered the balance."),
    ),
    activities.POINTS_PENDING: (POINTS,),
    activities.POINTS_EXPIRED: (
        _data({"event": ANY_EVENT, **EXPIRY}, "The event that granted the points, and the rest."),
        _data(EXPIRY, "Points that rules awarded, in one or several events."),
    ),
    activities.RULE_WAS_FIRED: (OF_EVENT,),
    **dict.fromkeys(
        (activities.ENTERED, activities.LEFT),
        (_data({**TRANSITION, **CAUSING}, "The segment, and what was measured.", frozenset(CAUSING)),),
    ),
    **dict.fromkeys(
        (*activities.TIER_CHANGES.values(), activities.LOYALTY_UPDATED),
        (_data({**TIER_CHANGE, **CAUSING}, "The tiers before and after, and what was measured.", frozenset(CAUSING)),),
    ),
}
"""The forms of `data` that each type has, beside the truncated and the erased one."""


def document() -> str:
    """Return the schema as a JSON document."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema() -> Schema:
    """Return the schema of a body."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Generated by docs/generate.py.",
        "title": "Punchcard webhook payload",
        "description": "The body of a message to a webhook endpoint.",
        "oneOf": [*(ref(kind) for kind in DATA), ref(TEST)],
        "$defs": {
            "instant": text(
                "An instant: RFC 3339 in UTC with milliseconds.",
                r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
            ),
            "decimal": text("An exact decimal number as text.", r"^-?[0-9]+(\.[0-9]+)?$"),
            "value": {
                "type": ["string", "integer", "boolean", "null"],
                "description": "A measured value. Sums and points are decimals as text, and 0 if there is nothing to add.",
            },
            "event": make_object(EVENT, "An event."),
            "removedEvent": make_object(
                {"id": EVENT["id"], "removed": true("The event was removed before the activity was published.")},
                "An event that was removed.",
            ),
            "truncatedEvent": make_object(EVENT, "An event without its largest members.", frozenset(EVENT) - {"id"}),
            "truncated": make_object({"truncated": true("All members are left out.")}, "Data that was too large."),
            "erased": make_object({"erased": true("The pass was erased.")}, "Data of an erased pass."),
            **{kind: _message(kind, forms) for kind, forms in DATA.items()},
            TEST: make_object(TESTED, "A message that `testWebhookEndpoint` sends."),
        },
    }


def strict(part: Any) -> Any:
    """Return a schema that also refuses members without a description."""
    if isinstance(part, list):
        return [strict(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {name: strict(value) for name, value in part.items()}
    return found | (
        {"additionalProperties": False} if isinstance(part.get("properties"), dict) and "type" in part else {}
    )


def _message(kind: str, forms: tuple[Schema, ...]) -> Schema:
    shortened = tuple(_shortened(form) for form in forms if "event" in form["properties"])
    data = {"anyOf": [*forms, *shortened, ref("truncated"), ref("erased")], "description": "What happened."}
    envelope = {**ENVELOPE, "type": {"const": kind, "description": "The type of the activity."}, "data": data}
    return make_object(envelope, f"A message of the type `{kind}`.")


def _shortened(form: Schema) -> Schema:
    """Return the form of `data` that a body has which would exceed the largest size."""
    members = {
        **form["properties"],
        "event": ref("truncatedEvent"),
        "truncated": true("Members of the event are left out."),
    }
    optional = frozenset(form["properties"]) - frozenset(form["required"])
    return make_object(members, f"The same in a body that would have {MAX_MESSAGE_BYTES:,} bytes or more.", optional)
