"""Diagnostics of rules, written by workers: what rules were asked about, for each rule and UTC hour.

Each worker stores its own counts under its id, and stores the whole counts of the hour again. So a repeat changes nothing,
and workers do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pymongo import UpdateOne

from app.domain.rules.statistics import Diagnostics
from app.domain.values.instants import HOUR_MS, from_ms
from app.store.mongo.queries import Database, ErrorTranslating, equal_to, insert_new


@dataclass(frozen=True, slots=True)
class RuleHour:
    """One rule of one workspace in one UTC hour. `number` is that of the hour since 1970."""

    workspace_id: str
    rule_id: str
    number: int

    @property
    def document_id(self) -> str:
        """The id of the document."""
        return f"{self.rule_id}:{self.number}"


class RuleCountWrites(ErrorTranslating):
    """Writes of diagnostics, across workspaces. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._collection = db["rule_counts"]

    async def store(self, worker_id: str, counts: Mapping[RuleHour, Diagnostics]) -> None:
        """Store the counts of one worker for some hours, in place of its earlier ones. Two round trips. Index: _id."""
        if not counts:
            return
        docs = [
            {
                "_id": each.document_id,
                "workspace": each.workspace_id,
                "rule": each.rule_id,
                "hour": from_ms(each.number * HOUR_MS),
                "by": {},
            }
            for each in counts
        ]
        await insert_new(self._collection, docs)
        writes = [
            UpdateOne(
                {"_id": each.document_id, "workspace": equal_to(each.workspace_id)},
                {"$set": {f"by.{worker_id}": {"matched": found.matched, "skipped": dict(found.skipped)}}},
            )
            for each, found in counts.items()
        ]
        await self._collection.bulk_write(writes, ordered=False)
