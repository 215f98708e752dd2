"""Named queries over the segments of one workspace: their labels, with the latest versions of their definitions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.domain.passes.passes import Pass
from app.domain.segments.segments import Segment, SegmentVersion
from app.store.codecs.criteria import criteria_from_doc
from app.store.codecs.definitions import readable_version_from_doc, segment_version_id
from app.store.mongo.paging import Page, PageRequest, cut_page, read_page
from app.store.mongo.queries import Database, Doc

from .labels import LabelQueries, labels_from_doc
from .passes import PassQueries


class SegmentQueries(LabelQueries):
    """Segments of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "segments"
    subject = "segment"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, passes: PassQueries) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._passes = passes
        self._replaced = db["replaced_versions"]

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

    async def versions(self, segment_id: str, span: PageRequest) -> Page[SegmentVersion]:
        """Return the versions of a segment, the newest first; key (revision).

        The backfill moves versions that no pass needs any more to a collection of their own. Two round trips. Index of
        both: {workspace, segment, rev}.
        """
        found: dict[int, SegmentVersion] = {}
        has_more = False
        # In this order, a version that moves meanwhile is found twice, and never missed.
        for collection in (self._versions, self._replaced):
            where = self._in_workspace(segment=segment_id)
            by = ("workspace", "segment")
            page = await read_page(collection, where, (("rev", -1),), span, readable_version_from_doc, by=by)
            found |= {each.version.revision: each for each in page.items}
            has_more = has_more or page.has_more
        page = cut_page(list(found.values()), lambda each: (each.version.revision,), False, span)
        return Page(page.items, page.has_more or has_more)

    async def version(self, segment_id: str, number: int) -> SegmentVersion | None:
        """Return one version of a segment, or None. Two round trips. Index: _id."""
        for collection in (self._versions, self._replaced):
            doc = await collection.find_one({"_id": segment_version_id(segment_id, number)})
            if doc is not None and doc["workspace"] == self._workspace_id:
                return readable_version_from_doc(doc)
        return None

    async def has_replaced(self, segment_id: str, edit_id: str) -> bool:
        """Return whether a scheduled edit became a version that the backfill has moved. Index: {workspace, segment, rev}."""
        where = self._in_workspace(segment=segment_id, rev={"$gte": 0})
        stages: list[Doc] = [{"$match": where}, {"$match": {"origin.edit": edit_id}}, {"$limit": 1}]
        return bool(await self._replaced.aggregate(stages).to_list(None))

    async def first_version(self, segment_id: str) -> int:
        """Return the number of the oldest version that is kept; 0 for none. Index: {workspace, segment, rev}."""
        for collection in (self._replaced, self._versions):
            order = [("segment", 1), ("rev", 1)]
            doc = await collection.find_one(self._in_workspace(segment=segment_id), {"version": 1}, sort=order)
            if doc is not None:
                return int(doc["version"])
        return 0

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
    labels = labels_from_doc(doc)
    return Segment(
        id=labels.id,
        key=labels.key,
        name=labels.name,
        description=labels.description,
        criteria=criteria_from_doc(version),
        timezone=version["timezone"],
        inherits_zone=version.get("inherits_zone", False),
        zone_field=version.get("zone_field"),
        version=version["version"],
        revision=version["rev"],
        archived=version["archived"],
        created_at=labels.created_at,
        updated_at=max(labels.updated_at, version["at"]),
        visible_to_passes=doc.get("visible", False),
    )
