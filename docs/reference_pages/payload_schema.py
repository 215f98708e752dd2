"""JSON Schema of the webhook body: one definition for each type of message, with a description of each member.

The schema lets members pass that it does not name, because later versions may add some. `strict` forbids them, for tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.domain import activities
from app.domain.events.events import Category
from app.domain.values.text import MAX_NAME
from app.domain.webhooks.messages import MAX_MESSAGE_BYTES, TEST

FILE = "webhook-payload.schema.json"
Schema = dict[str, Any]


def _object(properties: Mapping[str, Schema], description: str = "", optional: frozenset[str] = frozenset()) -> Schema:
    """Return the schema of an object; each member is required that is not optional."""
    found: Schema = {"type": "object", "description": description} if description else {"type": "object"}
    required = [name for name in properties if name not in optional]
    return found | {"properties": dict(properties), "required": required}


def _ref(name: str, description: str = "") -> Schema:
    return {"$ref": f"#/$defs/{name}"} | ({"description": description} if description else {})


def _text(description: str, pattern: str = "") -> Schema:
    found: Schema = {"type": "string", "description": description}
    return found | ({"pattern": pattern} if pattern else {})


def _or_null(schema: Schema) -> Schema:
    if "type" in schema:
        return schema | {"type": [schema["type"], "null"]}
    description = {"description": schema["description"]} if "description" in schema else {}
    plain = {name: value for name, value in schema.items() if name != "description"}
    return {"anyOf": [plain, {"type": "null"}]} | description


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _true(description: str) -> Schema:
    return {"const": True, "description": description}


EVENT: Mapping[str, Schema] = {
    "id": _text(
        "The permanent id of the event. It begins with `mb:` for the profile that a merge hands over.", "^(event_|mb:)"
    ),
    "type": _text("The type of the event, such as `purchase`. `pass_updated` is a call of `updatePass`."),
    "category": {"enum": [each.value for each in Category], "description": "The category of the type."},
    "amount": _or_null(_ref("decimal", "The amount. It is never negative: refunds and credits have their own types.")),
    "currency": _or_null(_text("The ISO 4217 code of the amount's currency.", "^[A-Z]{3}$")),
    "points": _ref("decimal", "The points that the event adds, or takes if negative."),
    "pointsExpireAt": _or_null(_ref("instant", "The instant at which the points end.")),
    "pointsExpireAfterDays": _or_null(
        {
            "type": "integer",
            "minimum": 1,
            "description": "Days after the last activity of the pass at which the points end.",
        }
    ),
    "fieldName": _or_null(_text("The field that the event changes.")),
    "oldValue": _or_null(_text("The old value of the field, as the client sent it.")),
    "newValue": _or_null(_text("The new value of the field, as the client sent it.")),
    "changes": {
        "type": "object",
        "description": "For `pass_updated`: the values that the call gave. Null removes a key.",
    },
    "source": _text("The system that recorded the event."),
    "externalId": _or_null(_text("The id of the event in its source.")),
    "metadata": {"type": "object", "description": "The metadata of the event."},
    "occurredAt": _ref("instant", "When the event occurred."),
    "recordedAt": _ref("instant", "When Punchcard recorded the event."),
    "correctionOf": _or_null(_text("The id of the event that this one corrects.", "^event_")),
}

SEGMENT: Mapping[str, Schema] = {
    "id": _text("The id of the segment.", "^seg_"),
    "key": _or_null(_text("The key of the segment.")),
    "name": _or_null(_text("The name of the segment.")),
    "version": {"type": "integer", "minimum": 1, "description": "The version of the definition that was evaluated."},
}

TRANSITION: Mapping[str, Schema] = {
    "segment": _object(SEGMENT, "The segment."),
    "member": _flag("Whether the pass is a member now."),
    "before": {
        "type": "array",
        "items": _ref("value"),
        "description": "The measured values before, one for each criterion.",
    },
    "after": {"type": "array", "items": _ref("value"), "description": "The measured values after, in the same order."},
    "late": _flag("Whether a late event, a removal or a merge caused the transition."),
    "silent": _flag("Whether a change of the definition with `notify: SILENT` caused the transition."),
    "historical": _flag("Whether an imported event caused the transition."),
}

TIER: Mapping[str, Schema] = {
    "key": _text("The key of the tier."),
    "since": _ref("instant", "Since when the pass has the tier."),
    "until": _or_null(_ref("instant", "The first instant after its period. Null if it has no end.")),
}

TIER_CHANGE: Mapping[str, Schema] = {
    "change": {
        "enum": [*activities.TIER_CHANGES, None],
        "description": "What happened to the tier. Null if only the end of its period changed.",
    },
    "before": _or_null(_object(TIER, "The tier before. Null without one.")),
    "after": _or_null(_object(TIER, "The tier after. Null without one.")),
    "programVersion": _or_null(
        {"type": "integer", "minimum": 1, "description": "The version of the tier program. Null if it had ended."}
    ),
    "values": {
        "type": "array",
        "items": _ref("value"),
        "description": "The measured values of the criteria that decided, one for each criterion. Empty if none did.",
    },
    "late": _flag("Whether a late event, a removal or a merge caused the change."),
    "silent": _flag("Whether a change of the program with `notify: SILENT` caused the change."),
    "historical": _flag("Whether an imported event caused the change."),
}

EXPIRY: Mapping[str, Schema] = {
    "points": _ref("decimal", "The points that ended."),
    "balance": _ref("decimal", "The balance of the pass after that."),
    "expiredAt": _ref("instant", "When the points ended."),
}

RULE: Mapping[str, Schema] = {
    "id": _text("The id of the rule.", "^rule_"),
    "key": _text("The key of the rule."),
    "version": {"type": "integer", "minimum": 1, "description": "The version of the rule that fired."},
}

REDEMPTION: Mapping[str, Schema] = {
    "id": _text("The id of the redemption.", "^red_"),
    "rewardKey": _text("The key of the reward."),
    "quantity": {"type": "integer", "minimum": 1, "description": "The units."},
}
REDEEMED: Mapping[str, Schema] = {
    **REDEMPTION,
    "pointsSpent": _ref("decimal", "The points that the redemption spent."),
    "code": _or_null(_text("The code of the customer. Null if the reward has no codes.")),
}
ROLLBACK: Mapping[str, Schema] = {
    **REDEMPTION,
    "reason": _or_null(_text("Why it was rolled back, as the call said.")),
}
ROLLED_BACK: Mapping[str, Schema] = {
    **ROLLBACK,
    "pointsReturned": _ref("decimal", "The points that came back."),
}
REASONS: Schema = {
    "type": "array",
    "minItems": 1,
    "items": _object(
        {
            "code": _text("The kind of the reason, for programs."),
            "message": _text("One sentence for people."),
        },
        "A reason.",
    ),
    "description": "Why it was declined.",
}

ENVELOPE: Mapping[str, Schema] = {
    "id": _text(
        "The id of the message, equal to `webhook-id`. It is the permanent id of the activity.", "^act_.+:[1-9][0-9]*$"
    ),
    "type": _text("The type of the activity."),
    "created_at": _ref("instant", "When the activity happened."),
    "passId": _text("The id of the pass.", "^pass_"),
    "passExternalId": _or_null(
        _text(f"Your id of the pass, up to {MAX_NAME} characters; also of a merged pass. Null if the pass was erased.")
    ),
    "cursor": _text("The position in the feed as a cursor, valid in queries, subscriptions, exports and endpoints."),
    "timestamp": _ref("instant", "The same instant as `created_at`, under the name of Standard Webhooks."),
    "sequence": {
        "type": "integer",
        "minimum": 1,
        "description": "The position in the feed of the workspace, dense from 1.",
    },
    "passSequence": {"type": "integer", "minimum": 1, "description": "The number within the pass, dense from 1."},
    "data": {"type": "object", "description": "What happened; see the type."},
}

TESTED: Mapping[str, Schema] = {
    "id": _text("The id of the message, equal to `webhook-id`.", "^msg_"),
    "type": {"const": TEST, "description": "The type of test messages."},
    "timestamp": _ref("instant", "When the message was made, by the clock of the machine."),
    "created_at": _ref("instant", "The same instant."),
    "data": _object({"endpointId": _text("The id of the endpoint.", "^wh_")}, "The endpoint under test."),
}

ANY_EVENT = {"anyOf": [_ref("event"), _ref("removedEvent")], "description": "The event, as it was recorded."}
NOTHING = _object({}, "No members.")
REMOVAL = _object(
    {"removed": _text("The id of an event that was removed.", "^event_")}, "After the removal of an event."
)
MERGE = _object({"into": _text("The id of the survivor.", "^pass_")}, "After a merge.")
OF_EVENT = _object({"event": ANY_EVENT}, "For an event.")

DATA: Mapping[str, tuple[Schema, ...]] = {
    activities.CREATED: (NOTHING,),
    activities.UPDATED: (OF_EVENT, REMOVAL),
    activities.DELETED: (NOTHING, MERGE),
    activities.CUSTOM_EVENT: (OF_EVENT,),
    activities.REDEEMED: (
        OF_EVENT,
        _object({"event": ANY_EVENT, "redemption": _object(REDEEMED, "The redemption.")}, "For a reward."),
    ),
    activities.REDEMPTION_FAILED: (
        _object({"event": ANY_EVENT, "reasons": REASONS}, "For an event that redeems no reward, or was removed."),
        _object(
            {"event": ANY_EVENT, "redemption": _object(REDEMPTION, "The redemption."), "reasons": REASONS},
            "For a reward.",
        ),
    ),
    activities.ROLLED_BACK: (
        _object({"event": ANY_EVENT, "redemption": _object(ROLLED_BACK, "The redemption.")}, "For a redemption."),
        OF_EVENT,
    ),
    activities.ROLLBACK_FAILED: (
        _object(
            {"event": ANY_EVENT, "redemption": _object(ROLLBACK, "The redemption."), "reasons": REASONS},
            "For a redemption.",
        ),
        _object({"event": ANY_EVENT, "reasons": REASONS}, "For an event that was removed."),
    ),
    activities.EVENT_DECLINED: (
        _object({"event": ANY_EVENT, "reasons": REASONS}, "The event, and why it does not count."),
    ),
    activities.POINTS_ADDED: (
        OF_EVENT,
        _object({name: EXPIRY[name] for name in ("points", "balance")}, "Pending points that entered the balance."),
    ),
    activities.POINTS_PENDING: (OF_EVENT,),
    activities.REWARDED_POINTS: (
        _object({"event": ANY_EVENT, "rule": _object(RULE, "The rule.")}, "The award, and the rule that made it."),
        _object({"event": _ref("removedEvent")}, "For an award that was removed."),
    ),
    activities.POINTS_EXPIRED: (
        _object({"event": ANY_EVENT, **EXPIRY}, "The event that granted the points, and the rest."),
        _object(EXPIRY, "Points that rules awarded, in one or several events."),
    ),
    activities.RULE_WAS_FIRED: (OF_EVENT,),
    activities.ENTERED: (_object(TRANSITION, "The segment, and what was measured."),),
    activities.LEFT: (_object(TRANSITION, "The segment, and what was measured."),),
    **dict.fromkeys(
        (*activities.TIER_CHANGES.values(), activities.LOYALTY_UPDATED),
        (_object(TIER_CHANGE, "The tiers before and after, and what was measured."),),
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
        "oneOf": [*(_ref(kind) for kind in DATA), _ref(TEST)],
        "$defs": {
            "instant": _text(
                "An instant: RFC 3339 in UTC with milliseconds.",
                r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
            ),
            "decimal": _text("An exact decimal number as text.", r"^-?[0-9]+(\.[0-9]+)?$"),
            "value": {
                "type": ["string", "integer", "boolean", "null"],
                "description": "A measured value. Sums and points are decimals as text, and 0 if there is nothing to add.",
            },
            "event": _object(EVENT, "An event."),
            "removedEvent": _object(
                {"id": EVENT["id"], "removed": _true("The event was removed before the activity was published.")},
                "An event that was removed.",
            ),
            "truncatedEvent": _object(EVENT, "An event without its largest members.", frozenset(EVENT) - {"id"}),
            "truncated": _object({"truncated": _true("All members are left out.")}, "Data that was too large."),
            "erased": _object({"erased": _true("The pass was erased.")}, "Data of an erased pass."),
            **{kind: _message(kind, forms) for kind, forms in DATA.items()},
            TEST: _object(TESTED, "A message that `testWebhookEndpoint` sends."),
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
    data = {"anyOf": [*forms, *shortened, _ref("truncated"), _ref("erased")], "description": "What happened."}
    envelope = {**ENVELOPE, "type": {"const": kind, "description": "The type of the activity."}, "data": data}
    return _object(envelope, f"A message of the type `{kind}`.")


def _shortened(form: Schema) -> Schema:
    """Return the form of `data` that a body has which would exceed the largest size."""
    members = {
        **form["properties"],
        "event": _ref("truncatedEvent"),
        "truncated": _true("Members of the event are left out."),
    }
    return _object(members, f"The same in a body that would have {MAX_MESSAGE_BYTES:,} bytes or more.")
