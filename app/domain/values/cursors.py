"""Cursors: opaque positions in lists. One spelling serves queries, subscriptions, webhooks and exports alike."""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

from app.domain.errors import Code, InvalidInput

VERSION = b"\x01"
ACTIVITY = "activity"
_MAX_CHARACTERS = 512
# Milliseconds of the years 1691 to 2248, and more positions than a log will have.
_LARGEST = 2**43


def encode_cursor(kind: str, *key: int | str) -> str:
    """The cursor of the item with this key in lists of this kind: base64url, its first byte the version."""
    body = json.dumps([kind, *key], separators=(",", ":")).encode()
    return urlsafe_b64encode(VERSION + body).rstrip(b"=").decode()


def decode_cursor(text: str, kind: str, shape: tuple[type, ...], *field: str) -> tuple[int | str, ...]:
    """The key in a cursor of this kind, its parts of the types in `shape`.

    Raises InvalidInput: INVALID for anything `encode_cursor` did not write, or wrote for a list of another kind.
    """
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)) if len(text) <= _MAX_CHARACTERS else b""
        parts = json.loads(raw[1:]) if raw[:1] == VERSION else None
    except (ValueError, binascii.Error, RecursionError):
        parts = None
    if not isinstance(parts, list) or len(parts) != len(shape) + 1 or parts[0] != kind:
        raise _not_a_cursor(field)
    key = tuple(parts[1:])
    for part, wanted in zip(key, shape, strict=True):
        if type(part) is not wanted or (isinstance(part, int) and not -_LARGEST <= part < _LARGEST):
            raise _not_a_cursor(field)
        if isinstance(part, str) and not part.isprintable():
            raise _not_a_cursor(field)
    return key


def activity_cursor(pos: int) -> str:
    """The cursor of position `pos` in a workspace's log; reading after it begins with `pos + 1`."""
    return encode_cursor(ACTIVITY, pos)


def activity_position(text: str, *field: str) -> int:
    """The position in an activity cursor, at least 0. Raises InvalidInput: INVALID."""
    [pos] = decode_cursor(text, ACTIVITY, (int,), *field)
    if not isinstance(pos, int) or pos < 0:
        raise _not_a_cursor(field)
    return pos


def _not_a_cursor(field: tuple[str, ...]) -> InvalidInput:
    return InvalidInput(Code.INVALID, "This is not a cursor of this list; send back one that it answered.", *field)
