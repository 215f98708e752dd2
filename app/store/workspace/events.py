"""Named queries over the events of one workspace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bson import Decimal128

from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import TOMBSTONES, Event
from app.domain.ids import event_id, slot_of
from app.domain.values.instants import DAY_MS, EARLIEST, format_instant, from_ms
from app.store.codecs.events import from_doc, is_event, to_doc
from app.store.mongo.conditions import between, condition_to_filter
from app.store.mongo.paging import Page, PageRequest, charge_examined, count_matching, cut_page
from app.store.mongo.queries import Doc, WorkspaceQueries, in_chunks, insert_new
from app.store.mongo.time_ranges import ALL_TIME_MS, MAX_EXAMINED, RangeScan, ScanPosition, count_examined
from app.store.mongo.usage import charge

OCCURRED = "occurred_at"
MAX_COUNTED_EVENTS = 1_000_000
"""Events that counting a list may examine, if its filter has fields outside the index."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """What is stored under an id: the fingerprint, and the event (None for a stub)."""

    fingerprint: bytes | None
    event: Event | None


class EventQueries(WorkspaceQueries):
    """Events of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "events"
    max_examined = MAX_EXAMINED
    """Events that one page examines."""

    async def get_many(self, event_ids: Iterable[str]) -> dict[str, Event]:
        """Return the events that exist among the ids. Index: _id."""
        return {doc["_id"]: from_doc(doc) for doc in await self._by_ids(event_ids) if is_event(doc)}

    async def insert(self, events: Sequence[tuple[Event, bytes]]) -> set[int]:
        """Insert pending events, each with its fingerprint, and return the indexes of those whose id already exists.

        One round trip for up to 1,000 events. If the call raises Unavailable, some events may be stored; call it again
        with the same ids to insert the rest. Index: _id.
        """
        docs = [to_doc(event, self._workspace_id, ph, slot_of(event.pass_id)) for event, ph in events]
        return await insert_new(self._collection, docs)

    async def stored(self, event_ids: Sequence[str]) -> dict[str, StoredEvent]:
        """Return what is stored under the ids, for those that exist. Index: _id."""
        docs = await self._by_ids(event_ids)
        return {
            doc["_id"]: StoredEvent(doc.get("ph"), from_doc(doc) if is_event(doc) else None)
            for doc in docs
            if is_event(doc) or "removed" in doc
        }

    async def unfolded(self, pass_id: str) -> list[Event]:
        """Return the pending events of a pass, oldest first. Index: {pend, workspace, pass, occurred_at, _id}."""
        where = self._in_workspace(pend=slot_of(pass_id), **{"pass": pass_id})
        docs = await self._collection.find(where).sort([("occurred_at", 1), ("_id", 1)]).to_list(None)
        return [from_doc(doc) for doc in docs if is_event(doc)]

    async def page(
        self, query: EventQuery, span: PageRequest, oldest_first: bool = False, newest_ms: int | None = None
    ) -> Page[Event]:
        """Return events by time of occurrence; key (occurred ms, id). None is expected after `newest_ms`: now.

        Index: _id with an external id and sources; {workspace, pass, occurred_at, _id} with a pass; {workspace, type,
        occurred_at, _id} with one type; else {workspace, occurred_at, _id}. Raises InvalidInput, with advice, if 20,000
        events were examined and too few of them match. With the limit 0, such a page states that events may follow.
        """
        if _has_identity(query):
            return cut_page(await self._find_by_identity(query), _key, oldest_first, span)
        ascending = oldest_first != span.backward
        begin, until = (span.before, span.after) if span.backward else (span.after, span.before)
        width_ms = _width_ms(query)
        start = None if begin is None else ScanPosition(begin[0], begin[1], width_ms)
        scan = self._scan(query, ascending, start=start, until=until, newest_ms=newest_ms, width_ms=width_ms)
        events = await _read_events(scan, span.limit + 1)
        has_more = len(events) > span.limit
        if not has_more and not scan.is_over:
            if not span.limit:
                return Page([], has_more=True)
            raise too_few_matches(query, scan, ascending=ascending)
        events = events[: span.limit]
        return Page(events[::-1] if span.backward else events, has_more)

    async def scan(
        self, query: EventQuery, start: Sequence[Any] | None = None, limit: int = 1_000, *, oldest_first: bool = True
    ) -> tuple[list[Event], ScanPosition | None]:
        """Return at most `limit` matching events after `start`, and the position to continue from; None at the end.

        Use it to read any number of events: a call that examines many events and finds few returns these, or none.
        Events recorded meanwhile are returned if they lie after the position. A job may store the position as a list.
        Indexes as for `page`.
        """
        if _has_identity(query):
            return sorted(await self._find_by_identity(query), key=_key, reverse=not oldest_first), None
        position = None if start is None else ScanPosition(*start)
        scan = self._scan(query, oldest_first, start=position, width_ms=_width_ms(query))
        events = await _read_events(scan, limit)
        return events, None if scan.is_over else scan.position

    async def count(self, query: EventQuery, max_examined: int | None = None) -> int:
        """Return the number of events that match. Indexes as for `page`.

        Raises InvalidInput, with advice, if the filter has fields outside the index and more than `max_examined` events
        would have to be examined.
        """
        if _has_identity(query):
            found = await self._find_by_identity(query)
            return sum(query.channel in (None, event.origin.channel) for event in found)
        where, by = self._where(query), indexed_by(query)
        has_unindexed_filter = not where.keys() <= {*by, OCCURRED}
        is_charged = False
        if max_examined is not None and has_unindexed_filter:
            examined = await count_examined(self._collection, where, by, OCCURRED, max_examined + 1)
            if examined > max_examined:
                raise too_many_to_count(query, max_examined)
            await charge(examined)
            is_charged = True
        return await count_matching(self._collection, where, by, OCCURRED, is_charged=is_charged)

    def _scan(self, query: EventQuery, ascending: bool, **options: Any) -> RangeScan:
        where, by = self._where(query), indexed_by(query)
        return RangeScan(
            collection=self._collection,
            where=where,
            by=by,
            first=OCCURRED,
            ascending=ascending,
            max_examined=self.max_examined,
            **options,
        )

    async def _find_by_identity(self, query: EventQuery) -> list[Event]:
        """Return the events that match among those whose ids follow from the query. Index: _id."""
        assert query.external_id is not None
        ids = [event_id(self._workspace_id, source, query.external_id) for source in query.sources]
        where = self._where(query)

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            stages = [{"$match": self._by_id({"$in": list(chunk)})}, {"$match": where}]
            return await self._collection.aggregate(stages).to_list(None)

        return [from_doc(doc) for doc in await in_chunks(find_chunk, ids, self._in_chunk)]

    async def _charge(self, query: EventQuery) -> None:
        """Charge the running operation for the events that the store will examine. Index as for `page`."""
        where = self._where(query)
        await charge_examined(self._collection, {name: where[name] for name in (*indexed_by(query), OCCURRED)})

    def _where(self, query: EventQuery) -> Doc:
        where: Doc = self._in_workspace()
        for name, values in (("category", query.categories), ("type", query.types), ("source", query.sources)):
            if values:
                # A single value becomes an equality, because indexes are chosen by equalities.
                where[name] = str(values[0]) if len(values) == 1 else {"$in": [str(value) for value in values]}
        for name, value in (("pass", query.pass_id), ("currency", query.currency), ("external_id", query.external_id)):
            if value is not None:
                where[name] = value
        if query.except_types and not query.types:
            where["type"] = {"$nin": list(query.except_types)}
        if query.channel is not None:
            where["origin.channel"] = query.channel
        # A stub has no `occurred_at`, so the lower bound excludes stubs. The index covers the bound.
        where |= between("occurred_at", query.occurred_after or EARLIEST, query.occurred_before)
        where |= between("recorded_at", query.recorded_after, query.recorded_before)
        low = None if query.amount_min is None else Decimal128(query.amount_min)
        high = None if query.amount_max is None else Decimal128(query.amount_max)
        if low is not None or high is not None:
            where["amount"] = {k: v for k, v in (("$gte", low), ("$lte", high)) if v is not None}
        if query.metadata:
            where["$and"] = [condition_to_filter(condition, "metadata") for condition in query.metadata]
        return where


