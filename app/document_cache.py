"""Automatic persisted documents in Redis: a share for each workspace, from which the least recently used ones drop out.

Redis loses nothing that cannot be replaced: a client sends a document that is gone once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import cast

from redis.asyncio import Redis

from app.bus import REDIS_ERRORS, REDIS_TIMEOUT_SECONDS

log = logging.getLogger(__name__)

DOCUMENT_TTL_SECONDS = 30 * 86_400
"""How long Redis keeps the documents of a workspace that uses none of them."""
MAX_STORED_DOCUMENTS = 1_000
"""Documents of one workspace in Redis."""
MAX_STORED_BYTES = 2_097_152
"""Size of all documents of one workspace in Redis, in UTF-8."""

# KEYS: the documents by hash, with their total size in the field 'bytes'; the hashes by the time of the last use.
STORE_SCRIPT = """
local documents, uses = KEYS[1], KEYS[2]
local hash, text, ttl = ARGV[1], ARGV[2], ARGV[3]
local bytes = redis.call('HINCRBY', documents, 'bytes', #text - redis.call('HSTRLEN', documents, hash))
redis.call('HSET', documents, hash, text)
local time = redis.call('TIME')
redis.call('ZADD', uses, time[1] + time[2] / 1000000, hash)
while redis.call('ZCARD', uses) > tonumber(ARGV[4]) or bytes > tonumber(ARGV[5]) do
  local oldest = redis.call('ZPOPMIN', uses)[1]
  if not oldest then break end
  bytes = redis.call('HINCRBY', documents, 'bytes', -redis.call('HSTRLEN', documents, oldest))
  redis.call('HDEL', documents, oldest)
end
redis.call('EXPIRE', documents, ttl)
redis.call('EXPIRE', uses, ttl)
"""
FIND_SCRIPT = """
local text = redis.call('HGET', KEYS[1], ARGV[1])
if text then
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[2], time[1] + time[2] / 1000000, ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end
return text
"""


class DocumentCache:
    """Documents of all workspaces in Redis, by workspace and hash. If Redis does not answer, nothing is found."""

    def __init__(self, redis: Redis, database: str) -> None:
        self._redis = redis
        self._database = database

    async def find(self, workspace_id: str, sha256: str) -> str | None:
        """Return the document with this hash, or None. One round trip."""
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                answer = self._redis.eval(FIND_SCRIPT, 2, *self._keys(workspace_id), sha256, str(DOCUMENT_TTL_SECONDS))
                text = await cast(Awaitable[bytes | None], answer)
        except REDIS_ERRORS as error:
            log.debug("persisted document not read, Redis unavailable: %s", error)
            return None
        return None if text is None else bytes(text).decode("utf-8", "replace")

    async def store(self, workspace_id: str, sha256: str, text: str) -> None:
        """Store a document and drop the workspace's oldest ones beyond its share. One round trip; safe to repeat."""
        limits = (DOCUMENT_TTL_SECONDS, MAX_STORED_DOCUMENTS, MAX_STORED_BYTES)
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                answer = self._redis.eval(
                    STORE_SCRIPT,
                    2,
                    *self._keys(workspace_id),
                    sha256,
                    text.encode("utf-8", "surrogatepass"),  # type: ignore[arg-type]  # the driver sends bytes as they are
                    *map(str, limits),
                )
                await cast(Awaitable[object], answer)
        except REDIS_ERRORS as error:
            log.debug("persisted document not stored, Redis unavailable: %s", error)

    async def forget(self, workspace_id: str) -> None:
        """Delete all documents of a workspace. Safe to repeat. Raises the driver's errors if Redis does not answer."""
        await self._redis.delete(*self._keys(workspace_id))

    def _keys(self, workspace_id: str) -> tuple[str, str]:
        prefix = f"{self._database}:documents:{workspace_id}"
        return prefix, f"{prefix}:uses"
