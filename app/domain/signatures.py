"""Signatures: whether a request was made by who knows the secret of a hook, by the schemes that senders use; and ours.

Sources: the Standard Webhooks specification (also under the header names of Svix, which it grew from), GitHub's and
Shopify's HMAC headers, Stripe's `t=…,v1=…`. Comparisons take the same time whatever they find.
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
MIN_SECRET = 16
MAX_SECRET = 255
MAX_SIGNATURES = 20
MAX_IDENTITY = 255
STRIPE_HEADER = "stripe-signature"
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


class Scheme(StrEnum):
    """How a sender signs its requests."""

    STANDARD = "STANDARD"
    HMAC_SHA256 = "HMAC_SHA256"
    TIMESTAMPED_HMAC_SHA256 = "TIMESTAMPED_HMAC_SHA256"


class Encoding(StrEnum):
    """How the bytes of a signature are written."""

    HEX = "HEX"
    BASE64 = "BASE64"


@dataclass(frozen=True, slots=True)
class Verification:
    """How the requests of one sender are told from anybody's: the scheme, and where it puts the signature."""

    scheme: Scheme = Scheme.STANDARD
    header: str | None = None
    encoding: Encoding = Encoding.HEX
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """What a good signature vouches for: which message it is, and when it was signed where the scheme says so.

    `at_seconds` is in seconds since 1970-01-01T00:00:00Z.
    """

    identity: str
    at_seconds: int | None = None

    def stale(self, now_seconds: float) -> bool:
        """Whether it was signed more than five minutes ago, or ahead."""
        return self.at_seconds is not None and abs(now_seconds - self.at_seconds) > TOLERANCE_SECONDS


def parse_verification(
    scheme: Scheme, header: object = None, encoding: Encoding | None = None, prefix: object = None, *field: str
) -> Verification:
    """The checked verification. Raises InvalidInput where a scheme lacks what it needs, or has no use for what is given."""
    if scheme is Scheme.STANDARD:
        for name, given in (("header", header), ("encoding", encoding), ("prefix", prefix)):
            if given is not None:
                raise InvalidInput(Code.UNSUPPORTED, "Standard Webhooks lays this down itself.", *field, name)
        return Verification()
    if scheme is Scheme.TIMESTAMPED_HMAC_SHA256:
        for name, given in (("encoding", encoding), ("prefix", prefix)):
            if given is not None:
                raise InvalidInput(Code.UNSUPPORTED, "The scheme lays this down itself.", *field, name)
        return Verification(scheme, STRIPE_HEADER if header is None else _header(header, *field, "header"))
    if header is None:
        raise InvalidInput(
            Code.REQUIRED, 'Name the header of the signature, for example "X-Hub-Signature-256".', *field, "header"
        )
    start = "" if prefix is None or prefix == "" else parse_text(prefix, *field, "prefix", most=50)
    return Verification(scheme, _header(header, *field, "header"), encoding or Encoding.HEX, start)


def parse_secret(raw: object, scheme: Scheme, *field: str) -> str:
    """The secret as a sender gave it: `whsec_` and base64 of 24 to 64 bytes for STANDARD, else 16 to 255 characters.

    Raises InvalidInput.
    """
    text = parse_text(raw, *field, most=MAX_SECRET)
    if scheme is Scheme.STANDARD:
        if not MIN_KEY_BYTES <= len(_standard_key(text)) <= MAX_KEY_BYTES:
            raise InvalidInput(
                Code.INVALID, f"Write {MIN_KEY_BYTES} to {MAX_KEY_BYTES} random bytes as '{STANDARD_PREFIX}' and base64.",
                *field,
            )  # fmt: skip
    elif len(text) < MIN_SECRET:
        raise InvalidInput(Code.INVALID, f"At least {MIN_SECRET} characters.", *field)
    return text


def generate_secret(key: bytes) -> str:
    """The secret that spells these bytes; it serves every scheme."""
    return STANDARD_PREFIX + b64encode(key).decode()


