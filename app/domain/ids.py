"""Identities that follow from content: the slot of a pass, the permanent id of an event, ids with a prefix."""

from __future__ import annotations

import zlib
from hashlib import blake2b

SLOTS = 64
"""Into how many parts the backlog is cut. Stored in the database at its creation: changing it would strand events."""


def slot_of(pass_id: str) -> int:
    """The slot (0 to 63) that every event of this pass waits in."""
    return zlib.crc32(pass_id.encode()) % SLOTS


def event_id(workspace_id: str, source: str, external_id: str) -> str:
    """The permanent id of the event known as (source, externalId) in a workspace; the same input, the same id."""
    return _digest("event", workspace_id, "x", source, external_id)


def keyed_event_id(workspace_id: str, idempotency_key: str, index: int) -> str:
    """The permanent id of the item at `index` of the batch known as `idempotency_key`."""
    return _digest("event", workspace_id, "k", idempotency_key, str(index))


def event_type_id(workspace_id: str, key: str) -> str:
    """The id of the definition of a type in a workspace, also of a built-in one that nobody changed."""
    return _digest("etype", workspace_id, key)


def word_id(workspace_id: str, kind: str, word: str) -> str:
    """The id under which a word of a workspace's vocabulary is noted once."""
    return _digest("word", workspace_id, kind, word)


def delivery_id(hook_id: str, identity: str) -> str:
    """The id of the message that the sender of a hook knows by `identity`."""
    return _digest("delivery", hook_id, identity)


def request_key_id(workspace_id: str, idempotency_key: str) -> str:
    """The id of the hold that a call has of its idempotency key."""
    return _digest("key", workspace_id, idempotency_key)


def _digest(prefix: str, *parts: str) -> str:
    # Length-prefixed parts: ("a", "bc") and ("ab", "c") must not meet.
    joined = "".join([f"{len(part)}:{part}" for part in parts])
    return f"{prefix}_{blake2b(joined.encode('utf-8', 'surrogatepass'), digest_size=15).hexdigest()}"