def indexed_by(query: EventQuery) -> tuple[str, ...]:
    """Return the fields, before `occurred_at`, of the index that serves a query."""
    if query.pass_id is not None:
        return ("workspace", "pass")
    return ("workspace", "type") if len(query.types) == 1 else ("workspace",)


def too_few_matches(query: EventQuery, scan: RangeScan, *, ascending: bool) -> InvalidInput:
    """Return the error, with advice, for a page that would have to examine too many events."""
    instant = format_instant(from_ms(scan.position.at_ms))
    examined = f"{MAX_EXAMINED // 2:,} or more events were examined, and too few match to fill the page."
    if scan.is_inside_instant:
        # No bound of occurrence cuts an instant, so the advice is a job, which reads any number of events.
        advice = f"{_narrowing_advice(query)}read the matches with exportEvents, which has no such limit."
        message = f"{examined} Many of them occurred at {instant}. Next: {advice}"
    else:
        bound = "occurredBefore" if ascending else "occurredAfter"
        advice = f'add {bound}: "{instant}" to see those found so far, or a shorter range of occurrence.'
        message = f"{examined} Narrow the filter: {_narrowing_advice(query)}{advice}"
    return InvalidInput(Code.TOO_MANY, message, "filter")


def too_many_to_count(query: EventQuery, max_examined: int) -> InvalidInput:
    """Return the error, with advice, for a count that would have to examine too many events."""
    return InvalidInput(
        Code.TOO_MANY,
        f"Counting these would examine more than {max_examined:,} events. Leave out totalCount, or narrow the filter: "
        f"{_narrowing_advice(query)}add a range of occurrence.",
        "filter",
    )


def _narrowing_advice(query: EventQuery) -> str:
    """Return the part of the advice that would let an index find the events."""
    if query.pass_id is not None:
        return ""
    if query.external_id is not None:
        return "name the sources of the external id, or "
    return "name a pass, or " if len(query.types) == 1 else "name a pass or one type, or "


def _has_identity(query: EventQuery) -> bool:
    """Return whether the ids of all events that may match follow from the query."""
    return query.external_id is not None and bool(query.sources)


def _width_ms(query: EventQuery) -> int:
    return DAY_MS if query.pass_id is None else ALL_TIME_MS


def _key(event: Event) -> tuple[int, str]:
    return event.occurred_ms, event.id


async def _read_events(scan: RangeScan, limit: int) -> list[Event]:
    """Return the next events of a scan, without tombstones."""
    events: list[Event] = []
    wanted = read_count = limit
    while wanted and read_count == wanted:
        docs = await scan.read(wanted)
        found = [from_doc(doc) for doc in docs if is_event(doc)]
        if len(found) < len(docs):
            # While many events are being removed, many pending tombstones may lie together.
            scan.restrict({"type": {"$nin": sorted(TOMBSTONES)}})
        events += found
        read_count, wanted = len(docs), limit - len(events)
    return events