def standard_signatures(secrets: Iterable[str], identity: str, at_seconds: int, body: bytes) -> str:
    """The `webhook-signature` of a message of this identity sent at that time: one signature for each secret."""
    content = _standard_content(identity, str(at_seconds), body)
    return " ".join(f"v1,{_standard_made(_standard_key(secret), content).decode()}" for secret in secrets)


def verify_signature(
    verification: Verification, secrets: Sequence[str], headers: Mapping[str, str], body: bytes
) -> VerifiedSignature | None:
    """What the signature of a request vouches for; None where there is none by one of the secrets.

    `headers` are by their names in small letters. Whether the time of the signature will do is for the caller to ask.
    """
    match verification.scheme:
        case Scheme.STANDARD:
            return _standard(secrets, headers, body)
        case Scheme.HMAC_SHA256:
            return _plain(verification, secrets, headers, body)
    return _timestamped(verification, secrets, headers, body)


def _standard(secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> VerifiedSignature | None:
    family = "webhook" if "webhook-id" in headers else "svix"
    identity, at, given = (headers.get(f"{family}-{name}", "") for name in ("id", "timestamp", "signature"))
    if not 0 < len(identity) <= MAX_IDENTITY or not _is_time(at):
        return None
    content = _standard_content(identity, at, body)
    found = [text for version, _, text in (part.partition(",") for part in given.split(" ")) if version == "v1"]
    # An empty key is no key: anybody could sign with it.
    keys = [key for secret in secrets if (key := _standard_key(secret))]
    made = [_standard_made(key, content) for key in keys]
    return VerifiedSignature(identity, int(at)) if _any_equal(made, found) else None


def _standard_content(identity: str, at: str, body: bytes) -> bytes:
    return f"{identity}.{at}.".encode("utf-8", "surrogatepass") + body


def _standard_made(key: bytes, content: bytes) -> bytes:
    return b64encode(hmac.digest(key, content, sha256))


def _plain(
    verification: Verification, secrets: Sequence[str], headers: Mapping[str, str], body: bytes
) -> VerifiedSignature | None:
    given = headers.get(verification.header or "", "").strip()
    if not given.startswith(verification.prefix):
        return None
    text = given.removeprefix(verification.prefix)
    made = [hmac.digest(secret.encode(), body, sha256) for secret in secrets]
    if verification.encoding is Encoding.BASE64:
        equal = _any_equal([b64encode(each) for each in made], [text])
    else:
        equal = _any_equal([each.hex().encode() for each in made], [text.lower()])
    return VerifiedSignature(sha256(body).hexdigest()) if equal else None


def _timestamped(
    verification: Verification, secrets: Sequence[str], headers: Mapping[str, str], body: bytes
) -> VerifiedSignature | None:
    parts = [part.strip().partition("=") for part in headers.get(verification.header or "", "").split(",")]
    at = next((text for name, _, text in parts if name == "t"), "")
    if not _is_time(at):
        return None
    made = [hmac.digest(secret.encode(), f"{at}.".encode() + body, sha256).hex().encode() for secret in secrets]
    found = [text for name, _, text in parts if name == "v1"]
    return VerifiedSignature(sha256(body).hexdigest(), int(at)) if _any_equal(made, found) else None


def _any_equal(made: Sequence[bytes], given: Iterable[str]) -> bool:
    equal = False
    for text in list(given)[:MAX_SIGNATURES]:
        for each in made:
            equal |= hmac.compare_digest(each, text.encode("utf-8", "surrogatepass"))
    return equal


def _standard_key(secret: str) -> bytes:
    """The bytes of a secret; none where it is not spelt as the standard says."""
    if not secret.startswith(STANDARD_PREFIX):
        return b""
    try:
        return b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
    except (NotBase64, ValueError):
        return b""


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 12


def _header(raw: object, *field: str) -> str:
    name = parse_text(raw, *field, most=100).lower()
    if not set(name) <= _TOKEN:
        raise InvalidInput(Code.INVALID, 'Give the name of a header, for example "X-Hub-Signature-256".', *field)
    return name
