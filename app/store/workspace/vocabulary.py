"""Named queries over the vocabulary of one workspace: the types and sources that its events came with."""

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
        """The types of the events recorded so far, sorted. Index: {workspace, kind, word}."""
        return await self._of(TYPE)

    async def sources(self) -> list[str]:
        """The sources of the events recorded so far, sorted. Index: {workspace, kind, word}."""
        return await self._of(SOURCE)

    async def insert(self, words: Iterable[Word]) -> None:
        """Notes words that may have been noted before. Safe to repeat."""
        docs = [
            self._mine(_id=word_id(self._workspace_id, kind, word), kind=kind, word=word)
            for kind, word in sorted(words)
        ]
        await insert_new(self._all, docs)

    async def _of(self, kind: str) -> list[str]:
        docs = await self._all.find(self._mine(kind=kind), {"word": 1}).sort("word", 1).to_list(None)
        return [doc["word"] for doc in docs]
