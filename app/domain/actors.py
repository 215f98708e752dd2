"""API keys, their scopes, and the actor of a request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from .errors import Code, Denied, DeniedToToken, InvalidInput

if TYPE_CHECKING:
    from .pass_tokens import Grant

READ = "read"
WRITE = "write"
SUBSCRIBE = "subscribe"
STAFF = "staff"
"""Scope to name the member of staff who recorded an event by hand.

Grant it only to programs that authenticate staff.
"""
ADMIN = "admin"
SCOPES = (READ, WRITE, SUBSCRIBE, STAFF, ADMIN)


@dataclass(frozen=True, slots=True)
class Actor:
    """Holder of an API key in one workspace, with the scopes of the key. `admin` includes every other scope.

    With a `grant`, the holder of a token for one pass. Its `key_id` names the pass, so all tokens of a pass share limits.
    """

    workspace_id: str
    key_id: str
    name: str
    scopes: frozenset[str]
    grant: Grant | None = None

    def has_scope(self, scope: str) -> bool:
        """Return whether the key has the scope."""
        return scope in self.scopes or ADMIN in self.scopes

    def require(self, scope: str) -> None:
        """Raise Denied unless the key has the scope."""
        if not self.has_scope(scope):
            raise Denied(scope) if self.grant is None else DeniedToToken(f"This token lacks the scope for '{scope}'.")


OPERATOR_PREFIX = "punchcard-"
"""How the ids of operators begin. Ids of API keys begin with `key_`."""


def operator(workspace_id: str, command: str) -> Actor:
    """Return the actor of a command of the command line, such as `truncate`. It has no API key."""
    key_id = f"{OPERATOR_PREFIX}{command}-command"
    return Actor(workspace_id, key_id, name=f"punchcard {command}", scopes=frozenset({WRITE, ADMIN}))


TOKEN_PREFIX = "token_"
"""How the ids of holders of tokens for one pass begin. The rest is that of the id of the pass."""


def token_holder_id(pass_id: str) -> str:
    """Return the id of the actor that holds a token for the pass."""
    return TOKEN_PREFIX + pass_id.removeprefix("pass_")


def is_token_holder(key_id: str) -> bool:
    """Return whether the id of an actor names the holder of a token for one pass instead of an API key."""
    return key_id.startswith(TOKEN_PREFIX)


def is_operator(key_id: str) -> bool:
    """Return whether the id of an actor names a command of the command line instead of an API key."""
    return key_id.startswith(OPERATOR_PREFIX)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """API key without its secret. Only a hash of the secret is stored."""

    id: str
    workspace_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    expires_at: datetime | None = None

    def is_usable_at(self, now: datetime) -> bool:
        """Return whether the key is valid at that instant: neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def secret_hash(secret: str) -> bytes:
    """Return the SHA-256 hash that is stored in place of a secret.

    A slow password hash is not needed, because a secret has 256 random bits.
    """
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def parse_scopes(raw: Iterable[object], *field: str) -> tuple[str, ...]:
    """Return the scopes without repeats, in the order of `SCOPES`.

    Raises InvalidInput: UNKNOWN for an unknown scope, REQUIRED for an empty list.
    """
    names = [str(scope).lower() for scope in raw]
    for index, name in enumerate(names):
        if name not in SCOPES:
            raise InvalidInput(Code.UNKNOWN, f"Give one of {', '.join(SCOPES)}.", *field, str(index))
    if not names:
        raise InvalidInput(Code.REQUIRED, "Give at least one scope.", *field)
    return tuple(scope for scope in SCOPES if scope in names)
