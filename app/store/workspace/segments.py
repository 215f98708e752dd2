"""Named queries over the segments of one workspace: their labels, with the latest versions of their definitions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.domain.passes.passes import Pass
from app.domain.segments.segments import Segment
from app.store.codecs.criteria import criteria_from_doc
from app.store.mongo.paging import Page, PageRequest
from app.store.mongo.queries import Database, Doc

from .labels import LabelQueries
from .passes import PassQueries


class SegmentQueries(LabelQueries):
    """Segments of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "segments"
    subject = "segment"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, passes: PassQueries) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._passes = passes

    async def get(self, segment_id: str) -> Segment | None:
        """Return the segment of that id, or None. Index: _id."""
        return (await self.get_many([segment_id])).get(segment_id)

    async def get_many(self, segment_ids: Iterable[str]) -> dict[str, Segment]:
        """Return the segments that exist among the ids, with their latest versions.

        Three round trips. Indexes: _id, {workspace, segment, rev}.
        """
        found = await self._with_versions(await self._by_ids(segment_ids))
        return {doc["_id"]: _segment_from_docs(doc, version) for doc, version in found}

    async def page(self, span: PageRequest) -> Page[Segment]:
        """Return segments, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        found = await self._read_page(span)
        return Page([_segment_from_docs(*each) for each in await self._with_versions(found.items)], found.has_more)

    async def visible_ids(self) -> list[str]:
        """Return the ids of the segments that tokens for one pass may see. Index: {workspace, key}."""
        return [doc["_id"] async for doc in self._collection.find(self._in_workspace(visible=True), {"_id": 1})]

    async def members(self, segment_id: str, span: PageRequest) -> Page[Pass]:
        """Return the current members; key (pass id). Index: {workspace, memberships.s, _id}."""
        return await self._passes.members(segment_id, span)

    async def member_counts(self, segment_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of current members of each segment.

        One round trip. Index: {workspace, memberships.s, _id}.
        """
        found = await self._passes.member_counts(segment_ids)
        return {segment_id: found.get(segment_id, 0) for segment_id in segment_ids}

    async def evaluated_counts(self, revs: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Return rev -> (passes in the workspace, passes evaluated under that revision or a later one). One round trip.

        Index: {workspace, rev}.
        """
        found = await self._passes.revisions()
        total = sum(found.values())
        return {rev: (total, sum(count for revision, count in found.items() if revision >= rev)) for rev in revs}


def _segment_from_docs(doc: Doc, version: Doc) -> Segment:
    return Segment(
        id=doc["_id"],
        key=doc["key"],
        name=doc["name"],
        description=doc["description"],
        criteria=criteria_from_doc(version),
        timezone=version["timezone"],
        version=version["version"],
        revision=version["rev"],
        archived=version["archived"],
        created_at=doc["created_at"],
        updated_at=max(doc["updated_at"], version["at"]),
        visible_to_passes=doc.get("visible", False),
    )
