"""Ids that follow from content, such as the permanent id of an event, and the slot of a pass."""

from __future__ import annotations

import zlib
from hashlib import blake2b

SLOTS = 64
"""Parts of the backlog.

The database stores this number at its creation: a change would leave pending events unfolded.
"""
SLOT_BOUNDS = (0, SLOTS - 1)
"""The first and the last slot."""


def slot_of(pass_id: str) -> int:
    """Return the slot (0 to 63) of the pass: the part of the backlog that holds its pending events."""
    return zlib.crc32(pass_id.encode()) % SLOTS


MAX_DRAW = 2**31
"""Draws lie below this number."""


def draw_of(pass_id: str) -> int:
    """Return the draw of the pass: a number of 31 bits that follows from its id, and from nothing else of the pass.

    The passes with the lowest draws are a random choice, the same one each time.
    """
    return int.from_bytes(blake2b(pass_id.encode(), digest_size=4).digest()) % MAX_DRAW


def event_id(workspace_id: str, source: str, external_id: str) -> str:
    """Return the permanent id of the event with this source and external id. The same input gives the same id."""
    return _digest("event", workspace_id, "x", source, external_id)


def keyed_event_id(workspace_id: str, idempotency_key: str, index: int) -> str:
    """Return the permanent id of the item at `index` of the call with this idempotency key."""
    return _digest("event", workspace_id, "k", idempotency_key, str(index))


def pass_name_id(workspace_id: str, external_id: str) -> str:
    """Return the id of the name of a pass, so that each external id of a workspace belongs to one pass."""
    return _digest("name", workspace_id, external_id)


def made_event_id(rule_id: str, cause: str, target: str, effect: int | None) -> str:
    """Return the permanent id of what a rule makes for a cause: one effect on a target, or the firing itself for None.

    A cause and a target are ids of events or activities.
    """
    return _digest("event", "made", rule_id, cause, target, "fired" if effect is None else str(effect))


def inclusion_id(rule_id: str, pass_id: str) -> str:
    """Return the permanent id of the event that asks a rule about a pass that was in its segment at its creation."""
    return _digest("event", "included", rule_id, pass_id)


def listing_id(job_id: str, pass_id: str) -> str:
    """Return the permanent id of the event by which an import puts a pass on a list of a segment."""
    return _digest("event", "listed", job_id, pass_id)


def outward_id(prefix: str, event_id: str, index: int) -> str:
    """Return the permanent id of what follows outside a pass from one of its events, such as the firing of a rule.

    `index` is that of the effect. `prefix` is that of the ids of the collection, such as "event".
    """
    return _digest(prefix, "outward", event_id, str(index))


def confirmation_id(pass_id: str) -> str:
    """Return the permanent id of the event that confirms a pass, so that it is confirmed once."""
    return _digest("event", "confirmed", pass_id)


def referral_id(pass_id: str, referred_by: str) -> str:
    """Return the permanent id of the event of a referral that the client gave no id."""
    return _digest("event", "referred", pass_id, referred_by)


def checkout_difference_id(cause: str, root: str) -> str:
    """Return the permanent id of the difference that a correction or removal makes in the total of a checkout."""
    return _digest("event", "checkout", cause, root)


def is_in_control_group(rule_id: str, pass_id: str, percent: int) -> bool:
    """Return whether a rule fires without effects for a pass, of which `percent` of 100 do."""
    if percent <= 0:
        return False
    digest = blake2b(f"{rule_id}:{pass_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % 100 < percent


def reward_id(workspace_id: str, key: str) -> str:
    """Return the id of the reward with this key, so that a redemption finds the reward by its key."""
    return _digest("reward", workspace_id, key)


def redemption_id(event_id: str) -> str:
    """Return the id of the redemption that an event records."""
    return f"red_{event_id.removeprefix('event_')}"


def redemption_event_id(redemption_id: str) -> str:
    """Return the id of the event that records a redemption: the event's id derives from the redemption's."""
    return f"event_{redemption_id.removeprefix('red_')}"


def rollback_event_id(redemption_id: str) -> str:
    """Return the permanent id of the event that rolls a redemption back, so that it is rolled back once."""
    return _digest("event", "rollback", redemption_id)


def code_id(workspace_id: str, code: str) -> str:
    """Return the id of a code in a workspace, so that each code is issued once."""
    return _digest("code", workspace_id, code)


def event_type_id(workspace_id: str, key: str) -> str:
    """Return the id of an event type in a workspace. Built-in types have such an id, too."""
    return _digest("etype", workspace_id, key)


def dimension_job_id(type_id: str, version: int) -> str:
    """Return the id of the job that prepares the dimensions of a version of an event type, so that there is one."""
    return _digest("job", "dimensions", type_id, str(version))


def word_id(workspace_id: str, kind: str, word: str) -> str:
    """Return the id of a word in a workspace's vocabulary, so that each word is stored once."""
    return _digest("word", workspace_id, kind, word)


def delivery_id(hook_id: str, identity: str) -> str:
    """Return the id of an inbound message, from the hook and from the sender's identity of the message."""
    return _digest("delivery", hook_id, identity)


def channel_id(workspace_id: str, key: str) -> str:
    """Return the id of the channel with a key, so that each key of a workspace belongs to one channel."""
    return _digest("chan", workspace_id, key)


def message_template_id(workspace_id: str, pass_id: str, content: str) -> str:
    """Return the id of a template, so that equal templates are stored once. `pass_id` is "" for one of no pass."""
    return _digest("tmpl", workspace_id, pass_id, content)


def direct_message_id(workspace_id: str, idempotency_key: str) -> str:
    """Return the id of the message of a call with this idempotency key."""
    return _digest("msg", "direct", workspace_id, idempotency_key)


def broadcast_job_id(workspace_id: str, key: str) -> str:
    """Return the id of the job of the broadcast with this key."""
    return _digest("job", "broadcast", workspace_id, key)


def broadcast_message_id(job_id: str, pass_id: str) -> str:
    """Return the id of the message that a broadcast sends to a pass."""
    return _digest("msg", "broadcast", job_id, pass_id)


def message_outcome_id(message_id: str, generation: int) -> str:
    """Return the permanent id of the event that records the outcome of a message, once for each time it was queued."""
    return _digest("event", "message", message_id, str(generation))


def request_key_id(workspace_id: str, idempotency_key: str) -> str:
    """Return the id of the claim that a call makes on its idempotency key."""
    return _digest("key", workspace_id, idempotency_key)


def _digest(prefix: str, *parts: str) -> str:
    # Without the lengths, ("a", "bc") and ("ab", "c") would give the same id.
    joined = "".join([f"{len(part)}:{part}" for part in parts])
    return f"{prefix}_{blake2b(joined.encode('utf-8', 'surrogatepass'), digest_size=15).hexdigest()}"
