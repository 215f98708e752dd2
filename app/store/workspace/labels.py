"""Labels of segments and rules: names in place, beside the versions of their definitions. Queries over one collection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pymongo.errors import DuplicateKeyError

from app.store.mongo.paging import Page, PageRequest, read_page, to_stored_keys
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, in_chunks, insert_new


@dataclass(frozen=True, slots=True)
class Labels:
    """Names of a segment, rule or reward. A change of them takes no revision.

    `visible_to_passes`: tokens for one pass may see id, key and name of the segment.
    """

    id: str
    key: str
    name: str
    description: str | None
    created_at: datetime
    updated_at: datetime
    visible_to_passes: bool = False


_FREED = "~"
"""What separates a freed key from the id of the object that had it, in the field of which values are unique."""


class LabelQueries(WorkspaceQueries):
    """Labels of one workspace in one collection, with their latest versions. Errors: Unavailable, safe to repeat.

    `subject` is the field by which the versions name the object.
    """

    subject = "subject"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._versions = db["definitions"]

    async def by_key(self, key: str) -> Labels | None:
        """Return the labels of a key, defined or not, or None. Index: {workspace, key}."""
        doc = await self._collection.find_one(self._in_workspace(key=key))
        return None if doc is None else labels_from_doc(doc)

    async def free_key(self, holder_id: str, key: str) -> bool:
        """Take the key from an object that is archived, and return whether it was. Safe to repeat. Four round trips.

        The object keeps showing the key. False if it is not archived, or about to be unarchived: `hold_key` names the
        version that will be in force. Indexes: _id, {workspace, segment, rev} or {workspace, subject, rev}.
        """
        found = await self._with_versions(await self._by_ids([holder_id]))
        if not found or not found[0][1]["archived"]:
            return False
        no_later_hold: Doc = {"$or": [{"held_for": {"$exists": False}}, {"held_for": {"$lte": found[0][1]["version"]}}]}
        freed = await self._collection.update_one(
            self._in_workspace(_id=holder_id, key=key, **no_later_hold),
            {"$set": {"key": f"{key}{_FREED}{holder_id}", "shown_key": key}},
        )
        return freed.matched_count == 1

    async def hold_key(self, object_id: str, key: str, version: int) -> bool:
        """Give a key to an archived object before its version `version` is inserted. Return False if another has it.

        From then on, `free_key` takes it only if that version, or a later one, is archived. False, too, if a concurrent
        call has given another key for this version; see `held_key`. Safe to repeat. Index: _id.
        """
        change: Doc = {"$set": {"key": key, "held_for": version}, "$unset": {"shown_key": ""}}
        is_first: list[Doc] = [{"held_for": {"$exists": False}}, {"held_for": {"$lt": version}}]
        where = self._in_workspace(_id=object_id, **{"$or": [*is_first, {"held_for": version, "key": key}]})
        try:
            return (await self._collection.update_one(where, change)).matched_count == 1
        except DuplicateKeyError:
            return False

    async def held_key(self, object_id: str, version: int) -> str | None:
        """Return the key that `hold_key` has given to an object for a version or a later one, or None. Index: _id."""
        where = self._in_workspace(_id=object_id, held_for={"$gte": version})
        doc = await self._collection.find_one(where, {"key": 1, "shown_key": 1})
        return None if doc is None else doc.get("shown_key", doc["key"])

    async def labels(self, ids: Iterable[str]) -> dict[str, Labels]:
        """Return the labels of the ids that exist. Index: _id."""
        return {doc["_id"]: labels_from_doc(doc) for doc in await self._by_ids(ids)}

    async def count(self) -> int:
        """Return the number of defined objects, archived ones included. Index: {workspace, created_at, _id}."""
        return await self._count(defined=True)

    async def insert_labels(self, labels: Labels) -> bool:
        """Insert labels and return whether they were stored: False if the key exists.

        Lists omit them until `set_labels`.
        """
        doc = {**_labels_to_doc(labels), "workspace": self._workspace_id, "defined": False}
        return not await insert_new(self._collection, [doc])

    async def set_labels(self, labels: Labels, *, edit_id: str | None = None) -> None:
        """Store name, description and visibility, and make lists include the object. Safe to repeat. Index: _id.

        Nothing changes if a scheduled edit, of the id `edit_id`, has changed them before.
        """
        fields = {
            "name": labels.name,
            "description": labels.description,
            "updated_at": labels.updated_at,
            "defined": True,
        }
        visibility = {"$set" if labels.visible_to_passes else "$unset": {"visible": True}}
        of_edit = {} if edit_id is None else {"last_edit": edit_id}
        change = {**visibility, "$set": {**fields, **of_edit, **visibility.get("$set", {})}}
        is_new = {name: {"$ne": value} for name, value in of_edit.items()}
        await self._collection.update_one(self._in_workspace(_id=labels.id, **is_new), change)

    async def _read_page(self, span: PageRequest) -> Page[Doc]:
        """Return documents of defined labels, the newest first; key (created ms, id). Index as for `count`."""
        order = (("created_at", -1), ("_id", -1))
        where = self._in_workspace(defined=True)
        return await read_page(self._collection, where, order, to_stored_keys(span), lambda doc: doc)

    async def _with_versions(self, docs: Sequence[Doc]) -> list[tuple[Doc, Doc]]:
        """Return the documents that have a version, each with its latest one.

        Two round trips. Only the latest versions are read in full: one takes up to 64 KB, and an object may have many.
        Indexes: {workspace, segment, rev} or {workspace, subject, rev}, _id.
        """
        if not docs:
            return []
        newest: dict[str, str] = {}
        query = self._in_workspace(**{self.subject: {"$in": [doc["_id"] for doc in docs]}})
        order = [(self.subject, 1), ("rev", 1)]
        async for version in self._versions.find(query, {self.subject: 1, "rev": 1}).sort(order):
            newest[version[self.subject]] = version["_id"]

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            return await self._versions.find({"_id": {"$in": list(chunk)}}).to_list(None)

        whole = await in_chunks(find_chunk, list(newest.values()), self._in_chunk)
        latest = {doc[self.subject]: doc for doc in whole}
        return [(doc, latest[doc["_id"]]) for doc in docs if doc["_id"] in latest]


def labels_from_doc(doc: Doc) -> Labels:
    """Return the labels of a document."""
    return Labels(
        id=doc["_id"],
        key=doc["shown_key"] if "shown_key" in doc else doc["key"],
        name=doc["name"],
        description=doc["description"],
        created_at=doc["created_at"],
        updated_at=doc["updated_at"],
        visible_to_passes=doc.get("visible", False),
    )


def _labels_to_doc(labels: Labels) -> Doc:
    return {
        "_id": labels.id,
        "key": labels.key,
        "name": labels.name,
        "description": labels.description,
        "created_at": labels.created_at,
        "updated_at": labels.updated_at,
        **({"visible": True} if labels.visible_to_passes else {}),
    }
