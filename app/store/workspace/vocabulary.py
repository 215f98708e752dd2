"""Named queries over the vocabulary of one workspace: the types and sources of its events.

A word is doubted once an event with it was removed. The stage forget deletes a doubted word if no other event has it.
(Source: workers/stages/forget.py.)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

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

    async def certain(self) -> set[Word]:
        """Return the words that are not doubted. Index: {workspace, kind, word}."""
        docs = await self._collection.find(self._in_workspace()).to_list(None)
        return {(doc["kind"], doc["word"]) for doc in docs if "doubt" not in doc}

    async def insert(self, words: Iterable[Word]) -> None:
        """Insert words that may exist already; those that exist are doubted no more. Safe to repeat. Index: _id."""
        docs = [
            self._in_workspace(_id=self._id(word), kind=kind, word=text)
            for word in sorted(words)
            for kind, text in (word,)
        ]
        existing = await insert_new(self._collection, docs)
        if existing:
            ids = [docs[index]["_id"] for index in existing]
            await self._collection.update_many({"_id": {"$in": ids}}, {"$unset": {"doubt": ""}})

    async def doubt(self, words: Iterable[Word]) -> None:
        """Mark words of removed events as doubted. Safe to repeat. Index: _id."""
        ids = [self._id(word) for word in sorted(words)]
        if ids:
            await self._collection.update_many({"_id": {"$in": ids}}, {"$set": {"doubt": time.time_ns()}})

    async def doubted(self) -> dict[Word, int]:
        """Return the doubted words, each with the mark of its doubt. Index: {doubt, workspace}."""
        docs = await self._collection.find(self._in_workspace(doubt={"$gte": 0})).to_list(None)
        return {(doc["kind"], doc["word"]): doc["doubt"] for doc in docs}

    async def keep(self, doubted: Mapping[Word, int]) -> None:
        """Remove the doubts of words that are in use. Later doubts of the same words stay. Index: _id."""
        for word, mark in doubted.items():
            await self._collection.update_one({"_id": self._id(word), "doubt": mark}, {"$unset": {"doubt": ""}})

    async def delete(self, doubted: Mapping[Word, int]) -> None:
        """Delete words that no event has, unless they were recorded again since. Index: _id."""
        for word, mark in doubted.items():
            await self._collection.delete_one({"_id": self._id(word), "doubt": mark})

    def _id(self, word: Word) -> str:
        return word_id(self._workspace_id, *word)

    async def _words(self, kind: str) -> list[str]:
        docs = await self._collection.find(self._in_workspace(kind=kind), {"word": 1}).sort("word", 1).to_list(None)
        return [doc["word"] for doc in docs]
