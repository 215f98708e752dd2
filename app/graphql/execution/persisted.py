"""Persisted documents: a client sends the hash or the id of a document instead of the document.

Automatic persisted documents follow Apollo's protocol. A client names a document by its hash. If the API does not have
the document, the client sends it once together with the hash. Redis stores these documents for all processes, for each
workspace by itself (`app/document_cache.py`). If Redis loses them or does not answer, clients send them again. Trusted
documents come from manifests (`trusted_documents.py`).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import replace

from app.document_cache import DocumentCache
from app.domain.actors import ADMIN, Actor
from app.graphql.errors import ErrorCode, RequestRefused, refuse

from .requests import Request
from .trusted_documents import TrustedDocuments, sha256_of

MAX_CACHED_DOCUMENTS = 1_000
MAX_CACHED_CHARACTERS = 4_000_000
HASH = re.compile(r"[0-9a-f]{64}")


class PersistedDocuments:
    """Lookup of the documents that requests name. Each process has one, with a cache."""

    def __init__(self, shared: DocumentCache, trusted: TrustedDocuments, *, only_trusted: bool = False) -> None:
        self._shared = shared
        self._trusted = trusted
        self._only_trusted = only_trusted
        self._cache: OrderedDict[tuple[str, str], str] = OrderedDict()
        """Documents of this process, by workspace and hash."""
        self._characters = 0

    async def complete(self, request: Request, actor: Actor) -> Request:
        """Return the request with the document that it names.

        If the API runs only trusted documents, a key with the scope `admin` may still send any document.
        Raises RequestRefused with one of these codes:

        - PERSISTED_QUERY_NOT_FOUND: the client has to send the document together with its hash;
        - PERSISTED_QUERY_NOT_IN_LIST: no trusted document has this id or hash;
        - QUERY_NOT_IN_SAFELIST: the document sent is not trusted;
        - BAD_REQUEST: the hash is not that of the document sent.
        """
        if request.document_id is not None:
            document = self._trusted.find(request.document_id)
            if document is None:
                raise refuse(
                    ErrorCode.PERSISTED_QUERY_NOT_IN_LIST,
                    "No trusted document has this id. Send an id of a manifest that the API has.",
                )
            return replace(request, query=document)
        sha256 = request.sha256
        trusted = self._trusted.find(sha256) if sha256 is not None else None
        if trusted is not None and request.query in ("", trusted):
            return replace(request, query=trusted)
        if self._only_trusted and ADMIN not in actor.scopes:
            return self._check_trusted(request)
        if sha256 is None:
            return request
        if request.query:
            if sha256_of(request.query) != sha256:
                message = "'sha256Hash' is not the SHA-256 hash of 'query', in lower-case hexadecimal digits."
                raise refuse(ErrorCode.BAD_REQUEST, message)
            return request
        document = await self._find(actor.workspace_id, sha256) if HASH.fullmatch(sha256) else None
        if document is None:
            # By this message and code, clients know that they have to send the whole document.
            raise refuse(ErrorCode.PERSISTED_QUERY_NOT_FOUND, "PersistedQueryNotFound")
        return replace(request, query=document)

    async def keep(self, request: Request, actor: Actor) -> None:
        """Store the document of a request that carries its hash, for later requests. Safe to repeat.

        Call it only for a valid document. Does nothing if Redis does not answer.
        """
        text, sha256 = request.query, request.sha256
        if sha256 is None or (actor.workspace_id, sha256) in self._cache or self._trusted.has(text):
            return
        self._store_in_cache(actor.workspace_id, sha256, text)
        await self._shared.store(actor.workspace_id, sha256, text)

    def _check_trusted(self, request: Request) -> Request:
        if not request.query:
            message = "No trusted document has this hash. Send the hash of a document in a manifest that the API has."
            raise refuse(ErrorCode.PERSISTED_QUERY_NOT_IN_LIST, message)
        if not self._trusted.has(request.query):
            raise _not_trusted()
        return request

    async def _find(self, workspace_id: str, sha256: str) -> str | None:
        cached = self._cache.get((workspace_id, sha256))
        if cached is not None:
            self._cache.move_to_end((workspace_id, sha256))
            return cached
        text = await self._shared.find(workspace_id, sha256)
        if text is None or sha256_of(text) != sha256:
            return None
        self._store_in_cache(workspace_id, sha256, text)
        return text

    def _store_in_cache(self, workspace_id: str, sha256: str, text: str) -> None:
        replaced = self._cache.pop((workspace_id, sha256), "")
        self._cache[workspace_id, sha256] = text
        self._characters += len(text) - len(replaced)
        while len(self._cache) > MAX_CACHED_DOCUMENTS or self._characters > MAX_CACHED_CHARACTERS:
            _, dropped = self._cache.popitem(last=False)
            self._characters -= len(dropped)


def _not_trusted() -> RequestRefused:
    message = "This API runs only trusted documents. Send the id of one, or use a key with the scope 'admin'."
    return refuse(ErrorCode.QUERY_NOT_IN_SAFELIST, message)
