"""PersistedDocuments operations: documents that a request names instead of sending them.

Automatic ones are named by their hash, and sent once with it by whoever is first (Apollo's protocol); they lie in Redis
for every process, and a Redis that is away makes clients send them again. TrustedDocuments ones come from manifests.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from dataclasses import replace

from redis.asyncio import Redis

from app.bus import REDIS_ERRORS, REDIS_TIMEOUT_SECONDS
from app.domain.actors import ADMIN, Actor
from app.graphql.errors import ErrorCode, RequestRefused, refuse

from .requests import Request
from .trusted_documents import TrustedDocuments, sha256_of

log = logging.getLogger(__name__)

DOCUMENT_TTL_SECONDS = 30 * 86_400
"""A document that is still in use after so long is sent once more."""
MAX_DOCUMENT_CHARACTERS = 100_000
MAX_CACHED_DOCUMENTS = 1_000
MAX_CACHED_CHARACTERS = 4_000_000
HASH = re.compile(r"[0-9a-f]{64}")


class PersistedDocuments:
    """Completes requests. One a process: it remembers what it found last."""

    def __init__(self, redis: Redis, database: str, trusted: TrustedDocuments, *, only_trusted: bool = False) -> None:
        self._redis = redis
        self._database = database
        self._trusted = trusted
        self._only_trusted = only_trusted
        self._known: OrderedDict[str, str] = OrderedDict()
        self._characters = 0

    async def completed(self, request: Request, actor: Actor) -> Request:
        """The request with the document that it names. Keys with the scope `admin` may send what is not trusted, always.

        Raises RequestRefused: PERSISTED_QUERY_NOT_FOUND asks for the whole document together with its hash;
        PERSISTED_QUERY_NOT_IN_LIST and QUERY_NOT_IN_SAFELIST say that it is not trusted; BAD_REQUEST, that the hash is
        not the document's.
        """
        if request.document_id is not None:
            found = self._trusted.find(request.document_id)
            if found is None:
                raise refuse(ErrorCode.PERSISTED_QUERY_NOT_IN_LIST, "There is no trusted document with this id.")
            return replace(request, query=found)
        named = request.sha256
        trusted = self._trusted.find(named) if named is not None else None
        if trusted is not None and request.query in ("", trusted):
            return replace(request, query=trusted)
        if self._only_trusted and ADMIN not in actor.scopes:
            return self._judged(request)
        if named is None:
            return request
        if request.query:
            if sha256_of(request.query) != named:
                raise refuse(ErrorCode.BAD_REQUEST, "The sha256Hash is not that of the query.")
            return request
        found = await self._find(named) if HASH.fullmatch(named) else None
        if found is None:
            # The words and the code by which clients know to send the document in full.
            raise refuse(ErrorCode.PERSISTED_QUERY_NOT_FOUND, "PersistedQueryNotFound")
        return replace(request, query=found)

    async def keep(self, request: Request) -> None:
        """Remembers the document of a request that came with its hash and was found valid. Safe to repeat."""
        text, named = request.query, request.sha256
        if named is None or len(text) > MAX_DOCUMENT_CHARACTERS or named in self._known or self._trusted.has(text):
            return
        self._remember(named, text)
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                await self._redis.set(self._key(named), text.encode(), ex=DOCUMENT_TTL_SECONDS)
        except REDIS_ERRORS as error:
            log.debug("a document was not kept: %s", error)

    def _judged(self, request: Request) -> Request:
        if not request.query:
            said = "There is no trusted document with this hash."
            raise refuse(ErrorCode.PERSISTED_QUERY_NOT_IN_LIST, said)
        if not self._trusted.has(request.query):
            raise _not_safe()
        return request

    async def _find(self, named: str) -> str | None:
        known = self._known.get(named)
        if known is not None:
            self._known.move_to_end(named)
            return known
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                stored = await self._redis.get(self._key(named))
        except REDIS_ERRORS as error:
            log.debug("a document was not found: %s", error)
            return None
        text = None if stored is None else bytes(stored).decode("utf-8", "replace")
        if text is None or sha256_of(text) != named:
            return None
        self._remember(named, text)
        return text

    def _remember(self, named: str, text: str) -> None:
        self._known[named] = text
        self._characters += len(text)
        while len(self._known) > MAX_CACHED_DOCUMENTS or self._characters > MAX_CACHED_CHARACTERS:
            _, forgotten = self._known.popitem(last=False)
            self._characters -= len(forgotten)

    def _key(self, named: str) -> str:
        return f"{self._database}:document:{named}"


def _not_safe() -> RequestRefused:
    said = "Only trusted documents are run here: send the id of one, or use a key with the scope 'admin'."
    return refuse(ErrorCode.QUERY_NOT_IN_SAFELIST, said)
