"""Who is acting: API keys and the scopes they carry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from .errors import Code, Denied, InvalidInput

READ = "read"
WRITE = "write"
SUBSCRIBE = "subscribe"
STAFF = "staff"
"""To say which member of staff acted by hand: only keys of programs that know who is at their keyboard have it."""
ADMIN = "admin"
SCOPES = (READ, WRITE, SUBSCRIBE, STAFF, ADMIN)


@dataclass(frozen=True, slots=True)
class Actor:
    """The holder of an API key: one workspace, and what the key may do there. `admin` includes every other scope."""

    workspace_id: str
    key_id: str
    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the key has the scope."""
        return scope in self.scopes or ADMIN in self.scopes

    def require(self, scope: str) -> None:
        """Nothing; raises Denied where the key lacks the scope."""
        if not self.may(scope):
            raise Denied(scope)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is listed: never the secret, of which only a hash is stored."""

    id: str
    workspace_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    expires_at: datetime | None = None

    def usable_at(self, now: datetime) -> bool:
        """Whether requests with the key are answered then."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def secret_hash(secret: str) -> bytes:
    """What is stored of a secret: SHA-256, enough for 256 random bits."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def parse_scopes(raw: Iterable[object], *field: str) -> tuple[str, ...]:
    """The scopes in their fixed order, without repeats. Raises InvalidInput: UNKNOWN, or REQUIRED for none."""
    given = [str(scope).lower() for scope in raw]
    for index, scope in enumerate(given):
        if scope not in SCOPES:
            raise InvalidInput(Code.UNKNOWN, f"One of {', '.join(SCOPES)}.", *field, str(index))
    if not given:
        raise InvalidInput(Code.REQUIRED, "Give at least one scope.", *field)
    return tuple(scope for scope in SCOPES if scope in given)
