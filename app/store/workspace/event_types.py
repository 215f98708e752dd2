"""Named queries over the event types of one workspace. Each has one document, and one for each past version.

Every change takes the workspace's next revision, so a process reads only what changed after the revision that it knows.
"""

from __future__ import annotations

from pymongo.errors import DuplicateKeyError

from app.domain.events.attributes import Attribute, AttributeType
from app.domain.events.event_types import Acceptance, EventType, EventTypes
from app.domain.events.events import Category
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, insert_new

ACCEPTANCE, NEGATIVE = "acceptance", "negative_balance"
"""Fields of the document of the rules: which types are accepted, and whether deductions may leave a debt."""


class EventTypeQueries(WorkspaceQueries):
    """Event types of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "event_types"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._past = db["event_type_versions"]

    async def read_since(self, known: EventTypes) -> EventTypes:
        """Return the event types that are known, with all later changes. Index: {workspace, rev}."""
        docs = await self._collection.find(self._in_workspace(rev={"$gt": known.revision})).sort("rev", 1).to_list(None)
        if not docs:
            return known
        rules = next((doc for doc in docs if ACCEPTANCE in doc), {})
        changed = [_from_doc(doc) for doc in docs if ACCEPTANCE not in doc]
        return known.extended(
            changed,
            Acceptance(rules[ACCEPTANCE]) if rules else None,
            docs[-1]["rev"],
            allow_negative_balance=rules.get(NEGATIVE),
        )

    async def revision(self) -> int:
        """Return the revision of the last change of the event types; 0 without one. Index: {workspace, rev}."""
        docs = (
            await self._collection.find(self._in_workspace(rev={"$gt": 0}), {"rev": 1})
            .sort("rev", -1)
            .limit(1)
            .to_list(1)
        )
        return docs[0]["rev"] if docs else 0

    async def put(self, after: EventType, rev: int, before: EventType | None) -> bool:
        """Store a definition at a revision in place of `before` (None: a new one), and return whether it was stored.

        Returns False if another call took the revision or changed the definition first. The old version is copied to
        the past versions first. If the process crashes in between, the copy equals the version still in force.
        """
        doc = _to_doc(after, self._workspace_id, rev)
        try:
            if before is None:
                return not await insert_new(self._collection, [doc])
            past = _to_doc(before, self._workspace_id, 0)
            await insert_new(self._past, [{**past, "_id": _past_id(before.id, before.version)}])
            as_read = self._in_workspace(_id=doc.pop("_id"), version=before.version)
            found = await self._collection.update_one(as_read, {"$set": doc})
        except DuplicateKeyError:
            return False
        return found.matched_count == 1

    async def mark_overflowing(self, type_id: str, name: str, rev: int) -> bool:
        """Record at a revision that a dimension overflows. Return False if another change takes the revision.

        Safe to repeat. An attribute that is no dimension any more stays as it is. Index: _id.
        """
        marked = {"name": name, "dimension": True}
        where = self._in_workspace(_id=type_id, attributes={"$elemMatch": marked})
        try:
            await self._collection.update_one(where, {"$set": {"attributes.$.overflowing": True, "rev": rev}})
        except DuplicateKeyError:
            return False
        return True

    async def put_rules(self, acceptance: Acceptance, allow_negative_balance: bool | None, rev: int) -> bool:
        """Store which events are accepted and return whether it was stored: False if the revision is taken."""
        doc: Doc = {"workspace": self._workspace_id, "rev": rev, ACCEPTANCE: acceptance.value}
        if allow_negative_balance is not None:
            doc[NEGATIVE] = allow_negative_balance
        try:
            await self._collection.update_one({"_id": f"{ACCEPTANCE}:{self._workspace_id}"}, {"$set": doc}, upsert=True)
        except DuplicateKeyError:
            return False
        return True

    async def get_past(self, type_id: str, version: int) -> EventType | None:
        """Return a past version of a definition, or None. Index: _id."""
        doc = await self._past.find_one(self._in_workspace(_id=_past_id(type_id, version)))
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
                **({"dimension": True} if attribute.dimension else {}),
                **({"overflowing": True} if attribute.overflowing else {}),
            }
            for attribute in event_type.attributes
        ],
        "version": event_type.version,
        "archived": event_type.archived,
        "created_at": event_type.created_at,
        "updated_at": event_type.updated_at,
        **({} if event_type.dimensions_version is None else {"dimensions_version": event_type.dimensions_version}),
    }


def attributes_from_doc(doc: Doc) -> tuple[Attribute, ...]:
    """Return the attributes of the document of a definition."""
    return tuple(
        Attribute(
            name=each["name"],
            type=AttributeType(each["type"]),
            required=each["required"],
            list=each["list"],
            description=each["description"],
            allowed_values=tuple(each["allowed_values"]),
            dimension=each.get("dimension", False),
            overflowing=each.get("overflowing", False),
        )
        for each in doc["attributes"]
    )


def _from_doc(doc: Doc) -> EventType:
    return EventType(
        id=doc["_id"],
        key=doc["key"],
        label=doc["label"],
        category=Category.of_stored(doc["category"]),
        description=doc["description"],
        attributes=attributes_from_doc(doc),
        version=doc["version"],
        archived=doc["archived"],
        created_at=doc["created_at"],
        updated_at=doc["updated_at"],
        dimensions_version=doc.get("dimensions_version"),
    )
