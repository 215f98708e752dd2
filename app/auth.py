"""Authentication by API key: an Authorization header becomes the actor of the request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass

from app.clock import SystemClock
from app.domain.actors import Actor, ApiKey, secret_hash
from app.domain.errors import STORE_FAILURES, Unauthenticated
from app.resources import Resources
from app.store.workspace.keys import KeyQueries, find_key_by_hash

log = logging.getLogger(__name__)

KEY_TTL_SECONDS = 1.0
"""How long a process caches a key that it looked up. A revoked or expired key works at most this much longer."""
LAST_USED_INTERVAL_SECONDS = 60.0
"""The shortest time between two writes of a key's last use."""
MAX_CACHED_KEYS = 10_000
MAX_HEADER_CHARACTERS = 512


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

    async def actor(self, authorization: str | None) -> Actor:
        """Return the actor of an Authorization header ("Bearer <key>").

        Raises Unauthenticated for a key that is missing, unknown, revoked or expired. Raises Unavailable if the store
        does not answer; safe to repeat.
        """
        scheme, _, secret = (authorization or "").strip().partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret or len(secret) > MAX_HEADER_CHARACTERS:
            raise Unauthenticated
        hashed, now = secret_hash(secret), time.monotonic()
        cached = self._cached_keys.get(hashed)
        if cached is None or cached.valid_until < now:
            key = await find_key_by_hash(self._resources.essential_db, hashed)
            if key is None or not key.is_usable_at(await SystemClock().now()):
                self._cached_keys.pop(hashed, None)
                raise Unauthenticated
            cached = self._cached_keys[hashed] = _CachedKey(_actor_from_key(key), now + KEY_TTL_SECONDS)
            self._cached_keys.move_to_end(hashed)
            if len(self._cached_keys) > MAX_CACHED_KEYS:
                self._cached_keys.popitem(last=False)
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
