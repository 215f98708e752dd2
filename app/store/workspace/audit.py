"""Named queries over the audit log of one workspace: written once, never changed."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.audit import AuditEntry
from app.store.mongo.paging import Page, PageRequest, by_instant, page_of
from app.store.mongo.queries import Doc, WorkspaceQueries


class AuditQueries(WorkspaceQueries):
    """The audit log of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "audit"

    async def insert(self, entry: AuditEntry) -> None:
        """Writes an entry down."""
        await self._all.insert_one(
            self._mine(
                _id=entry.id,
                at=entry.at,
                action=entry.action,
                key=entry.key_id,
                subject=list(entry.subject),
                ip_address=entry.ip_address,
                details=dict(entry.details),
            )
        )

    async def get_many(self, entry_ids: Iterable[str]) -> dict[str, AuditEntry]:
        """The entries that exist among the ids. Index: _id."""
        return {doc["_id"]: _entry(doc) for doc in await self._by_ids(entry_ids)}

    async def page(self, span: PageRequest) -> Page[AuditEntry]:
        """Entries, the newest first; key (ms, id). Index: {workspace, at, _id}."""
        return await page_of(self._all, self._mine(), (("at", -1), ("_id", -1)), by_instant(span), _entry)

    async def count(self) -> int:
        """How many entries there are. Index: {workspace, at, _id}."""
        return await self._all.count_documents(self._mine())


def _entry(doc: Doc) -> AuditEntry:
    kind, subject = doc["subject"]
    return AuditEntry(
        doc["_id"], doc["at"], doc["action"], doc["key"], (kind, subject), doc["ip_address"], doc["details"]
    )
