"""Named queries over the segments of one workspace: their labels, and one document for each version of a definition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pymongo.errors import DuplicateKeyError

from app.domain.passes.passes import Pass
from app.domain.segments.criteria import parse_criteria
from app.domain.segments.segments import Segment, Version
from app.store.codecs.definitions import ANY_CURRENCY, version_doc, version_from
from app.store.mongo.paging import Page, PageRequest, by_instant, page_of
from app.store.mongo.queries import Database, Doc, WorkspaceQueries

from .passes import PassQueries


@dataclass(frozen=True, slots=True)
class SegmentLabels:
    """What a segment is called; no revision is taken when it changes."""

    id: str
    key: str
    name: str
    description: str | None
    created_at: datetime
    updated_at: datetime


class SegmentQueries(WorkspaceQueries):
    """Segments of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "segments"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, passes: PassQueries) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._versions, self._workspaces = db["definitions"], db["workspaces"]
        self._passes = passes

    async def get(self, segment_id: str) -> Segment | None:
        """The segment of that id, or None. Index: _id."""
        return (await self.get_many([segment_id])).get(segment_id)

    async def get_many(self, segment_ids: Iterable[str]) -> dict[str, Segment]:
        """The segments that exist among the ids, each with its latest version. Indexes: _id, {workspace, segment, rev}."""
        return {segment.id: segment for segment in await self._joined(await self._by_ids(segment_ids))}

    async def by_key(self, key: str) -> SegmentLabels | None:
        """The labels under a key, defined or not, or None. Index: {workspace, key}."""
        doc = await self._all.find_one(self._mine(key=key))
        return None if doc is None else labels_from(doc)

    async def page(self, span: PageRequest) -> Page[Segment]:
        """Segments, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        found = await page_of(self._all, self._mine(defined=True), order, by_instant(span), lambda doc: doc)
        return Page(await self._joined(found.items), found.has_more)

    async def count(self) -> int:
        """How many segments the workspace has, archived ones included. Index: {workspace, created_at, _id}."""
        return await self._all.count_documents(self._mine(defined=True))

    async def members(self, segment_id: str, span: PageRequest) -> Page[Pass]:
        """The current members; key (pass id)."""
        return await self._passes.members(segment_id, span)

    async def member_counts(self, segment_ids: Sequence[str]) -> dict[str, int]:
        """How many passes are in each of some segments now; one round trip."""
        found = await self._passes.member_counts(segment_ids)
        return {segment_id: found.get(segment_id, 0) for segment_id in segment_ids}

    async def evaluated_counts(self, revs: Iterable[int]) -> dict[int, tuple[int, int]]:
        """rev -> (passes in the workspace, passes judged under that revision or a later one); one round trip."""
        found = await self._passes.revisions()
        total = sum(found.values())
        return {rev: (total, sum(count for at, count in found.items() if at >= rev)) for rev in revs}

    async def insert_labels(self, labels: SegmentLabels) -> bool:
        """Whether the labels were stored; False where the key is taken. Not listed until `defined` is called."""
        try:
            await self._all.insert_one({**_labels_doc(labels), "workspace": self._workspace_id, "defined": False})
        except DuplicateKeyError:
            return False
        return True

    async def set_labels(self, labels: SegmentLabels) -> None:
        """Stores name and description, and lists the segment. Safe to repeat."""
        fields = {
            "name": labels.name,
            "description": labels.description,
            "updated_at": labels.updated_at,
            "defined": True,
        }
        await self._all.update_one(self._mine(_id=labels.id), {"$set": fields})

    async def versions(self, after_rev: int = 0) -> list[Version]:
        """The versions made after a revision, oldest first. Index: {workspace, rev}."""
        docs = await self._versions.find(self._mine(rev={"$gt": after_rev})).sort("rev", 1).to_list(None)
        return [version_from(doc) for doc in docs]

    async def highest_rev(self) -> int:
        """The workspace's highest revision; 0 where nothing was ever defined. Index: {workspace, rev}."""
        doc = await self._versions.find_one(self._mine(), {"rev": 1}, sort=[("rev", -1)])
        return 0 if doc is None else int(doc["rev"])

    async def insert_version(self, version: Version) -> bool:
        """Whether the version was stored; False where its revision is taken. Index: {workspace, rev}.

        The revision is announced first: the backfill forgets an announcement only once that revision exists and no pass
        lags behind it, so a death between the two writes loses nothing.
        """
        await self._workspaces.update_one({"_id": self._workspace_id}, {"$max": {"stale": version.revision}})
        try:
            await self._versions.insert_one(version_doc(version, self._workspace_id))
        except DuplicateKeyError:
            return False
        return True

    async def _joined(self, docs: Sequence[Doc]) -> list[Segment]:
        if not docs:
            return []
        ids = [doc["_id"] for doc in docs]
        newest: dict[str, Doc] = {}
        cursor = self._versions.find(self._mine(segment={"$in": ids})).sort([("segment", 1), ("rev", 1)])
        async for version in cursor:
            newest[version["segment"]] = version
        return [_segment(doc, newest[doc["_id"]]) for doc in docs if doc["_id"] in newest]


def labels_from(doc: Doc) -> SegmentLabels:
    """Stored labels."""
    return SegmentLabels(doc["_id"], doc["key"], doc["name"], doc["description"], doc["created_at"], doc["updated_at"])


def _labels_doc(labels: SegmentLabels) -> Doc:
    return {
        "_id": labels.id,
        "key": labels.key,
        "name": labels.name,
        "description": labels.description,
        "created_at": labels.created_at,
        "updated_at": labels.updated_at,
    }


def _segment(doc: Doc, version: Doc) -> Segment:
    return Segment(
        doc["_id"],
        doc["key"],
        doc["name"],
        doc["description"],
        parse_criteria(version["criteria"], ANY_CURRENCY),
        version["timezone"],
        version["version"],
        version["rev"],
        version["archived"],
        doc["created_at"],
        max(doc["updated_at"], version["at"]),
    )
