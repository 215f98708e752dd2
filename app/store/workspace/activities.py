"""Named queries over the activities of one workspace: a log with dense positions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.domain.activities import NO_EPOCH, UNLESS_NAMED, Activity, activity_id, split_activity_id
from app.domain.activity_queries import ActivityQuery, event_in
from app.domain.values.conditions import Condition
from app.domain.values.paths import split_keys
from app.store.codecs.pass_parts import from_bson, to_bson
from app.store.mongo.conditions import between, condition_to_filter
from app.store.mongo.paging import Page, PageRequest, charge_examined, count_matching, read_page
from app.store.mongo.queries import Doc, WorkspaceQueries, in_chunks, insert_new
from app.store.workspace.workspaces import read_log_history

SELECTIVE_FIELDS = frozenset(
    {"category", "occurred_at", "recorded_at", "cause.kind", "data.event.type", "data.event.source"}
)
"""Fields outside the indexes by which a filter may leave out most activities."""
_DETAILS = "details"
"""Key, in the stored event of an activity, of the metadata with keys split at their points, if one has a point."""
POSITIONS_READ = 1_000
"""Positions that one read of the search for the last one covers."""
RANGE_FACTOR = 4
"""Positions that a page reads first, as a multiple of its items."""


class ActivityQueries(WorkspaceQueries):
    """Activities of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "activities"

    async def page(
        self, query: ActivityQuery, span: PageRequest, *, newest_first: bool = False, newest: int | None = None
    ) -> Page[Activity]:
        """Return activities in order of position, or in the opposite order; key (position).

        `newest` is the position of the newest activity, if it is known: with it, a page that begins there reads a short
        range.

        Index: {workspace, pass, pos} with a pass, {workspace, segment, pos} with one segment, {workspace, type, pos}
        with one type, else {workspace, pos}.
        """
        where = self._where(query)
        by = _index_fields(where)
        # What tokens do not see is no condition of the client, and leaves out few activities.
        excluded = {"data.event.type"} if query.except_event_types else set[str]()
        if where.keys() & SELECTIVE_FIELDS - excluded:
            await charge_examined(self._collection, {name: where[name] for name in by})
        order = (("pos", -1 if newest_first else 1),)
        begin = span.before if span.backward else span.after
        is_ascending = newest_first == span.backward
        start = begin[0] if begin is not None else 0 if is_ascending else newest and newest + 1
        if by == ("workspace",) and start is not None:
            # Positions are dense, so a short range of them holds the page of most queries. The embedded server reads the
            # whole log otherwise.
            length = RANGE_FACTOR * (span.limit + 1)
            near: Doc = {"$lt": start + length + 1} if is_ascending else {"$gt": start - length - 1}
            page = await read_page(self._collection, {**where, "pos": near}, order, span, from_doc, by=by)
            if page.has_more:
                return page
        return await read_page(self._collection, where, order, span, from_doc, by=by)

    async def count(self, query: ActivityQuery, bounds: tuple[int, int] | None = None) -> int:
        """Count the activities that match. With `bounds`, only those after the first position, up to the second.

        Indexes as for `page`.
        """
        where = self._where(query)
        if bounds is not None:
            where["pos"] = {"$gt": bounds[0], "$lt": bounds[1] + 1}
        return await count_matching(self._collection, where, _index_fields(where), "pos")

    async def get_many(self, activity_ids: Iterable[str]) -> dict[str, Activity]:
        """Return the activities that exist among the ids. Index: _id.

        An id of another epoch names a lost activity, although one is stored under its pass and number.
        """
        wanted = set(activity_ids)
        found = map(from_doc, await self._by_ids(split_activity_id(each)[0] for each in wanted))
        return {activity.id: activity for activity in found if activity.id in wanted}

    async def by_numbers(self, numbers: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Activity]:
        """Return by (pass id, number) the activities that exist, in whatever epoch. Index: _id."""
        found = map(from_doc, await self._by_ids([activity_id(*each) for each in numbers]))
        return {(activity.pass_id, activity.pass_sequence): activity for activity in found}

    async def of_events(self, event_ids: Iterable[str]) -> dict[str, list[Activity]]:
        """Return by event id the activities that the events caused, in order of position.

        Index: {workspace, cause.event, pos}.
        """

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            where = self._in_workspace(**{"cause.event": {"$in": list(chunk), "$gte": ""}})
            return await self._collection.find(where).to_list(None)

        wanted = list(dict.fromkeys(event_ids))
        found: dict[str, list[Activity]] = {event_id: [] for event_id in wanted}
        for activity in map(from_doc, await in_chunks(find_chunk, wanted, self._in_chunk)):
            found[str(activity.cause["event"])].append(activity)
        return {event_id: sorted(each, key=lambda activity: activity.position) for event_id, each in found.items()}

    async def find_appended(self, activities: Sequence[Activity]) -> set[tuple[str, int]]:
        """Return (pass id, number) of those of the activities that are in the log, in whatever epoch. Index: _id."""
        ids = [activity_id(each.pass_id, each.pass_sequence) for each in activities]
        return {(doc["pass"], doc["n"]) for doc in await self._by_ids(ids, {"pass": 1, "n": 1})}

    async def after(self, pos: int, limit: int) -> list[Activity]:
        """Return the activities at positions pos + 1 to pos + limit, in order and without a hole.

        Index: {workspace, pos}.
        """
        where = self._in_workspace(pos={"$gt": pos, "$lte": pos + limit})
        docs = await self._collection.find(where, batch_size=limit + 1).sort("pos", 1).to_list(None)
        return [from_doc(doc) for doc in docs]

    async def after_of_passes(self, pass_ids: Sequence[str], pos: int, limit: int) -> Page[Activity]:
        """Return the first activities after a position that happened to the passes. Index: {workspace, pass, pos}."""
        where = self._in_workspace(**{"pass": any_of(pass_ids)})
        span = PageRequest(limit=limit, after=(pos,))
        return await read_page(self._collection, where, (("pos", 1),), span, from_doc, by=("workspace", "pass"))

    async def last_pos(self, from_pos: int = 0) -> int:
        """Return the position of the newest activity; 0 for an empty log. Index: {workspace, pos}.

        `from_pos` is a position that exists already, or 0. One round trip if few activities follow it. Else some 40 for a
        log of a million: positions are dense, so the search asks for single ones. The embedded server would otherwise sort
        all activities from there on.
        """
        begin, found = from_pos, await self._last_within(from_pos)
        if found is None:
            # The front was moved since, or the database was restored from an older copy while this process ran.
            begin = (await read_log_history(self._db, self._workspace_id)).front
            found = await self._last_within(begin) if begin != from_pos else None
        if found is None or found < begin + POSITIONS_READ:
            return begin if found is None else found
        low, step = found, POSITIONS_READ
        while await self._exists(low + step):
            low, step = low + step, 2 * step
        # The last position lies from `low` to before `low + step`.
        while step > POSITIONS_READ:
            step //= 2
            low += step if await self._exists(low + step) else 0
        return await self._last_within(low) or low

    async def _last_within(self, from_pos: int) -> int | None:
        """Return the last of the next positions, beginning with `from_pos`; None if none of them exists."""
        where = self._in_workspace(pos={"$gte": from_pos, "$lt": from_pos + POSITIONS_READ + 1})
        doc = await self._collection.find_one(where, {"pos": 1}, sort=[("pos", -1)])
        return None if doc is None else int(doc["pos"])

    async def _exists(self, pos: int) -> bool:
        return await self._collection.find_one(self._in_workspace(pos=pos), {"_id": 1}) is not None

    async def append(self, activities: Sequence[Activity]) -> int:
        """Append activities with consecutive positions, in order, and return how many were appended.

        Fewer are appended if a position or an activity already exists: the first that exists stops the write.
        """
        docs = [to_doc(activity, self._workspace_id) for activity in activities]
        return min(await insert_new(self._collection, docs, ordered=True), default=len(docs))

    def _where(self, query: ActivityQuery) -> Doc:
        where = self._in_workspace()
        if query.types:
            where["type"] = any_of(query.types)
        else:
            where["type"] = {"$nin": sorted(UNLESS_NAMED)}
        if query.category is not None:
            where["category"] = query.category
        if query.pass_id is not None:
            where["pass"] = any_of([query.pass_id, *query.aliases])
        if query.segment_ids:
            where["segment"] = any_of(query.segment_ids)
        elif query.among_segments is not None:
            # A null stands for the activities that name no segment.
            where["segment"] = {"$in": [None, *query.among_segments]}
        where |= between("occurred_at", query.occurred_after, query.occurred_before)
        where |= between("recorded_at", query.recorded_after, query.recorded_before)
        if not query.include_silent:
            where["silent"] = {"$ne": True}
        if not query.include_historical:
            where["historical"] = {"$ne": True}
        if query.causes:
            where["cause.kind"] = any_of(query.causes)
        if query.asks_for_event:
            where["data.event.type"] = any_of(query.event_types) if query.event_types else {"$exists": True}
        elif query.except_event_types:
            where["data.event.type"] = {"$nin": list(query.except_event_types)}
        if query.sources:
            where["data.event.source"] = any_of(query.sources)
        if query.metadata:
            where["$and"] = [_in_metadata(condition) for condition in query.metadata]
        return where


