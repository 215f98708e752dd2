"""Authentication by API key or by token for one pass: an Authorization header becomes the actor of the request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from app.clock import SystemClock
from app.domain.actors import Actor, ApiKey, secret_hash, token_holder_id
from app.domain.errors import STORE_FAILURES, Unauthenticated
from app.domain.pass_tokens import KEY_SCOPES, MAX_TOKEN_CHARACTERS, Grant, PassToken, TokenKey
from app.resources import Resources
from app.store.cache import Epochs
from app.store.workspace.keys import KeyQueries, find_key_by_hash
from app.store.workspace.pass_tokens import find_token_key
from app.store.workspace.workspaces import read_epochs
from app.tokens import find_key_id, looks_like_token, read_token

log = logging.getLogger(__name__)
K = TypeVar("K")
V = TypeVar("V")

KEY_TTL_SECONDS = 1.0
"""How long a process caches a key that it looked up. A revoked or expired key works at most this much longer."""
LAST_USED_INTERVAL_SECONDS = 60.0
"""The shortest time between two writes of a key's last use."""
MAX_CACHED_KEYS = 10_000
MAX_HEADER_CHARACTERS = 512
FAMILY_TTL_SECONDS = 1.0
"""How long a process caches which passes a token reaches. The survivor of a merge answers at most this much later."""
MAX_CACHED_FAMILIES = 10_000
MAX_CACHED_TOKEN_KEYS = 1_000
MAX_CACHED_TOKENS = 10_000


@dataclass(slots=True)
class _CachedKey:
    """Actor of a key that was looked up, valid until an instant of the process's monotonic clock."""

    actor: Actor
    valid_until: float


class Keyring:
    """Resolver of Authorization headers, one for each process. It caches each key for a second."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._cached_keys: OrderedDict[bytes, _CachedKey] = OrderedDict()
        self._recorded_at: dict[str, float] = {}
        """Monotonic seconds of the last write of each key's last use, by key id."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._tokens = _Tokens(resources)

    async def caller(self, authorization: str | None) -> Actor:
        """Return the actor of an Authorization header with an API key or with a token for one pass.

        Raises as `actor` does. Call it only where every value that the actor reaches is checked against its grant.
        """
        secret = _secret_of(authorization, MAX_TOKEN_CHARACTERS)
        return await self._tokens.actor(secret) if looks_like_token(secret) else await self.actor(authorization)

    async def actor(self, authorization: str | None) -> Actor:
        """Return the actor of an Authorization header ("Bearer <key>").

        Raises Unauthenticated for a key that is missing, unknown, revoked or expired. Raises Unavailable if the store
        does not answer; safe to repeat.
        """
        secret = _secret_of(authorization, MAX_HEADER_CHARACTERS)
        hashed, now = secret_hash(secret), time.monotonic()
        cached = self._cached_keys.get(hashed)
        if cached is None or cached.valid_until < now:
            key = await find_key_by_hash(self._resources.essential_db, hashed)
            if key is None or not key.is_usable_at(await SystemClock().now()):
                self._cached_keys.pop(hashed, None)
                raise Unauthenticated
            cached = _CachedKey(_actor_from_key(key), now + KEY_TTL_SECONDS)
            _remember(self._cached_keys, hashed, cached, MAX_CACHED_KEYS)
            self._record_use_later(key, now)
        return cached.actor

    async def aclose(self) -> None:
        """Wait for the writes of last uses that are under way."""
        await asyncio.gather(*self._tasks)

    def _record_use_later(self, key: ApiKey, now: float) -> None:
        if self._recorded_at.get(key.id, -LAST_USED_INTERVAL_SECONDS) + LAST_USED_INTERVAL_SECONDS <= now:
            self._recorded_at[key.id] = now
            task = asyncio.create_task(self._record_use(key))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _record_use(self, key: ApiKey) -> None:
        try:
            keys = KeyQueries(self._resources.essential_db, key.workspace_id, self._resources.in_chunk)
            await keys.record_use(key.id, await SystemClock().now())
        except STORE_FAILURES as error:
            log.debug("last use of key not stored: key=%s: %s", key.id, error)


