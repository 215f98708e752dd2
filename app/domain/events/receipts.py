"""Receipts: what became of each item of a call, kept as fates and ids. Nothing that was sent is in them.

A small receipt travels in its token, so that a single event costs no write; a large one is stored, and its token names
it. Either token carries a keyed hash: what another workspace made is no token here.
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
"""The largest receipt that travels in its token; some 60 events."""
_VERSION = 1
_CARRIED, _NAMED = 0, 1
_MAC_BYTES = 16
_MAX_TEXT = 2_048
_LETTERS = {"CREATED": "c", "DUPLICATE": "d", "CONFLICT": "x", "REJECTED": "r"}
_MAX_NAME = 100
_EVENT = "event_"
_WHY = "Refused when it was sent; its code and path say why. Change it and send it in another call."
_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode
_sorted = json.JSONEncoder(separators=(",", ":"), sort_keys=True, default=str).encode
_NAMES = tuple(each.name for each in fields(EventInput))


class RecordStatus(StrEnum):
    """The fate of one item of a batch."""

    CREATED = "CREATED"
    DUPLICATE = "DUPLICATE"
    CONFLICT = "CONFLICT"
    REJECTED = "REJECTED"


RECORDED = frozenset({RecordStatus.CREATED, RecordStatus.DUPLICATE})
"""The fates of items whose event is there."""


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What became of one item: the event it names, if any, and what spoke against it, by code and path inside the item."""

    status: RecordStatus
    event_id: str | None = None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the items of one call, in input order, and when it was answered."""

    recorded_at: datetime
    outcomes: tuple[ItemOutcome, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """What a token holds: the receipt itself, or the id under which it is stored."""

    receipt: Receipt | None = None
    stored_id: str | None = None


def pack_receipt(receipt: Receipt) -> bytes:
    """The receipt in few bytes: about 17 an event. `unpacked` is its inverse, but for messages: one stands for all."""
    letters = "".join([_LETTERS[fate.status] for fate in receipt.outcomes])
    refused = {
        index: [[problem.code, *(name[:_MAX_NAME] for name in problem.field)] for problem in fate.problems]
        for index, fate in enumerate(receipt.outcomes)
        if fate.problems
    }
    ids = [b"" if f.event_id is None else bytes.fromhex(f.event_id.removeprefix(_EVENT)) for f in receipt.outcomes]
    head = _compact([to_ms(receipt.recorded_at), letters, refused])
    return head.encode() + b"\n" + b"".join([bytes([len(each)]) + each for each in ids])


def unpack_receipt(data: bytes) -> Receipt:
    """The receipt that was packed."""
    head, _, ids = data.partition(b"\n")
    recorded_ms, letters, refused = json.loads(head)
    by_letter = {letter: RecordStatus(status) for status, letter in _LETTERS.items()}
    fates, at = [], 0
    for index, letter in enumerate(letters):
        size = ids[at]
        raw, at = ids[at + 1 : at + 1 + size], at + 1 + size
        problems = tuple(Problem(Code(code), _WHY, tuple(path)) for code, *path in refused.get(str(index), ()))
        fates.append(ItemOutcome(by_letter[letter], _EVENT + raw.hex() if raw else None, problems))
    return Receipt(from_ms(recorded_ms), tuple(fates))


def issue_carrying_token(key: bytes, data: bytes) -> str:
    """The token that carries a packed receipt of at most 1,024 bytes."""
    return _sealed(key, _CARRIED, data)


def issue_naming_token(key: bytes, stored_id: str) -> str:
    """The token of a receipt that is stored under an id."""
    return _sealed(key, _NAMED, stored_id.encode())


def open_token(key: bytes, text: str) -> Token | None:
    """What a token holds, or None for a text that no token of this key is."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)) if len(text) <= _MAX_TEXT else b""
    except (ValueError, binascii.Error):
        return None
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    if len(body) < 2 or body[0] != _VERSION or not hmac.compare_digest(mac, _mac(key, body)):
        return None
    return Token(unpack_receipt(body[2:])) if body[1] == _CARRIED else Token(stored_id=body[2:].decode())


def body_hash(key: bytes, items: Sequence[EventInput], **options: object) -> bytes:
    """The keyed hash by which a call that is repeated under its key is told from another one: 16 bytes.

    Two calls agree exactly when their options and items do, however decimals, offsets or the order of keys were spelt;
    also for items that cannot be accepted.
    """
    spelt = [
        {name: _spelt(name, value) for name in _NAMES if (value := getattr(item, name)) is not None} for item in items
    ]
    return hmac.digest(key, b"call:" + _sorted([spelt, options]).encode(), sha256)[:_MAC_BYTES]


def _spelt(name: str, value: object) -> object:
    try:
        if name in ("amount", "points"):
            return canonical(parse_decimal(value))
        if name.endswith("_at"):
            return to_ms(parse_instant(value))
    except Refused:
        pass
    return value


def _sealed(key: bytes, kind: int, data: bytes) -> str:
    body = bytes([_VERSION, kind]) + data
    return urlsafe_b64encode(body + _mac(key, body)).rstrip(b"=").decode()


def _mac(key: bytes, body: bytes) -> bytes:
    # Fingerprints are made with the same key, over JSON: they never begin like this.
    return hmac.digest(key, b"receipt:" + body, sha256)[:_MAC_BYTES]
