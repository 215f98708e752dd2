"""Named queries over the event types that one workspace defined: a document for each, and one for each past version.

Every change takes the workspace's next revision, so that a process that knows a revision asks only for what came after.
"""

from __future__ import annotations

from pymongo.errors import DuplicateKeyError

from app.domain.events.attributes import Attribute, AttributeType
from app.domain.events.event_types import Acceptance, EventType, EventTypes
from app.domain.events.events import Category
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, insert_new

ACCEPTANCE = "acceptance"


class EventTypeQueries(WorkspaceQueries):
    """Event types of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "event_types"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._past = db["event_type_versions"]

    async def since(self, known: EventTypes) -> EventTypes:
        """What is known, and what came after its revision. Index: {workspace, rev}."""
        docs = await self._all.find(self._mine(rev={"$gt": known.revision})).sort("rev", 1).to_list(None)
        if not docs:
            return known
        said = [Acceptance(doc[ACCEPTANCE]) for doc in docs if ACCEPTANCE in doc]
        changed = [_from_doc(doc) for doc in docs if ACCEPTANCE not in doc]
        return known.later(changed, said[-1] if said else None, docs[-1]["rev"])

    async def put(self, after: EventType, rev: int, before: EventType | None) -> bool:
        """Whether the definition was stored at this revision in place of `before` (None: there was none).

        False where somebody else took the revision, or changed the definition first. What is replaced is kept as a past
        version, put away before: a death in between leaves a copy of what is still in force.
        """
        doc = _to_doc(after, self._workspace_id, rev)
        try:
            if before is None:
                await self._all.insert_one(doc)
                return True
            past = _to_doc(before, self._workspace_id, 0)
            await insert_new(self._past, [{**past, "_id": _past_id(before.id, before.version)}])
            here = self._mine(_id=doc.pop("_id"), version=before.version)
            found = await self._all.update_one(here, {"$set": doc})
        except DuplicateKeyError:
            return False
        return found.matched_count == 1

    async def put_acceptance(self, acceptance: Acceptance, rev: int) -> bool:
        """Whether what is taken was stored at this revision; False where the revision is taken."""
        doc = {"workspace": self._workspace_id, "rev": rev, ACCEPTANCE: acceptance.value}
        try:
            await self._all.update_one({"_id": f"{ACCEPTANCE}:{self._workspace_id}"}, {"$set": doc}, upsert=True)
        except DuplicateKeyError:
            return False
        return True

    async def past(self, type_id: str, version: int) -> EventType | None:
        """A version of a definition that is in force no more, or None. Index: _id."""
        doc = await self._past.find_one(self._mine(_id=_past_id(type_id, version)))
        return None if doc is None else _from_doc({**doc, "_id": type_id})


def _past_id(type_id: str, version: int) -> str:
    return f"{type_id}:{version}"


def _to_doc(event_type: EventType, workspace_id: str, rev: int) -> Doc:
    return {
        "_id": event_type.id,
        "workspace": workspace_id,
        "rev": rev,
        "key": event_type.key,
        "label": event_type.label,
        "category": event_type.category.value,
        "description": event_type.description,
        "attributes": [
            {
                "name": attribute.name,
                "type": attribute.type.value,
                "required": attribute.required,
                "list": attribute.list,
                "description": attribute.description,
                "allowed_values": list(attribute.allowed_values),
            }
            for attribute in event_type.attributes
        ],
        "version": event_type.version,
        "archived": event_type.archived,
        "created_at": event_type.created_at,
        "updated_at": event_type.updated_at,
    }


def _from_doc(doc: Doc) -> EventType:
    attributes = tuple(
        Attribute(
            each["name"],
            AttributeType(each["type"]),
            each["required"],
            each["list"],
            each["description"],
            tuple(each["allowed_values"]),
        )
        for each in doc["attributes"]
    )
    return EventType(
        doc["_id"],
        doc["key"],
        doc["label"],
        Category(doc["category"]),
        doc["description"],
        attributes,
        doc["version"],
        doc["archived"],
        doc["created_at"],
        doc["updated_at"],
    )
