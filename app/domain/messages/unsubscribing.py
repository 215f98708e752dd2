"""Links by which a customer takes a consent back with one click, as RFC 8058 asks. The link signs what it names."""

from __future__ import annotations

import binascii
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

MAX_TOKEN_CHARACTERS = 512
_MAC_BYTES = 16


@dataclass(frozen=True, slots=True)
class Unsubscription:
    """What a link takes back: the consent that a channel of a workspace needs, for a pass."""

    workspace_id: str
    pass_id: str
    channel_id: str


def issue_token(key: bytes, unsubscription: Unsubscription) -> str:
    """Return the token of a link. `key` is the secret of the workspace."""
    names = [unsubscription.workspace_id, unsubscription.pass_id, unsubscription.channel_id]
    body = json.dumps(names, separators=(",", ":")).encode()
    return urlsafe_b64encode(_mac(key, body) + body).rstrip(b"=").decode()


def read_token(text: str) -> Unsubscription | None:
    """Return what a token names, without any check that it is genuine; None if the text is no token."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        names = json.loads(raw[_MAC_BYTES:]) if len(text) <= MAX_TOKEN_CHARACTERS else None
    except (ValueError, binascii.Error):
        return None
    if not isinstance(names, list) or len(names) != 3 or not all(isinstance(name, str) for name in names):
        return None
    return Unsubscription(*names)


def is_genuine(key: bytes, text: str, unsubscription: Unsubscription) -> bool:
    """Return whether a token was issued with the key."""
    return hmac.compare_digest(issue_token(key, unsubscription).encode(), text.encode("utf-8", "replace"))


def _mac(key: bytes, body: bytes) -> bytes:
    # The same key makes fingerprints and receipts. The prefix keeps the kinds apart.
    return hmac.digest(key, b"unsubscribe:" + body, sha256)[:_MAC_BYTES]
