"""Sections of the page of webhook payloads: members from the schema, and examples from the code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from app.domain.activities import MESSAGE_TYPES, types_of
from app.domain.events.events import PASS_UPDATED, TYPES
from app.domain.values.decimals import ZERO
from app.domain.webhooks.messages import Message

from . import payload_members
from .markdown import block, code, table
from .payload_examples import PURCHASE, SECRET, messages, signed_headers
from .payload_programs import program_messages

MEMBERS: Mapping[str, Mapping[str, payload_members.Schema]] = {
    "envelope": payload_members.ENVELOPE,
    "event": payload_members.EVENT,
    "transition": payload_members.TRANSITION,
    "segment": payload_members.SEGMENT,
    "expiry": payload_members.EXPIRY,
    "test": payload_members.TESTED,
    "customer": payload_members.CUSTOMER,
    "campaign": payload_members.CAMPAIGN,
    "rule": payload_members.RULE,
    "loyalty-card": payload_members.LOYALTY_CARD,
    "gift-card": payload_members.GIFT_CARD,
    "redemption": payload_members.REDEMPTION,
    "rollback": payload_members.ROLLBACK,
    "publication": payload_members.PUBLICATION,
    "transfer": payload_members.TRANSFER,
    "message": payload_members.MESSAGE,
    "consent": payload_members.CONSENT,
    "referral": payload_members.REFERRAL,
}


_ROUTES: Mapping[str, str] = {
    "email": "by mail, over SMTP",
    "sms": "by SMS, over your own URL",
    "push": "as a push notification, over your own URL",
    "http": "over your own URL",
    "braze": "by Braze",
    "mailchimp": "by Mailchimp",
    "intercom": "by Intercom",
    "activecampaign": "by ActiveCampaign",
}


def members(name: str) -> str:
    """Return a table of the members of an object: its type and what it means."""
    rows = ((code(member), _type(part), part["description"]) for member, part in MEMBERS[name].items())
    return table(("member", "type", "meaning"), rows)


def example(name: str) -> str:
    """Return the body of an example, on several lines."""
    return block("json", json.dumps(json.loads(all_messages()[name].body), indent=2, ensure_ascii=False))


def all_messages() -> Mapping[str, Message]:
    """Return all examples by name."""
    return {**messages(), **program_messages()}


def message_types() -> str:
    """Return a section for each outcome of a message, on each route."""
    sections = []
    for kind in sorted(MESSAGE_TYPES):
        _, route, outcome = kind.split(".")
        told = f"A message was {'sent' if outcome == 'sent' else 'not sent'}: {_ROUTES[route]}."
        sections.append(f"### {kind}\n\n{told}\n\n{example(kind)}")
    return "\n\n".join(sections)


def signature_example() -> str:
    """Return a request as an endpoint receives it: headers, and the exact bytes of the body."""
    lines = [f"{name}: {value}" for name, value in signed_headers().items()]
    return block("text", "\n".join((*lines, "", messages()["test"].body.decode())))


def example_secret() -> str:
    """Return the secret of the signature's example."""
    return code(SECRET)


def activity_types() -> str:
    """Return a table of the own activity type for each built-in type of event."""
    found: dict[str, list[str]] = {}
    for kind, category in [*TYPES.items(), (PASS_UPDATED, TYPES["field_updated"])]:
        own_type = types_of(replace(PURCHASE, type=kind, category=category, points=ZERO))[0]
        found.setdefault(own_type, []).append(code(kind))
    return table(("activity", "type of event"), ((code(kind), ", ".join(names)) for kind, names in found.items()))


def _type(part: payload_members.Schema) -> str:
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_type(each) for each in part["anyOf"]))
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return "event" if name == "removedEvent" else str(name)
    if "const" in part:
        return code(json.dumps(part["const"]))
    if "enum" in part:
        return " or ".join(code(each) for each in part["enum"])
    kinds = part["type"] if isinstance(part["type"], list) else [part["type"]]
    return " or ".join(kinds)
