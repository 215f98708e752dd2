"""Named queries over the vocabulary of one workspace: the types and sources of its events."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.ids import word_id
from app.store.mongo.queries import WorkspaceQueries, insert_new

TYPE = "type"
SOURCE = "source"
Word = tuple[str, str]
"""(TYPE or SOURCE, the word)."""


class VocabularyQueries(WorkspaceQueries):
    """Words of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "words"

    async def types(self) -> list[str]:
        """Return the types of the events recorded so far, sorted. Index: {workspace, kind, word}."""
        return await self._words(TYPE)

    async def sources(self) -> list[str]:
        """Return the sources of the events recorded so far, sorted. Index: {workspace, kind, word}."""
        return await self._words(SOURCE)

    async def insert(self, words: Iterable[Word]) -> None:
        """Insert words that may exist already. Safe to repeat."""
        docs = [
            self._in_workspace(_id=word_id(self._workspace_id, kind, word), kind=kind, word=word)
            for kind, word in sorted(words)
        ]
        await insert_new(self._collection, docs)

    async def _words(self, kind: str) -> list[str]:
        docs = await self._collection.find(self._in_workspace(kind=kind), {"word": 1}).sort("word", 1).to_list(None)
        return [doc["word"] for doc in docs]
