"""Members of the objects in webhook bodies: the schema and the description of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.domain import activities
from app.domain.events.events import Category
from app.domain.values.text import MAX_NAME
from app.domain.webhooks.messages import TEST

Schema = dict[str, Any]


def make_object(
    properties: Mapping[str, Schema], description: str = "", optional: frozenset[str] = frozenset()
) -> Schema:
    """Return the schema of an object; each member is required that is not optional."""
    found: Schema = {"type": "object", "description": description} if description else {"type": "object"}
    required = [name for name in properties if name not in optional]
    return found | {"properties": dict(properties), "required": required}


def ref(name: str, description: str = "") -> Schema:
    return {"$ref": f"#/$defs/{name}"} | ({"description": description} if description else {})


def text(description: str, pattern: str = "") -> Schema:
    found: Schema = {"type": "string", "description": description}
    return found | ({"pattern": pattern} if pattern else {})


def or_null(schema: Schema) -> Schema:
    if "type" in schema:
        return schema | {"type": [schema["type"], "null"]}
    description = {"description": schema["description"]} if "description" in schema else {}
    plain = {name: value for name, value in schema.items() if name != "description"}
    return {"anyOf": [plain, {"type": "null"}]} | description


def flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def true(description: str) -> Schema:
    return {"const": True, "description": description}


EVENT: Mapping[str, Schema] = {
    "id": text(
        "The permanent id of the event. It begins with `mb:` for the profile that a merge hands over.", "^(event_|mb:)"
    ),
    "type": text("The type of the event, such as `purchase`. `pass_updated` is a call of `updatePass`."),
    "category": {"enum": [each.value for each in Category], "description": "The category of the type."},
    "amount": or_null(ref("decimal", "The amount. It is never negative: refunds and credits have their own types.")),
    "currency": or_null(text("The ISO 4217 code of the amount's currency.", "^[A-Z]{3}$")),
    "points": ref("decimal", "The points that the event adds, or takes if negative."),
    "pointsExpireAt": or_null(ref("instant", "The instant at which the points end.")),
    "pointsExpireAfterDays": or_null(
        {
            "type": "integer",
            "minimum": 1,
            "description": "Days after the last activity of the pass at which the points end.",
        }
    ),
    "fieldName": or_null(text("The field that the event changes.")),
    "oldValue": or_null(text("The old value of the field, as the client sent it.")),
    "newValue": or_null(text("The new value of the field, as the client sent it.")),
    "changes": {
        "type": "object",
        "description": "For `pass_updated`: the values that the call gave. Null removes a key.",
    },
    "source": text("The system that recorded the event."),
    "externalId": or_null(text("The id of the event in its source.")),
    "metadata": {"type": "object", "description": "The metadata of the event."},
    "occurredAt": ref("instant", "When the event occurred."),
    "recordedAt": ref("instant", "When Punchcard recorded the event."),
    "correctionOf": or_null(text("The id of the event that this one corrects.", "^event_")),
}

SEGMENT: Mapping[str, Schema] = {
    "id": text("The id of the segment.", "^seg_"),
    "key": or_null(text("The key of the segment.")),
    "name": or_null(text("The name of the segment.")),
    "version": {"type": "integer", "minimum": 1, "description": "The version of the definition that was evaluated."},
}

TRANSITION: Mapping[str, Schema] = {
    "segment": make_object(SEGMENT, "The segment."),
    "member": flag("Whether the pass is a member now."),
    "before": {
        "type": "array",
        "items": ref("value"),
        "description": "The measured values before, one for each criterion.",
    },
    "after": {"type": "array", "items": ref("value"), "description": "The measured values after, in the same order."},
    "late": flag("Whether a late event, a removal or a merge caused the transition."),
    "silent": flag("Whether a change of the definition with `notify: SILENT` caused the transition."),
    "historical": flag("Whether an imported event caused the transition."),
}

TIER: Mapping[str, Schema] = {
    "key": text("The key of the tier."),
    "since": ref("instant", "Since when the pass has the tier."),
    "until": or_null(ref("instant", "The first instant after its period. Null if it has no end.")),
}

TIER_CHANGE: Mapping[str, Schema] = {
    "change": {
        "enum": [*activities.TIER_CHANGES, None],
        "description": "What happened to the tier. Null if only the end of its period changed.",
    },
    "before": or_null(make_object(TIER, "The tier before. Null without one.")),
    "after": or_null(make_object(TIER, "The tier after. Null without one.")),
    "programVersion": or_null(
        {"type": "integer", "minimum": 1, "description": "The version of the tier program. Null if it had ended."}
    ),
    "values": {
        "type": "array",
        "items": ref("value"),
        "description": "The measured values of the criteria that decided, one for each criterion. Empty if none did.",
    },
    "late": flag("Whether a late event, a removal or a merge caused the change."),
    "silent": flag("Whether a change of the program with `notify: SILENT` caused the change."),
    "historical": flag("Whether an imported event caused the change."),
}

EXPIRY: Mapping[str, Schema] = {
    "points": ref("decimal", "The points that ended."),
    "balance": ref("decimal", "The balance of the pass after that."),
    "expiredAt": ref("instant", "When the points ended."),
}

CUSTOMER: Mapping[str, Schema] = {
    "id": text("The id of the pass.", "^pass_"),
    "externalId": or_null(text("Your id of the pass.")),
    "holder": {"type": "object", "description": "Name, address of mail and the like, as the pass has them."},
    "status": text("The status of the pass."),
    "tier": or_null(text("The key of the tier.")),
}
CAMPAIGN: Mapping[str, Schema] = {
    "kind": {"enum": ["RULE", "BROADCAST"], "description": "What led to the activity."},
    "id": or_null(text("The id of the rule, or of the job of the broadcast.")),
    "key": or_null(text("The key of the rule.")),
}
LOYALTY_CARD: Mapping[str, Schema] = {
    "kind": {"const": "LOYALTY_CARD", "description": "A card with points."},
    "points": ref("decimal", "The points of the event."),
    "balance": or_null(ref("decimal", "The balance when the activity was published. Null if the pass had ended.")),
}
GIFT_CARD: Mapping[str, Schema] = {
    "kind": {"const": "GIFT_CARD", "description": "A card with money."},
    "amount": or_null(ref("decimal", "The amount that was added.")),
    "currency": or_null(text("The ISO 4217 code of its currency.", "^[A-Z]{3}$")),
}
RULE: Mapping[str, Schema] = {
    "id": text("The id of the rule.", "^rule_"),
    "key": text("The key of the rule."),
    "version": {"type": "integer", "minimum": 1, "description": "The version of the rule that fired."},
}
REDEMPTION: Mapping[str, Schema] = {
    "id": text("The id of the redemption.", "^red_"),
    "rewardKey": text("The key of the reward."),
    "quantity": {"type": "integer", "minimum": 1, "description": "How many units."},
    "pointsSpent": ref("decimal", "The points that it cost. Absent if it failed."),
    "code": or_null(text("The code for the customer. Absent if it failed.")),
}
ROLLBACK: Mapping[str, Schema] = {
    **{name: REDEMPTION[name] for name in ("id", "rewardKey", "quantity")},
    "pointsReturned": ref("decimal", "The points that came back. Absent if it failed."),
    "reason": or_null(text("Why, as the caller said.")),
}
PUBLICATION: Mapping[str, Schema] = {
    "id": text("The id of the redemption that has the code.", "^red_"),
    "result": {"enum": ["SUCCESS", "FAILURE"], "description": "Whether the customer got a code."},
    "channel": text("How the redemption was recorded."),
    "code": or_null(text("The code. Null if there is none.")),
    "failureCode": or_null(text("The code of the first reason why not.")),
    "failureMessage": or_null(text("The first reason why not.")),
}
TRANSFER: Mapping[str, Schema] = {
    "id": text("The id of the event that took the points from the sender."),
    "direction": {"enum": ["OUT", "IN", "BACK"], "description": "Sent, received, or back at the sender."},
    "from": text("The id of the sender's pass.", "^pass_"),
    "to": text("The id of the receiver's pass.", "^pass_"),
    "points": ref("decimal", "The points."),
}
MESSAGE: Mapping[str, Schema] = {
    "id": text("The id of the message.", "^msg_"),
    "channel": text("The key of the channel."),
    "route": text("The kind of the channel, or the service that sends for it."),
    "status": text("`SENT`, `FAILED` or `SUPPRESSED`."),
    "failureCode": or_null(text("Why it was not sent.")),
    "failureMessage": or_null(text("What the receiver answered.")),
}
CONSENT: Mapping[str, Schema] = {
    "key": text("The key of the consent."),
    "channel": text("The key of the channel."),
    "given": flag("Whether the customer gave it."),
    "how": or_null(text("How the customer said so.")),
}
REFERRAL: Mapping[str, Schema] = {
    "referredBy": text("The id of the pass of the customer who recommended it.", "^pass_")
}
REASONS: Schema = {
    "type": "array",
    "items": make_object({"code": text("A code."), "message": text("A sentence.")}),
    "description": "Why the event was declined.",
}
ALWAYS: Mapping[str, Schema] = {
    "customer": make_object(CUSTOMER, "The customer when the activity was published. Absent if the pass had ended."),
    "campaign": make_object(CAMPAIGN, "The rule or broadcast that led to the event. Absent without one."),
}

ENVELOPE: Mapping[str, Schema] = {
    "id": text(
        "The id of the message, equal to `webhook-id`. It is the permanent id of the activity.", "^act_.+:[1-9][0-9]*$"
    ),
    "type": text("The type of the activity."),
    "created_at": ref("instant", "When the activity happened."),
    "passId": text("The id of the pass.", "^pass_"),
    "passExternalId": or_null(
        text(f"Your id of the pass, up to {MAX_NAME} characters; also of a merged pass. Null if the pass was erased.")
    ),
    "cursor": text("The position in the feed as a cursor, valid in queries, subscriptions, exports and endpoints."),
    "timestamp": ref("instant", "The same instant as `created_at`, under the name of Standard Webhooks."),
    "sequence": {
        "type": "integer",
        "minimum": 1,
        "description": "The position in the feed of the workspace, dense from 1.",
    },
    "passSequence": {"type": "integer", "minimum": 1, "description": "The number within the pass, dense from 1."},
    "data": {"type": "object", "description": "What happened; see the type."},
}

TESTED: Mapping[str, Schema] = {
    "id": text("The id of the message, equal to `webhook-id`.", "^msg_"),
    "type": {"const": TEST, "description": "The type of test messages."},
    "timestamp": ref("instant", "When the message was made, by the clock of the machine."),
    "created_at": ref("instant", "The same instant."),
    "data": make_object({"endpointId": text("The id of the endpoint.", "^wh_")}, "The endpoint under test."),
}
