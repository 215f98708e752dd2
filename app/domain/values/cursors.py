"""Cursors: opaque texts for positions in lists, in one format for queries, subscriptions, webhooks and exports."""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

from app.domain.errors import Code, InvalidInput

VERSION = b"\x01"
ACTIVITY = "activity"
_MAX_LENGTH = 512
# Bounds integers in cursors: milliseconds of the years 1691 to 2248, and positions of the activity log.
_MAX_INTEGER = 2**43


def encode_cursor(kind: str, *key: int | str) -> str:
    """Return the cursor of the item with this key in lists of this kind, as base64url.

    Its first byte is the version.
    """
    body = json.dumps([kind, *key], separators=(",", ":")).encode()
    return urlsafe_b64encode(VERSION + body).rstrip(b"=").decode()


def decode_cursor(text: str, kind: str, shape: tuple[type, ...], *field: str) -> tuple[int | str, ...]:
    """Return the key in a cursor of this kind. `shape` lists the types of its parts.

    Raises InvalidInput: INVALID for a text that `encode_cursor` did not write, and for cursors of other kinds of list.
    """
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)) if len(text) <= _MAX_LENGTH else b""
        parts = json.loads(raw[1:]) if raw[:1] == VERSION else None
    except (ValueError, binascii.Error, RecursionError):
        parts = None
    if not isinstance(parts, list) or len(parts) != len(shape) + 1 or parts[0] != kind:
        raise _not_a_cursor(field)
    key = tuple(parts[1:])
    for part, expected_type in zip(key, shape, strict=True):
        if type(part) is not expected_type or (isinstance(part, int) and not -_MAX_INTEGER <= part < _MAX_INTEGER):
            raise _not_a_cursor(field)
        if isinstance(part, str) and not part.isprintable():
            raise _not_a_cursor(field)
    return key


def activity_cursor(position: int) -> str:
    """Return the cursor of a position in a workspace's log. Reading after the cursor begins with `position + 1`."""
    return encode_cursor(ACTIVITY, position)


def activity_position(text: str, *field: str) -> int:
    """Return the position in an activity cursor, at least 0. Raises InvalidInput: INVALID."""
    [position] = decode_cursor(text, ACTIVITY, (int,), *field)
    if not isinstance(position, int) or position < 0:
        raise _not_a_cursor(field)
    return position


def _not_a_cursor(field: tuple[str, ...]) -> InvalidInput:
    return InvalidInput(
        Code.INVALID, "This is not a cursor of this list; send a cursor that this list returned.", *field
    )
