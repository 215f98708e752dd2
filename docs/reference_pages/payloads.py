"""Sections of the page of webhook payloads: members from the schema, and examples from the code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from app.domain.activities import types_of
from app.domain.events.events import PASS_UPDATED, TYPES
from app.domain.values.decimals import ZERO

from . import payload_schema as schema
from .markdown import block, code, table
from .payload_examples import PURCHASE, SECRET, messages, signed_headers

MEMBERS: Mapping[str, Mapping[str, schema.Schema]] = {
    "envelope": schema.ENVELOPE,
    "event": schema.EVENT,
    "transition": schema.TRANSITION,
    "segment": schema.SEGMENT,
    "expiry": schema.EXPIRY,
    "rule": schema.RULE,
    "test": schema.TESTED,
}


def members(name: str) -> str:
    """Return a table of the members of an object: its type and what it means."""
    rows = ((code(member), _type(part), part["description"]) for member, part in MEMBERS[name].items())
    return table(("member", "type", "meaning"), rows)


def example(name: str) -> str:
    """Return the body of an example, on several lines."""
    return block("json", json.dumps(json.loads(messages()[name].body), indent=2, ensure_ascii=False))


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


def _type(part: schema.Schema) -> str:
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