def _actor_from_key(key: ApiKey) -> Actor:
    return Actor(workspace_id=key.workspace_id, key_id=key.id, name=key.name, scopes=frozenset(key.scopes))


def _secret_of(authorization: str | None, max_characters: int) -> str:
    scheme, _, secret = (authorization or "").strip().partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret or len(secret) > max_characters:
        raise Unauthenticated
    return secret


@dataclass(slots=True)
class _Family:
    """Passes that the tokens of a pass reach, as they were under `epochs`. `number` is that of their last revocation."""

    pass_id: str
    pass_ids: frozenset[str]
    number: int
    epochs: Epochs
    valid_until: float


class _Tokens:
    """Resolver of tokens for one pass. It caches keys and families of passes for a second.

    A revocation and an erasure change an epoch of the workspace, which is read again every 250 ms.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._keys: OrderedDict[str, tuple[TokenKey, float]] = OrderedDict()
        """Keys and until when they are valid, in monotonic seconds."""
        self._families: OrderedDict[tuple[str, str], _Family] = OrderedDict()
        self._checked: OrderedDict[bytes, tuple[str, PassToken]] = OrderedDict()
        """Tokens whose signature was right, with the ids of their keys, by hash. To check one takes 0.15 ms."""

    async def actor(self, text: str) -> Actor:
        """Return the holder of a token. Raises Unauthenticated, and Unavailable if the store does not answer."""
        hashed = secret_hash(text)
        key_id, token = self._checked.get(hashed) or (find_key_id(text), None)
        if key_id is None:
            raise Unauthenticated
        key, now = await self._find_key(key_id), await SystemClock().now()
        if not key.is_usable_at(now):
            raise Unauthenticated
        if token is None and (token := read_token(text, key, now)):
            _remember(self._checked, hashed, (key_id, token), MAX_CACHED_TOKENS)
        if token is None or now >= token.expires_at:
            raise Unauthenticated
        family = await self._find_family(key.workspace_id, token)
        if token.number < family.number:
            raise Unauthenticated
        return Actor(
            workspace_id=key.workspace_id,
            key_id=token_holder_id(family.pass_id),
            name="Token for one pass",
            scopes=frozenset(KEY_SCOPES[scope] for scope in token.scopes),
            grant=Grant(token, family.pass_id, family.pass_ids),
        )

    async def _find_key(self, key_id: str) -> TokenKey:
        now = time.monotonic()
        cached, valid_until = self._keys.get(key_id, (None, 0.0))
        if cached is None or valid_until < now:
            cached = await find_token_key(self._resources.essential_db, key_id)
            if cached is None:
                self._keys.pop(key_id, None)
                raise Unauthenticated
            _remember(self._keys, key_id, (cached, now + KEY_TTL_SECONDS), MAX_CACHED_TOKEN_KEYS)
        return cached

    async def _find_family(self, workspace_id: str, token: PassToken) -> _Family:
        now = time.monotonic()
        # The epochs are read before the passes, so what is cached under them is never older than they are.
        epochs = await self._resources.cache.epochs(workspace_id, lambda: self._read_epochs(workspace_id))
        cached = self._families.get((workspace_id, token.pass_id))
        if cached is not None and cached.epochs == epochs and now <= cached.valid_until:
            return cached
        workspace = self._resources.workspace(workspace_id)
        survivor = (await workspace.passes.existing([token.pass_id])).get(token.pass_id)
        if survivor is None:
            raise Unauthenticated
        pass_ids = frozenset({survivor, *(await workspace.passes.aliases([survivor])).get(survivor, ())})
        number = await workspace.token_revocations.last_number(pass_ids)
        family = _Family(survivor, pass_ids, number, epochs=epochs, valid_until=now + FAMILY_TTL_SECONDS)
        _remember(self._families, (workspace_id, token.pass_id), family, MAX_CACHED_FAMILIES)
        return family

    async def _read_epochs(self, workspace_id: str) -> Epochs:
        return await read_epochs(self._resources.essential_db, workspace_id)


def _remember(cache: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > limit:
        cache.popitem(last=False)
