"""Named queries over the scheduled edits of one workspace. A segment has at most one, which has the id of the segment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pymongo.errors import DuplicateKeyError

from app.domain.segments.edits import ScheduledEdit
from app.domain.values.instants import from_ms, to_ms
from app.store.codecs.criteria import criteria_from_doc, criteria_to_doc
from app.store.mongo.queries import Doc, WorkspaceQueries

_FREE: Doc = {"taken": {"$exists": False}}
"""The condition that no worker has begun to make the edit."""


class ScheduledEditQueries(WorkspaceQueries):
    """Scheduled edits of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "scheduled_edits"

    async def get(self, segment_id: str) -> ScheduledEdit | None:
        """Return the edit of a segment, or None. Index: _id."""
        return (await self.get_many([segment_id])).get(segment_id)

    async def get_many(self, segment_ids: Iterable[str]) -> dict[str, ScheduledEdit]:
        """Return by segment id the edits that exist. Index: _id."""
        return {doc["_id"]: _edit_from_doc(doc) for doc in await self._by_ids(segment_ids)}

    async def put(self, edit: ScheduledEdit) -> bool:
        """Store the edit in place of another one; False if a worker has begun to make the other one. Safe to repeat.

        Index: _id.
        """
        where, doc = self._in_workspace(_id=edit.segment_id), self._in_workspace(**_edit_to_doc(edit))
        while True:
            try:
                await self._collection.replace_one({**where, **_FREE}, doc, upsert=True)
            except DuplicateKeyError:
                # It is taken, or another call has stored one just now.
                if await self._collection.find_one({**where, "taken": True}, {"_id": 1}) is not None:
                    return False
            else:
                return True

    async def withdraw(self, segment_id: str) -> bool:
        """Delete the edit of a segment, and return whether none is left: False if a worker has begun to make it.

        Safe to repeat. Index: _id.
        """
        deleted = await self._collection.delete_one(self._in_workspace(_id=segment_id, **_FREE))
        return deleted.deleted_count == 1 or await self.get(segment_id) is None

    async def take(self, edit: ScheduledEdit) -> bool:
        """Begin to make an edit, and return whether it was still there. No call replaces or withdraws it afterwards.

        Safe to repeat. Index: _id.
        """
        where = self._in_workspace(_id=edit.segment_id, edit=edit.id, due={"$gte": 0})
        return (await self._collection.update_one(where, {"$set": {"taken": True}})).matched_count == 1

    async def remove(self, edit: ScheduledEdit) -> None:
        """Delete an edit that was made. Safe to repeat. Index: _id."""
        await self._collection.delete_one(self._in_workspace(_id=edit.segment_id, edit=edit.id))

    async def refuse(self, edit: ScheduledEdit, code: str, message: str, *, retry_at: datetime | None = None) -> None:
        """Store why an edit was not made. It can be replaced and withdrawn again. Safe to repeat. Index: _id.

        With `retry_at`, a worker makes it again at that instant.
        """
        due = {} if retry_at is None else {"due": to_ms(retry_at)}
        removed = {"taken": ""} if due else {"due": "", "taken": ""}
        change = {"$set": {"problem": [code, message], **due}, "$unset": removed}
        await self._collection.update_one(self._in_workspace(_id=edit.segment_id, edit=edit.id), change)


def _edit_to_doc(edit: ScheduledEdit) -> Doc:
    return {
        "_id": edit.segment_id,
        "edit": edit.id,
        "due": to_ms(edit.at),
        "at": edit.at,
        **({} if edit.criteria is None else criteria_to_doc(edit.criteria)),
        **({} if edit.timezone is None else {"timezone": edit.timezone}),
        **({} if edit.zone_field is None else {"zone_field": edit.zone_field}),
        **({"labels": dict(edit.labels)} if edit.labels else {}),
        "notify": edit.notify,
        "fires_rules": edit.fires_rules,
        "created_at": edit.created_at,
        "by": edit.created_by,
    }


def _edit_from_doc(doc: Doc) -> ScheduledEdit:
    return ScheduledEdit(
        id=doc["edit"],
        segment_id=doc["_id"],
        at=doc["at"],
        criteria=criteria_from_doc(doc) if "criteria" in doc else None,
        timezone=doc.get("timezone"),
        zone_field=doc.get("zone_field"),
        labels=doc.get("labels", {}),
        notify=doc["notify"],
        fires_rules=doc["fires_rules"],
        created_at=doc["created_at"],
        created_by=doc["by"],
        problem=(doc["problem"][0], doc["problem"][1]) if "problem" in doc else None,
        retry_at=from_ms(doc["due"]) if "problem" in doc and "due" in doc else None,
    )
