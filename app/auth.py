"""API keys: from the Authorization header to the actor it stands for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass

from app.clock import SystemClock
from app.domain.actors import Actor, ApiKey, secret_hash
from app.domain.errors import Unauthenticated, Unavailable
from app.resources import Resources
from app.store.workspace.keys import key_of_hash

log = logging.getLogger(__name__)

KEY_TTL_SECONDS = 1.0
"""How long a key that was just looked up is believed: a revoked or expired one works so much longer, and no more."""
LAST_USED_INTERVAL_SECONDS = 60.0
"""How often the last use of a key is written down at most."""
MAX_CACHED_KEYS = 10_000
MAX_HEADER_CHARACTERS = 512


@dataclass(slots=True)
class _CachedKey:
    actor: Actor
    until: float


class Keyring:
    """Tells who is asking. One a process: it remembers keys for a second."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._trusted: OrderedDict[bytes, _CachedKey] = OrderedDict()
        self._noted: dict[str, float] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def actor(self, authorization: str | None) -> Actor:
        """The actor of an Authorization header ("Bearer <key>").

        Raises Unauthenticated for a key that is missing, unknown, revoked or expired; Unavailable, safe to repeat.
        """
        scheme, _, secret = (authorization or "").strip().partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret or len(secret) > MAX_HEADER_CHARACTERS:
            raise Unauthenticated
        hashed, now = secret_hash(secret), time.monotonic()
        trusted = self._trusted.get(hashed)
        if trusted is None or trusted.until < now:
            key = await key_of_hash(self._resources.db, hashed)
            if key is None or not key.usable_at(await SystemClock().now()):
                self._trusted.pop(hashed, None)
                raise Unauthenticated
            trusted = self._trusted[hashed] = _CachedKey(_actor_of(key), now + KEY_TTL_SECONDS)
            self._trusted.move_to_end(hashed)
            if len(self._trusted) > MAX_CACHED_KEYS:
                self._trusted.popitem(last=False)
            self._note(key, now)
        return trusted.actor

    async def aclose(self) -> None:
        """Waits for the last uses that are being written down."""
        await asyncio.gather(*self._notes)

    def _note(self, key: ApiKey, now: float) -> None:
        if self._noted.get(key.id, -LAST_USED_INTERVAL_SECONDS) + LAST_USED_INTERVAL_SECONDS <= now:
            self._noted[key.id] = now
            task = asyncio.create_task(self._used(key))
            self._notes.add(task)
            task.add_done_callback(self._notes.discard)

    async def _used(self, key: ApiKey) -> None:
        try:
            await self._resources.workspace(key.workspace_id).keys.used(key.id, await SystemClock().now())
        except Unavailable as error:
            log.debug("last use of %s was not noted: %s", key.id, error)


def _actor_of(key: ApiKey) -> Actor:
    return Actor(key.workspace_id, key.id, key.name, frozenset(key.scopes))
