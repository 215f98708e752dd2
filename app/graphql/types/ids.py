"""Global ids: the type name and the database id in one opaque text, as the Relay specification asks."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import TypeVar

from app.domain.errors import Code, InvalidInput

T = TypeVar("T")

_MAX_CHARACTERS = 512
_TYPES_BY_PREFIX = {
    "act": "Activity",
    "audit": "AuditEntry",
    "chan": "Channel",
    "delivery": "InboundDelivery",
    "etype": "EventDefinition",
    "event": "Event",
    "hook": "InboundHook",
    "job": "Job",
    "key": "ApiKey",
    "msg": "Message",
    "pass": "Pass",
    "reward": "Reward",
    "rule": "Rule",
    "seg": "Segment",
    "wh": "WebhookEndpoint",
    "ws": "Workspace",
}
"""Type of the object that a database id names, by the text before its first "_"."""


def to_global_id(type_name: str, database_id: str) -> str:
    """Return the global id of an object, for example of ("Event", "event_5f…")."""
    return b64encode(f"{type_name}:{database_id}".encode()).decode()


def from_global_id(text: str) -> tuple[str, str] | None:
    """Return (type name, database id), or None if the text is not a global id."""
    if len(text) > _MAX_CHARACTERS:
        return None
    try:
        type_name, colon, database_id = b64decode(text.encode("ascii"), validate=True).decode("ascii").partition(":")
    except (ValueError, binascii.Error):
        return None
    return (type_name, database_id) if colon and type_name.isalpha() and database_id.isprintable() else None


def database_id(text: str, type_name: str) -> str | None:
    """Return the database id of an object of this type, from its global id or its database id; else None.

    Database ids have a prefix, for example "event_". Activities, webhooks and exports contain them.
    """
    decoded = from_global_id(text)
    if decoded is not None:
        return decoded[1] if decoded[0] == type_name else None
    return text if len(text) <= _MAX_CHARACTERS and "_" in text and text.isascii() and text.isprintable() else None


def given_id(text: object, type_name: str) -> object:
    """Return the database id that an input's id names. Return any other value unchanged: validation rejects it by name."""
    return (database_id(text, type_name) or text) if isinstance(text, str) else text


def names_segment(field: str) -> Callable[[type[T]], type[T]]:
    """Return a decorator for an input whose field of this name holds the id of a segment."""

    def register(kind: type[T]) -> type[T]:
        _SEGMENT_FIELDS[kind] = field
        return kind

    return register


def segment_field(kind: type) -> str | None:
    """Return the field of an input type that holds the id of a segment, or None."""
    return _SEGMENT_FIELDS.get(kind)


_SEGMENT_FIELDS: dict[type, str] = {}


def node_id(text: str) -> tuple[str, str] | None:
    """Return (type name, database id) of an object, from its global id or its database id; None for any other text."""
    # A database id contains "_", which no global id does.
    decoded = from_global_id(text)
    if decoded is not None or len(text) > _MAX_CHARACTERS or not (text.isascii() and text.isprintable()):
        return decoded
    prefix, underscore, rest = text.partition("_")
    type_name = _TYPES_BY_PREFIX.get(prefix) if underscore else None
    if type_name == "WebhookEndpoint" and ":" in rest:
        type_name = "WebhookDelivery"
    elif type_name == "Pass" and "." in rest:
        type_name = "Membership"
    return None if type_name is None else (type_name, text)


def require_one(noun: str, other: str, id: object, value: object) -> None:
    """Raise InvalidInput, at `id`, unless exactly one of an id and another name is given. `other` names the other one."""
    if (id is None) == (value is None):
        raise InvalidInput(Code.INVALID, f"Name the {noun} by exactly one of `id` and `{other}`.", "id")
