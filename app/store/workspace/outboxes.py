"""Named queries over what the passes of one workspace have counted and not published yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.domain.activities import Entry
from app.domain.events.guards import Decisions
from app.store.codecs.guards import decisions_from_docs
from app.store.codecs.pass_parts import entry_from_doc
from app.store.mongo.queries import WorkspaceQueries


@dataclass(frozen=True, slots=True)
class Evaluated:
    """How far a pass is evaluated: the last instant in ms, and the ids of the events that the last fold counted."""

    until_ms: int
    last_folded_ids: frozenset[str]


class OutboxQueries(WorkspaceQueries):
    """Outboxes of the passes of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "passes"

    async def entries(self, pass_ids: Iterable[str]) -> dict[str, list[Entry]]:
        """Return by pass id the entries that may not be in the log yet, and whose events may not be stored yet.

        Publish stores events and log entries before it removes them from the outbox. So a read of them after this one
        finds all others. Index: _id.
        """
        docs = await self._by_ids(pass_ids, {"out": 1})
        return {doc["_id"]: [entry_from_doc(entry) for entry in doc.get("out", ())] for doc in docs}

    async def decisions(self, pass_ids: Iterable[str]) -> Decisions:
        """Return what the last fold of each pass decided, by the id of the event. Index: _id.

        An event that is not cleared yet has its decision here, any other one in its own document.
        """
        docs = await self._by_ids(pass_ids, {"decided": 1})
        return {key: each for doc in docs for key, each in decisions_from_docs(doc.get("decided", ())).items()}

    async def evaluated(self, pass_ids: Iterable[str]) -> dict[str, Evaluated]:
        """Return by pass id how far the passes are evaluated. Index: _id."""
        docs = await self._by_ids(pass_ids, {"at": 1, "lb": 1})
        return {doc["_id"]: Evaluated(doc["at"], frozenset(doc.get("lb", ()))) for doc in docs}