def to_doc(activity: Activity, workspace_id: str) -> Doc:
    """Return the document of an activity. Flags that are false are left out.

    Its `_id` has no epoch: an entry of an outbox enters the log once, also if a restore lies in between.
    """
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
        "data": _to_bson(activity.data),
    }
    event = event_in(activity.data)
    if event is not None and (details := split_keys(event["metadata"])) is not event["metadata"]:
        # In the data, so that whatever empties the data removes this copy, too.
        doc["data"]["event"][_DETAILS] = _to_bson(details)
    if activity.epoch != NO_EPOCH:
        doc["epoch"] = activity.epoch
    if activity.segment_id is not None:
        doc["segment"] = activity.segment_id
    if activity.entered is not None:
        doc["entered"] = activity.entered
    for flag in ("late", "silent", "historical"):
        if getattr(activity, flag):
            doc[flag] = True
    return doc


def from_doc(doc: Doc) -> Activity:
    """Return the activity of a document."""
    data = _from_bson(doc["data"])
    if isinstance(event := data.get("event"), dict):
        event.pop(_DETAILS, None)
    return Activity(
        position=doc["pos"],
        pass_sequence=doc["n"],
        pass_id=doc["pass"],
        type=doc["type"],
        category=doc["category"],
        occurred_at=doc["occurred_at"],
        recorded_at=doc["recorded_at"],
        cause=doc["cause"],
        data=data,
        segment_id=doc.get("segment"),
        late=doc.get("late", False),
        silent=doc.get("silent", False),
        historical=doc.get("historical", False),
        epoch=doc.get("epoch", NO_EPOCH),
        entered=doc.get("entered"),
    )


def _index_fields(where: Doc) -> tuple[str, ...]:
    if "pass" in where:
        return ("workspace", "pass")
    single_valued = [name for name in ("segment", "type") if isinstance(where.get(name), str)]
    return ("workspace", *single_valued[:1])


def _in_metadata(condition: Condition) -> Doc:
    """Return the filter for a condition on the metadata of the event in the data."""
    event = "data.event"
    plain, split = (condition_to_filter(condition, f"{event}.{name}") for name in ("metadata", _DETAILS))
    has_points = {f"{event}.{_DETAILS}": {"$exists": True}}
    return {"$or": [{"$and": [has_points, split]}, {"$and": [{"$nor": [has_points]}, plain]}]}


def any_of(values: Sequence[str]) -> Any:
    """Return the condition that a field has one of the values.

    A single value becomes an equality, because indexes are chosen by equalities.
    """
    return values[0] if len(values) == 1 else {"$in": list(values)}


def _to_bson(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _to_bson(item) for key, item in value.items()}
    return [_to_bson(item) for item in value] if isinstance(value, (list, tuple)) else to_bson(value)


def _from_bson(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _from_bson(item) for key, item in value.items()}
    return [_from_bson(item) for item in value] if isinstance(value, list) else from_bson(value)
