"""Named queries over the segments of one workspace: their labels, with the latest versions of their definitions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.domain.passes.passes import Pass
from app.domain.segments.segments import Segment
from app.store.codecs.criteria import criteria_from_doc
from app.store.mongo.paging import Page, PageRequest, read_page, to_stored_keys
from app.store.mongo.queries import Database, Doc

from .labels import LabelQueries
from .passes import PassQueries


class SegmentQueries(LabelQueries):
    """Segments of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "segments"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, passes: PassQueries) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._versions = db["definitions"]
        self._passes = passes

    async def get(self, segment_id: str) -> Segment | None:
        """Return the segment of that id, or None. Index: _id."""
        return (await self.get_many([segment_id])).get(segment_id)

    async def get_many(self, segment_ids: Iterable[str]) -> dict[str, Segment]:
        """Return the segments that exist among the ids, with their latest versions.

        Indexes: _id, {workspace, segment, rev}.
        """
        return {segment.id: segment for segment in await self._with_versions(await self._by_ids(segment_ids))}

    async def page(self, span: PageRequest) -> Page[Segment]:
        """Return segments, the newest first; key (created ms, id). Index: {workspace, created_at, _id}."""
        order = (("created_at", -1), ("_id", -1))
        found = await read_page(
            self._collection, self._in_workspace(defined=True), order, to_stored_keys(span), lambda doc: doc
        )
        return Page(await self._with_versions(found.items), found.has_more)

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

    async def _with_versions(self, docs: Sequence[Doc]) -> list[Segment]:
        if not docs:
            return []
        ids = [doc["_id"] for doc in docs]
        newest: dict[str, Doc] = {}
        cursor = self._versions.find(self._in_workspace(segment={"$in": ids})).sort([("segment", 1), ("rev", 1)])
        async for version in cursor:
            newest[version["segment"]] = version
        return [_segment_from_docs(doc, newest[doc["_id"]]) for doc in docs if doc["_id"] in newest]


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
    )
