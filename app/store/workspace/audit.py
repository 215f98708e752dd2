"""Named queries over the audit log of one workspace. Entries never change."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.audit import AuditEntry
from app.store.mongo.paging import Page, PageRequest, read_page, to_stored_keys
from app.store.mongo.queries import Doc, WorkspaceQueries, insert_new


class AuditQueries(WorkspaceQueries):
    """Audit log of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "audit"

    async def insert(self, entry: AuditEntry) -> None:
        """Insert an entry, unless one of its id exists."""
        doc = self._in_workspace(
            _id=entry.id,
            at=entry.at,
            action=entry.action,
            key=entry.key_id,
            subject=list(entry.subject),
            ip_address=entry.ip_address,
            details=dict(entry.details),
        )
        await insert_new(self._collection, [doc])

    async def get_many(self, entry_ids: Iterable[str]) -> dict[str, AuditEntry]:
        """Return the entries that exist among the ids. Index: _id."""
        return {doc["_id"]: _entry_from_doc(doc) for doc in await self._by_ids(entry_ids)}

    async def page(self, span: PageRequest) -> Page[AuditEntry]:
        """Return entries, the newest first; key (ms, id). Index: {workspace, at, _id}."""
        return await read_page(
            self._collection, self._in_workspace(), (("at", -1), ("_id", -1)), to_stored_keys(span), _entry_from_doc
        )

    async def count(self) -> int:
        """Return the number of entries. Index: {workspace, at, _id}."""
        return await self._count()


def _entry_from_doc(doc: Doc) -> AuditEntry:
    kind, subject = doc["subject"]
    return AuditEntry(
        id=doc["_id"],
        at=doc["at"],
        action=doc["action"],
        key_id=doc["key"],
        subject=(kind, subject),
        ip_address=doc["ip_address"],
        details=doc["details"],
    )
