"""Tokens for one pass: what a signed token says, and what its holder may do."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from .actors import READ, SUBSCRIBE, WRITE
from .errors import Code, InvalidInput
from .events.checkouts import TOTALED
from .events.events import RECORDED_BY, REDEMPTION, TYPES, Category
from .events.type_names import parse_type

KEY_BYTES = 32
"""Random bytes of a signing key: as many as SHA-256 has."""
DEFAULT_LIFE_SECONDS = 3_600
MAX_LIFE_SECONDS = 86_400
MAX_RECORD_TYPES = 20
"""Event types that one token may record, so that a token fits into `MAX_TOKEN_CHARACTERS`."""
MAX_TOKEN_CHARACTERS = 4_000
"""Characters of a token that are read. With it, `connection_init` of a WebSocket stays below its limit of 4,096 bytes."""


class PassTokenScope(StrEnum):
    """What the holder of a token may do with the pass."""

    READ = "READ"
    SUBSCRIBE = "SUBSCRIBE"
    RECORD = "RECORD"
    REDEEM = "REDEEM"


KEY_SCOPES = {
    PassTokenScope.READ: READ,
    PassTokenScope.SUBSCRIBE: SUBSCRIBE,
    PassTokenScope.RECORD: WRITE,
    PassTokenScope.REDEEM: WRITE,
}
"""Scope of an API key that allows operations of the same kind. A key makes no token for a scope that it lacks."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """Key of a workspace that signs tokens. It checks them until `retires_at`, if that is set."""

    id: str
    workspace_id: str
    secret: bytes
    created_at: datetime
    retires_at: datetime | None = None

    def is_usable_at(self, now: datetime) -> bool:
        """Return whether tokens that the key signed are accepted at that instant."""
        return self.retires_at is None or now < self.retires_at


@dataclass(frozen=True, slots=True)
class PassToken:
    """What a token says.

    - `pass_id`: the pass that answered when the token was made.
    - `record_types`: types of events that the holder may record; none without the scope RECORD.
    - `number`: the number of revocations in the workspace when the token was made. Revocations with higher numbers end it.
    """

    pass_id: str
    scopes: frozenset[PassTokenScope]
    record_types: frozenset[str]
    number: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """What the holder of a token may reach now: the pass that answers, and the passes that were merged into it."""

    token: PassToken
    pass_id: str
    pass_ids: frozenset[str]

    def allows(self, scope: PassTokenScope) -> bool:
        """Return whether the token has the scope."""
        return scope in self.token.scopes

    def own_names(self, external_id: str) -> tuple[str, ...]:
        """Return the external ids under which an event or redemption of the holder may be stored, that of a new one first.

        Without the pass in it, a customer could take the id of another customer's event, or learn that it exists. A token
        of a pass that was merged may have stored it under the id of that pass.
        """
        own = self.token.pass_id
        return tuple(f"{pass_id}:{external_id}" for pass_id in (own, *sorted(self.pass_ids - {own})))

    def short_name(self, external_id: str | None) -> str | None:
        """Return the external id as the holder of the token sent it; ids of other sources stay as they are."""
        owner, _, name = (external_id or "").partition(":")
        return name if owner in self.pass_ids else external_id


def parse_token_scopes(raw: Iterable[object], *field: str) -> frozenset[PassTokenScope]:
    """Return the scopes of a new token. Raises InvalidInput: REQUIRED for none, UNKNOWN for one that does not exist."""
    scopes = set()
    for index, each in enumerate(raw):
        if str(each) not in PassTokenScope.__members__:
            raise InvalidInput(Code.UNKNOWN, f"Give some of {', '.join(PassTokenScope)}.", *field, str(index))
        scopes.add(PassTokenScope(str(each)))
    if not scopes:
        raise InvalidInput(Code.REQUIRED, "Give at least one scope.", *field)
    return frozenset(scopes)


def parse_record_types(raw: Iterable[object] | None, scopes: Collection[PassTokenScope], *field: str) -> frozenset[str]:
    """Return the types of events that a new token may record. Raises InvalidInput unless they fit its scopes."""
    types = list(raw or ())
    if PassTokenScope.RECORD not in scopes:
        if types:
            raise InvalidInput(Code.INVALID, "Types need the scope RECORD. Add the scope, or leave them out.", *field)
        return frozenset()
    if not types:
        raise InvalidInput(Code.REQUIRED, "Name the types that a token with the scope RECORD may record.", *field)
    if len(types) > MAX_RECORD_TYPES:
        message = f"At most {MAX_RECORD_TYPES} types; this list has {len(types)}."
        raise InvalidInput(Code.TOO_MANY, message, *field)
    return frozenset(_parse_record_type(each, *field, str(index)) for index, each in enumerate(types))


def _parse_record_type(raw: object, *field: str) -> str:
    """Return a type that a token may record: none that moves points or money by itself, or changes a field."""
    event_type = parse_type(raw, *field)
    moves = TYPES.get(event_type) in (Category.CUSTOM, Category.FIELD_CHANGE)
    if moves or event_type in TOTALED or event_type in RECORDED_BY or event_type == REDEMPTION:
        raise InvalidInput(Code.INVALID, "A token cannot record events of this type; give another.", *field)
    return event_type


def parse_life(raw: object, *field: str) -> timedelta:
    """Return how long a new token is valid: 1 second to a day. Raises InvalidInput: OUT_OF_RANGE."""
    if isinstance(raw, bool) or not isinstance(raw, int) or not 1 <= raw <= MAX_LIFE_SECONDS:
        raise InvalidInput(Code.OUT_OF_RANGE, f"Give 1 to {MAX_LIFE_SECONDS} seconds.", *field)
    return timedelta(seconds=raw)
