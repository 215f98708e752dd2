"""Receipts: the outcome of each item of a call and the ids of its events, without any data that the client sent.

A token carries a small receipt, so that recording a single event costs no further write. A large receipt is stored, and
its token names it. Both tokens carry a hash with the workspace's key, so a token of another workspace is invalid.
"""

from __future__ import annotations

import binascii
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from app.domain.errors import Code, Problem, Refused
from app.domain.values.decimals import canonical, parse_decimal
from app.domain.values.instants import from_ms, parse_instant, to_ms

from .events import EventInput

MAX_CARRIED_BYTES = 1_024
"""Size of the largest receipt that a token carries: about 60 events."""
_VERSION = 1
_CARRYING, _NAMING = 0, 1
_MAC_BYTES = 16
_MAX_TOKEN_LENGTH = 2_048
_LETTERS = {"CREATED": "c", "DUPLICATE": "d", "CONFLICT": "x", "REJECTED": "r"}
_MAX_PATH_PART_LENGTH = 100
_EVENT_PREFIX = "event_"
_UNPACKED_MESSAGE = "The item was not recorded; its code and path say why. Change it and send it in another call."
_encode_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode
_encode_sorted = json.JSONEncoder(separators=(",", ":"), sort_keys=True, default=str).encode
_INPUT_FIELDS = tuple(each.name for each in fields(EventInput))


class RecordStatus(StrEnum):
    """Outcome of one item of a call that records events."""

    CREATED = "CREATED"
    DUPLICATE = "DUPLICATE"
    CONFLICT = "CONFLICT"
    REJECTED = "REJECTED"


RECORDED = frozenset({RecordStatus.CREATED, RecordStatus.DUPLICATE})
"""Outcomes of items whose event is recorded."""


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """Outcome of one item: the id of its event, if any, and its problems, with paths inside the item."""

    status: RecordStatus
    event_id: str | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """Outcomes of the items of one call, in input order, and the instant of the call."""

    recorded_at: datetime
    outcomes: tuple[ItemOutcome, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """Content of a token: the receipt itself, or the id of a stored receipt."""

    receipt: Receipt | None = None
    stored_id: str | None = None


def pack_receipt(receipt: Receipt) -> bytes:
    """Return the receipt in about 17 bytes an event.

    Messages of problems are left out, and parts of their paths are truncated to 100 characters.
    """
    letters = "".join([_LETTERS[outcome.status] for outcome in receipt.outcomes])
    problems = {
        index: [
            [problem.code, *(name[:_MAX_PATH_PART_LENGTH] for name in problem.field)] for problem in outcome.problems
        ]
        for index, outcome in enumerate(receipt.outcomes)
        if outcome.problems
    }
    ids = [
        b"" if outcome.event_id is None else bytes.fromhex(outcome.event_id.removeprefix(_EVENT_PREFIX))
        for outcome in receipt.outcomes
    ]
    head = _encode_compact([to_ms(receipt.recorded_at), letters, problems])
    return head.encode() + b"\n" + b"".join([bytes([len(each)]) + each for each in ids])


def unpack_receipt(data: bytes) -> Receipt:
    """Return the receipt from its packed form. All its problems have the same message."""
    head, _, ids = data.partition(b"\n")
    recorded_ms, letters, packed_problems = json.loads(head)
    by_letter = {letter: RecordStatus(status) for status, letter in _LETTERS.items()}
    outcomes, at = [], 0
    for index, letter in enumerate(letters):
        size = ids[at]
        raw, at = ids[at + 1 : at + 1 + size], at + 1 + size
        problems = tuple(
            Problem(Code(code), _UNPACKED_MESSAGE, tuple(path)) for code, *path in packed_problems.get(str(index), ())
        )
        outcomes.append(ItemOutcome(by_letter[letter], _EVENT_PREFIX + raw.hex() if raw else None, problems))
    return Receipt(from_ms(recorded_ms), tuple(outcomes))


def issue_carrying_token(key: bytes, data: bytes) -> str:
    """Return a token that carries a packed receipt of at most 1,024 bytes."""
    return _seal(key, _CARRYING, data)


def issue_naming_token(key: bytes, stored_id: str) -> str:
    """Return a token that names a stored receipt by its id."""
    return _seal(key, _NAMING, stored_id.encode())


def open_token(key: bytes, text: str) -> Token | None:
    """Return the content of a token; None if the text is no token that was made with this key."""
    try:
        raw = (
            urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)) if len(text) <= _MAX_TOKEN_LENGTH else b""
        )
    except (ValueError, binascii.Error):
        return None
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if len(body) < 2 or body[0] != _VERSION or not hmac.compare_digest(mac, _mac(key, body)):
        return None
    return Token(unpack_receipt(body[2:])) if body[1] == _CARRYING else Token(stored_id=body[2:].decode())


def body_hash(key: bytes, items: Sequence[EventInput], **options: object) -> bytes:
    """Return a keyed hash of a call's body, in 16 bytes, to compare a repeated call with the first one.

    Two hashes are equal if the options and items are. Other digits of the same decimal, other offsets of the same
    instant and other orders of keys make no difference. Items that will be rejected are hashed, too.
    """
    canonical_items = [
        {name: _canonical_value(name, value) for name in _INPUT_FIELDS if (value := getattr(item, name)) is not None}
        for item in items
    ]
    return hmac.digest(key, b"call:" + _encode_sorted([canonical_items, options]).encode(), sha256)[:_MAC_BYTES]


def _canonical_value(name: str, value: object) -> object:
    """Return the canonical form of a decimal or an instant; any other value, and an invalid one, unchanged."""
    try:
        if name in ("amount", "points"):
            return canonical(parse_decimal(value))
        if name.endswith("_at"):
            return to_ms(parse_instant(value))
    except Refused:
        pass
    return value


def _seal(key: bytes, kind: int, data: bytes) -> str:
    body = bytes([_VERSION, kind]) + data
    return urlsafe_b64encode(body + _mac(key, body)).rstrip(b"=").decode()


def _mac(key: bytes, body: bytes) -> bytes:
    # The same key makes fingerprints, over JSON. The prefix, with which no JSON begins, keeps the two kinds apart.
    return hmac.digest(key, b"receipt:" + body, sha256)[:_MAC_BYTES]
