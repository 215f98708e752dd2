"""Labels of segments and rules: names in place, beside the versions of their definitions. Queries over one collection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.store.mongo.queries import Doc, WorkspaceQueries, insert_new


@dataclass(frozen=True, slots=True)
class Labels:
    """Names of a segment or rule. A change of them takes no revision."""

    id: str
    key: str
    name: str
    description: str | None
    created_at: datetime
    updated_at: datetime


class LabelQueries(WorkspaceQueries):
    """Labels of one workspace in one collection. Errors: Unavailable, safe to repeat."""

    async def by_key(self, key: str) -> Labels | None:
        """Return the labels of a key, defined or not, or None. Index: {workspace, key}."""
        doc = await self._collection.find_one(self._in_workspace(key=key))
        return None if doc is None else labels_from_doc(doc)

    async def count(self) -> int:
        """Return the number of defined objects, archived ones included. Index: {workspace, created_at, _id}."""
        return await self._count(defined=True)

    async def insert_labels(self, labels: Labels) -> bool:
        """Insert labels and return whether they were stored: False if the key exists.

        Lists omit them until `set_labels`.
        """
        doc = {**_labels_to_doc(labels), "workspace": self._workspace_id, "defined": False}
        return not await insert_new(self._collection, [doc])

    async def set_labels(self, labels: Labels) -> None:
        """Store name and description, and make lists include the object. Safe to repeat. Index: _id."""
        fields = {
            "name": labels.name,
            "description": labels.description,
            "updated_at": labels.updated_at,
            "defined": True,
        }
        await self._collection.update_one(self._in_workspace(_id=labels.id), {"$set": fields})


def labels_from_doc(doc: Doc) -> Labels:
    """Return the labels of a document."""
    return Labels(
        id=doc["_id"],
        key=doc["key"],
        name=doc["name"],
        description=doc["description"],
        created_at=doc["created_at"],
        updated_at=doc["updated_at"],
    )


def _labels_to_doc(labels: Labels) -> Doc:
    return {
        "_id": labels.id,
        "key": labels.key,
        "name": labels.name,
        "description": labels.description,
        "created_at": labels.created_at,
        "updated_at": labels.updated_at,
    }
