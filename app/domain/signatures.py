"""Signatures of webhooks: verification of inbound requests by the schemes of their senders, and our own signatures.

Sources: the Standard Webhooks specification (also with the header names of Svix), the HMAC headers of GitHub and
Shopify, and Stripe's `t=…,v1=…`. Comparisons take constant time, so that their duration reveals nothing.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from app.domain.values.text import parse_text

from .errors import Code, InvalidInput

TOLERANCE_SECONDS = 300
STANDARD_PREFIX = "whsec_"
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64
MIN_SECRET_LENGTH = 16
MAX_SECRET_LENGTH = 255
MAX_SIGNATURES = 20
"""Signatures of one request that are compared. A request with more cannot cost more."""
MAX_IDENTITY_LENGTH = 255
STRIPE_HEADER = "stripe-signature"
_HEADER_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


class Scheme(StrEnum):
    """Scheme by which the sender of an inbound hook signs its requests."""

    STANDARD = "STANDARD"
    HMAC_SHA256 = "HMAC_SHA256"
    TIMESTAMPED_HMAC_SHA256 = "TIMESTAMPED_HMAC_SHA256"


class Encoding(StrEnum):
    """Text encoding of the bytes of a signature."""

    HEX = "HEX"
    BASE64 = "BASE64"


@dataclass(frozen=True, slots=True)
class Verification:
    """Rule that verifies the requests of one sender: the scheme, and the header and format of the signature."""

    scheme: Scheme = Scheme.STANDARD
    header: str | None = None
    encoding: Encoding = Encoding.HEX
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """Identity and signing time that a valid signature proves.

    `at_seconds` counts from 1970-01-01T00:00:00Z. It is None for HMAC_SHA256, which signs no time.
    """

    identity: str
    at_seconds: int | None = None

    def is_stale(self, now_seconds: float) -> bool:
        """Return whether the signing time is more than five minutes before or after now."""
        return self.at_seconds is not None and abs(now_seconds - self.at_seconds) > TOLERANCE_SECONDS


def parse_verification(
    scheme: Scheme, header: object = None, encoding: Encoding | None = None, prefix: object = None, *field: str
) -> Verification:
    """Return the checked verification.

    Raises InvalidInput if HMAC_SHA256 has no header, and for a value that the scheme fixes itself.
    """
    if scheme is Scheme.STANDARD:
        for name, value in (("header", header), ("encoding", encoding), ("prefix", prefix)):
            if value is not None:
                raise InvalidInput(
                    Code.UNSUPPORTED, f"The scheme STANDARD fixes the {name} itself; leave it out.", *field, name
                )
        return Verification()
    if scheme is Scheme.TIMESTAMPED_HMAC_SHA256:
        for name, value in (("encoding", encoding), ("prefix", prefix)):
            if value is not None:
                raise InvalidInput(
                    Code.UNSUPPORTED, f"The scheme {scheme} fixes the {name} itself; leave it out.", *field, name
                )
        return Verification(scheme, STRIPE_HEADER if header is None else _parse_header(header, *field, "header"))
    if header is None:
        raise InvalidInput(
            Code.REQUIRED, 'Name the header of the signature, for example "X-Hub-Signature-256".', *field, "header"
        )
    checked_prefix = "" if prefix is None or prefix == "" else parse_text(prefix, *field, "prefix", max_length=50)
    return Verification(
        scheme, _parse_header(header, *field, "header"), encoding or Encoding.HEX, prefix=checked_prefix
    )


def parse_secret(raw: object, scheme: Scheme, *field: str) -> str:
    """Return the secret that a sender issued, unchanged.

    STANDARD needs `whsec_` and base64 of 24 to 64 bytes, the other schemes 16 to 255 characters. Raises InvalidInput.
    """
    text = parse_text(raw, *field, max_length=MAX_SECRET_LENGTH)
    if scheme is Scheme.STANDARD:
        if not MIN_KEY_BYTES <= len(_standard_key(text)) <= MAX_KEY_BYTES:
            advice = f"Write {MIN_KEY_BYTES} to {MAX_KEY_BYTES} random bytes as '{STANDARD_PREFIX}' and base64."
            raise InvalidInput(Code.INVALID, advice, *field)
    elif len(text) < MIN_SECRET_LENGTH:
        raise InvalidInput(Code.INVALID, f"Give a secret of at least {MIN_SECRET_LENGTH} characters.", *field)
    return text


def generate_secret(key: bytes) -> str:
    """Return the secret with these random bytes, as `whsec_` and base64. Every scheme accepts it."""
    return STANDARD_PREFIX + b64encode(key).decode()


def standard_signatures(secrets: Iterable[str], identity: str, at_seconds: int, body: bytes) -> str:
    """Return the header `webhook-signature` of a message, with one signature for each secret.

    `identity` is the message's `webhook-id`; `at_seconds` is the time of the attempt, from 1970-01-01T00:00:00Z.
    """
    content = _standard_content(identity, str(at_seconds), body)
    return " ".join(f"v1,{_standard_signature(_standard_key(secret), content).decode()}" for secret in secrets)


def verify_signature(
    verification: Verification, secrets: Sequence[str], headers: Mapping[str, str], body: bytes
) -> VerifiedSignature | None:
    """Return the identity and time that the signature of a request proves; None if no secret made the signature.

    `headers` are by name in small letters. The caller checks the time with `is_stale`.
    """
    match verification.scheme:
        case Scheme.STANDARD:
            return _verify_standard(secrets, headers, body)
        case Scheme.HMAC_SHA256:
            return _verify_hmac(verification, secrets, headers, body)
    return _verify_timestamped(verification, secrets, headers, body)


def _verify_standard(secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> VerifiedSignature | None:
    family = "webhook" if "webhook-id" in headers else "svix"
    identity, at, signatures = (headers.get(f"{family}-{name}", "") for name in ("id", "timestamp", "signature"))
    # Points separate the parts that are signed, so an id with a point could be cut elsewhere.
    if not 0 < len(identity) <= MAX_IDENTITY_LENGTH or "." in identity or not _is_time(at):
        return None
    content = _standard_content(identity, at, body)
    received = [text for version, _, text in (part.partition(",") for part in signatures.split(" ")) if version == "v1"]
    # Leave out empty keys: an attacker could sign with an empty key.
    keys = [key for secret in secrets if (key := _standard_key(secret))]
    expected = [_standard_signature(key, content) for key in keys]
    return VerifiedSignature(identity, int(at)) if _has_equal(expected, received) else None


def _standard_content(identity: str, at: str, body: bytes) -> bytes:
    return f"{identity}.{at}.".encode("utf-8", "surrogatepass") + body


def _standard_signature(key: bytes, content: bytes) -> bytes:
    return b64encode(hmac.digest(key, content, sha256))


def _verify_hmac(
    verification: Verification, secrets: Sequence[str], headers: Mapping[str, str], body: bytes
) -> VerifiedSignature | None:
    value = headers.get(verification.header or "", "").strip()
    if not value.startswith(verification.prefix):
        return None
    received = value.removeprefix(verification.prefix)
    digests = [hmac.digest(secret.encode(), body, sha256) for secret in secrets]
    if verification.encoding is Encoding.BASE64:
        is_valid = _has_equal([b64encode(digest) for digest in digests], [received])
    else:
        is_valid = _has_equal([digest.hex().encode() for digest in digests], [received.lower()])
    return VerifiedSignature(sha256(body).hexdigest()) if is_valid else None


def _verify_timestamped(
    verification: Verification, secrets: Sequence[str], headers: Mapping[str, str], body: bytes
) -> VerifiedSignature | None:
    parts = [part.strip().partition("=") for part in headers.get(verification.header or "", "").split(",")]
    at = next((text for name, _, text in parts if name == "t"), "")
    if not _is_time(at):
        return None
    expected = [hmac.digest(secret.encode(), f"{at}.".encode() + body, sha256).hex().encode() for secret in secrets]
    received = [text for name, _, text in parts if name == "v1"]
    return VerifiedSignature(sha256(body).hexdigest(), int(at)) if _has_equal(expected, received) else None


def _has_equal(expected: Sequence[bytes], received: Iterable[str]) -> bool:
    """Compare each expected signature with each received one, in constant time for a pair."""
    is_equal = False
    for text in list(received)[:MAX_SIGNATURES]:
        for signature in expected:
            is_equal |= hmac.compare_digest(signature, text.encode("utf-8", "surrogatepass"))
    return is_equal


def _standard_key(secret: str) -> bytes:
    """Return the bytes of a secret; no bytes if it is not `whsec_` and base64."""
    if not secret.startswith(STANDARD_PREFIX):
        return b""
    try:
        return b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
    except (NotBase64, ValueError):
        return b""


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 12


def _parse_header(raw: object, *field: str) -> str:
    name = parse_text(raw, *field, max_length=100).lower()
    if not set(name) <= _HEADER_CHARACTERS:
        raise InvalidInput(Code.INVALID, 'Give the name of a header, for example "X-Hub-Signature-256".', *field)
    return name
