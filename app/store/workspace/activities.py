"""Named queries over the activities of one workspace: a log with dense positions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.domain.activities import Activity, ActivityQuery, activity_id
from app.store.codecs.pass_parts import from_bson, to_bson
from app.store.mongo.conditions import between
from app.store.mongo.paging import Page, PageRequest, count_of, page_of
from app.store.mongo.queries import Doc, WorkspaceQueries, insert_new


class ActivityQueries(WorkspaceQueries):
    """Activities of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "activities"

    async def page(self, query: ActivityQuery, span: PageRequest) -> Page[Activity]:
        """Activities in order of position; key (position).

        Index: {workspace, pass, pos} with a pass, {workspace, segment, pos} with segments, {workspace, type, pos} with
        types, else {workspace, pos}.
        """
        where = self._where(query)
        return await page_of(self._all, where, (("pos", 1),), span, from_doc, by=_by(where))

    async def count(self, query: ActivityQuery, bounds: tuple[int, int] | None = None) -> int:
        """How many activities match, with bounds behind the first position, up to the second. Indexes as for `page`."""
        where = self._where(query)
        if bounds is not None:
            where["pos"] = {"$gt": bounds[0], "$lt": bounds[1] + 1}
        return await count_of(self._all, where, _by(where), "pos")

    async def get_many(self, activity_ids: Iterable[str]) -> dict[str, Activity]:
        """The activities that exist among the ids. Index: _id."""
        return {doc["_id"]: from_doc(doc) for doc in await self._by_ids(activity_ids)}

    async def after(self, pos: int, limit: int) -> list[Activity]:
        """The activities at positions pos + 1 to pos + limit, in order; no hole among them. Index: {workspace, pos}."""
        where = self._mine(pos={"$gt": pos, "$lte": pos + limit})
        docs = await self._all.find(where).sort("pos", 1).to_list(None)
        return [from_doc(doc) for doc in docs]

    async def last_pos(self, known: int = 0) -> int:
        """The position of the newest activity; 0 for an empty log. Index: {workspace, pos}.

        `known` is a position that exists already: the embedded server sorts whatever lies beyond it.
        """
        doc = await self._all.find_one(self._mine(pos={"$gte": known}), {"pos": 1}, sort=[("pos", -1)])
        return known if doc is None else int(doc["pos"])

    async def append(self, activities: Sequence[Activity]) -> int:
        """How many of the activities were appended before a position or an activity turned out to be taken.

        The activities have consecutive positions. All were appended when the answer is their number.
        """
        docs = [to_doc(activity, self._workspace_id) for activity in activities]
        return min(await insert_new(self._all, docs, ordered=True), default=len(docs))

    def _where(self, query: ActivityQuery) -> Doc:
        where = self._mine()
        if query.types:
            where["type"] = any_of(query.types)
        if query.category is not None:
            where["category"] = query.category
        if query.pass_id is not None:
            where["pass"] = any_of([query.pass_id, *query.aliases])
        if query.segment_ids:
            where["segment"] = any_of(query.segment_ids)
        where |= between("occurred_at", query.occurred_after, query.occurred_before)
        where |= between("recorded_at", query.recorded_after, query.recorded_before)
        if not query.include_silent:
            where["silent"] = {"$ne": True}
        if not query.include_historical:
            where["historical"] = {"$ne": True}
        return where


def to_doc(activity: Activity, workspace_id: str) -> Doc:
    """The document of an activity; flags that are off are left out."""
    doc: Doc = {
        "_id": activity_id(activity.pass_id, activity.pass_sequence),
        "workspace": workspace_id,
        "pos": activity.position,
        "pass": activity.pass_id,
        "n": activity.pass_sequence,
        "type": activity.type,
        "category": activity.category,
        "occurred_at": activity.occurred_at,
        "recorded_at": activity.recorded_at,
        "cause": dict(activity.cause),
        "data": _encoded(activity.data),
    }
    if activity.segment_id is not None:
        doc["segment"] = activity.segment_id
    for flag in ("late", "silent", "historical"):
        if getattr(activity, flag):
            doc[flag] = True
    return doc


def from_doc(doc: Doc) -> Activity:
    """The activity of a document."""
    return Activity(
        doc["pos"],
        doc["n"],
        doc["pass"],
        doc["type"],
        doc["category"],
        doc["occurred_at"],
        doc["recorded_at"],
        doc["cause"],
        _decoded(doc["data"]),
        doc.get("segment"),
        doc.get("late", False),
        doc.get("silent", False),
        doc.get("historical", False),
    )


def _by(where: Doc) -> tuple[str, ...]:
    if "pass" in where:
        return ("workspace", "pass")
    one = [name for name in ("segment", "type") if isinstance(where.get(name), str)]
    return ("workspace", *one[:1])


def any_of(values: Sequence[str]) -> Any:
    """The condition "one of these".

    One value is asked for as such: that is what an index is sought by.
    """
    return values[0] if len(values) == 1 else {"$in": list(values)}


def _encoded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _encoded(item) for key, item in value.items()}
    return [_encoded(item) for item in value] if isinstance(value, (list, tuple)) else to_bson(value)


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decoded(item) for key, item in value.items()}
    return [_decoded(item) for item in value] if isinstance(value, list) else from_bson(value)
