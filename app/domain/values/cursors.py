"""Cursors: opaque texts for positions in lists, in one format for queries, subscriptions, webhooks and exports."""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from app.domain.errors import Code, InvalidInput

VERSION = b"\x01"
EPOCH_VERSION = b"\x02"
"""Version of feed cursors that name an epoch. Those of the first epoch keep the form of version 0.1.0."""
ACTIVITY = "activity"
_MAX_LENGTH = 1_024
# Bounds integers in cursors: milliseconds of the years 1691 to 2248, and positions of the activity log.
_MAX_INTEGER = 2**43


def encode_cursor(kind: str, *key: int | str, version: bytes = VERSION) -> str:
    """Return the cursor of the item with this key in lists of this kind, as base64url.

    Its first byte is the version.
    """
    body = json.dumps([kind, *key], separators=(",", ":")).encode()
    return urlsafe_b64encode(version + body).rstrip(b"=").decode()


def decode_cursor(
    text: str, kind: str, shape: tuple[type, ...], *field: str, version: bytes = VERSION
) -> tuple[int | str, ...]:
    """Return the key in a cursor of this kind. `shape` lists the types of its parts.

    Raises InvalidInput: INVALID for a text that `encode_cursor` did not write, and for cursors of other kinds of list.
    """
    raw = _decode(text)
    try:
        parts = json.loads(raw[1:]) if raw[:1] == version else None
    except (ValueError, RecursionError):
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


@dataclass(frozen=True, slots=True)
class FeedCursor:
    """Position in a workspace's log, in the epoch in which it was read. Reading on begins with `position + 1`."""

    position: int
    epoch: str = ""

    def __str__(self) -> str:
        """Return the cursor as clients get it."""
        return activity_cursor(self.position, self.epoch)


def activity_cursor(position: int, epoch: str = "") -> str:
    """Return the cursor of a position in a workspace's log. Reading after the cursor begins with `position + 1`."""
    if not epoch:
        return encode_cursor(ACTIVITY, position)
    return encode_cursor(ACTIVITY, position, epoch, version=EPOCH_VERSION)


def parse_feed_cursor(text: str, *field: str) -> FeedCursor:
    """Return the position, at least 0, and the epoch in a cursor of the feed. Raises InvalidInput: INVALID."""
    if _decode(text)[:1] == EPOCH_VERSION:
        position, epoch = decode_cursor(text, ACTIVITY, (int, str), *field, version=EPOCH_VERSION)
    else:
        [position], epoch = decode_cursor(text, ACTIVITY, (int,), *field), ""
    if not isinstance(position, int) or position < 0:
        raise _not_a_cursor(field)
    return FeedCursor(position, str(epoch))


def _decode(text: str) -> bytes:
    """Return the bytes of a cursor; none for a text that is no base64url."""
    try:
        return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)) if len(text) <= _MAX_LENGTH else b""
    except (ValueError, binascii.Error):
        return b""


def _not_a_cursor(field: tuple[str, ...]) -> InvalidInput:
    return InvalidInput(
        Code.INVALID, "This is not a cursor of this list; send a cursor that this list returned.", *field
    )
