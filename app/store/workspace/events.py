"""Named queries over the events of one workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import Decimal128

from app.domain.errors import Code, InvalidInput
from app.domain.events.events import TOMBSTONES, Event, EventQuery
from app.domain.ids import event_id, slot_of
from app.domain.values.instants import DAY_MS, EARLIEST, format_instant, from_ms
from app.store.codecs.events import from_doc, is_event, to_doc
from app.store.mongo.conditions import between, condition_doc
from app.store.mongo.paging import Page, PageRequest, count_of, page_among
from app.store.mongo.queries import Doc, WorkspaceQueries, in_chunks, insert_new, translating_errors
from app.store.mongo.time_ranges import ALL_TIME_MS, MAX_EXAMINED, RangeScan, ScanPosition, examined

OCCURRED = "occurred_at"
MAX_COUNTED_EVENTS = 1_000_000
"""How many events may be looked at for the total of a list whose filter no index holds."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """What is known of an id that was taken: its fingerprint, and the event (None for a stub)."""

    fingerprint: bytes | None
    event: Event | None


class EventQueries(WorkspaceQueries):
    """Events of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "events"
    most = MAX_EXAMINED
    """How many events one page looks at."""

    async def get_many(self, event_ids: Iterable[str]) -> dict[str, Event]:
        """The events that exist among the ids. Index: _id."""
        return {doc["_id"]: from_doc(doc) for doc in await self._by_ids(event_ids) if is_event(doc)}

    async def insert(self, events: Sequence[tuple[Event, bytes]]) -> set[int]:
        """Inserts each event with its fingerprint, pending; the positions of those whose id was taken.

        One round trip for up to 1,000. Raises Unavailable if any other write failed: some may be stored, and the same
        call with the same ids finishes the rest.
        """
        docs = [to_doc(event, self._workspace_id, ph, slot_of(event.pass_id)) for event, ph in events]
        return await insert_new(self._all, docs)

    async def stored(self, event_ids: Sequence[str]) -> dict[str, StoredEvent]:
        """What is stored under ids that were taken. Index: _id."""
        docs = await self._by_ids(event_ids)
        return {
            doc["_id"]: StoredEvent(doc.get("ph"), from_doc(doc) if is_event(doc) else None)
            for doc in docs
            if is_event(doc) or "removed" in doc
        }

    async def unfolded(self, pass_id: str) -> list[Event]:
        """The events of a pass that the fold has not counted yet, oldest first. Index: {pend, pass, occurred_at, _id}."""
        where = {"pend": slot_of(pass_id), "pass": pass_id}
        docs = await self._all.find(where).sort([("occurred_at", 1), ("_id", 1)]).to_list(None)
        return [from_doc(doc) for doc in docs if doc["workspace"] == self._workspace_id and is_event(doc)]

    async def page(
        self, query: EventQuery, span: PageRequest, oldest_first: bool = False, newest_ms: int | None = None
    ) -> Page[Event]:
        """Events in order of occurrence; key (occurred ms, id). `newest_ms` is where the newest may be expected: now.

        Index: _id with an external id and sources; {workspace, pass, occurred_at, _id} with a pass;
        {workspace, type, occurred_at, _id} with one type; else {workspace, occurred_at, _id}. Raises InvalidInput, with
        advice, where 20,000 events were looked at and too few of them match.
        """
        if _is_named(query):
            return page_among(await self._named(query), _key, oldest_first, span)
        ascending = oldest_first != span.backward
        begin, until = (span.before, span.after) if span.backward else (span.after, span.before)
        width_ms = _width_ms(query)
        place = None if begin is None else ScanPosition(begin[0], begin[1], width_ms)
        strides = self._strides(query, ascending, place=place, until=until, newest_ms=newest_ms, width_ms=width_ms)
        events = await _taken(strides, span.limit + 1)
        more = len(events) > span.limit
        if not more and not strides.is_over:
            raise too_rare(query, strides.position.at_ms, ascending=ascending)
        events = events[: span.limit]
        return Page(events[::-1] if span.backward else events, more)

    async def walk(
        self, query: EventQuery, place: Sequence[Any] | None = None, limit: int = 1_000, *, oldest_first: bool = True
    ) -> tuple[list[Event], ScanPosition | None]:
        """At most `limit` of the events that match, behind `place` in order of occurrence, and the place to go on; None at
        the end.

        For reading everything, however much it is: a call that looks at many events and finds few answers these, or none.
        What is recorded meanwhile is found where it lies behind the place. A job may keep the place as a list. Indexes as
        for `page`.
        """
        if _is_named(query):
            return sorted(await self._named(query), key=_key, reverse=not oldest_first), None
        before = None if place is None else ScanPosition(*place)
        strides = self._strides(query, oldest_first, place=before, width_ms=_width_ms(query))
        events = await _taken(strides, limit)
        return events, None if strides.is_over else strides.position

    async def count(self, query: EventQuery, most: int | None = None) -> int:
        """How many events match. Indexes as for `page`.

        With `most`, raises InvalidInput where more than so many events would have to be looked at, beside the index.
        """
        if _is_named(query):
            return len(await self._named(query))
        where, by = self._where(query), indexed_by(query)
        filtered = not where.keys() <= {*by, OCCURRED}
        if most is not None and filtered and await examined(self._all, where, by, OCCURRED, most + 1) > most:
            raise too_many_to_count(query, most)
        return await count_of(self._all, where, by, OCCURRED)

    async def of_pass(self, pass_id: str, after: datetime, before: datetime) -> AsyncIterator[Event]:
        """A pass's events that occurred in [after, before), oldest first. Index: {workspace, pass, occurred_at, _id}."""
        where = self._where(EventQuery(pass_id=pass_id, occurred_after=after, occurred_before=before))
        with translating_errors():
            async for doc in self._all.find(where).sort([("occurred_at", 1), ("_id", 1)]):
                if is_event(doc):
                    yield from_doc(doc)

    def _strides(self, query: EventQuery, ascending: bool, **options: Any) -> RangeScan:
        where, by = self._where(query), indexed_by(query)
        return RangeScan(self._all, where, by, OCCURRED, ascending=ascending, most=self.most, **options)

    async def _named(self, query: EventQuery) -> list[Event]:
        """The events that match among those whose identity the query names. Index: _id."""
        assert query.external_id is not None
        ids = [event_id(self._workspace_id, source, query.external_id) for source in query.sources]
        where = self._where(query)

        async def some(chunk: Sequence[str]) -> list[Doc]:
            stages = [{"$match": {"_id": {"$in": list(chunk)}}}, {"$match": where}]
            return await self._all.aggregate(stages).to_list(None)

        return [from_doc(doc) for doc in await in_chunks(some, ids, self._in_chunk)]

    def _where(self, query: EventQuery) -> Doc:
        where: Doc = self._mine()
        for name, given in (("category", query.categories), ("type", query.types), ("source", query.sources)):
            if given:
                # One value is asked for as such: that is what an index is sought by.
                where[name] = str(given[0]) if len(given) == 1 else {"$in": [str(value) for value in given]}
        for name, value in (("pass", query.pass_id), ("currency", query.currency), ("external_id", query.external_id)):
            if value is not None:
                where[name] = value
        # What is left of a removed event has no instant: the bound leaves it out, and an index holds the bound.
        where |= between("occurred_at", query.occurred_after or EARLIEST, query.occurred_before)
        where |= between("recorded_at", query.recorded_after, query.recorded_before)
        low = None if query.amount_min is None else Decimal128(query.amount_min)
        high = None if query.amount_max is None else Decimal128(query.amount_max)
        if low is not None or high is not None:
            where["amount"] = {k: v for k, v in (("$gte", low), ("$lte", high)) if v is not None}
        if query.metadata:
            where["$and"] = [condition_doc(condition, "metadata") for condition in query.metadata]
        return where


def indexed_by(query: EventQuery) -> tuple[str, ...]:
    """The fields, before the instant of occurrence, of the index that serves a query."""
    if query.pass_id is not None:
        return ("workspace", "pass")
    return ("workspace", "type") if len(query.types) == 1 else ("workspace",)


def too_rare(query: EventQuery, at_ms: int, *, ascending: bool) -> InvalidInput:
    """The advice for a page that would have to look at too many events."""
    bound = "occurredBefore" if ascending else "occurredAfter"
    way = f'{bound}: "{format_instant(from_ms(at_ms))}"'
    return InvalidInput(
        Code.TOO_MANY,
        f"{MAX_EXAMINED // 2:,} events or more were looked at, and too few match to fill the page. Narrow it down: "
        f"{_narrower(query)}add {way} to see those found so far, or a shorter range of occurrence.",
        "filter",
    )


def too_many_to_count(query: EventQuery, most: int) -> InvalidInput:
    """The advice for a count that would have to look at too many events."""
    return InvalidInput(
        Code.TOO_MANY,
        f"More than {most:,} events would have to be looked at to count these. Leave out totalCount, or narrow it down: "
        f"{_narrower(query)}add a range of occurrence.",
        "filter",
    )


def _narrower(query: EventQuery) -> str:
    """What else would let an index find the events."""
    if query.pass_id is not None:
        return ""
    if query.external_id is not None:
        return "name the sources of the external id, or "
    return "name a pass, or " if len(query.types) == 1 else "name a pass or one type, or "


def _is_named(query: EventQuery) -> bool:
    """Whether the ids of all events that may match are known."""
    return query.external_id is not None and bool(query.sources)


def _width_ms(query: EventQuery) -> int:
    return DAY_MS if query.pass_id is None else ALL_TIME_MS


def _key(event: Event) -> tuple[int, str]:
    return event.occurred_ms, event.id


async def _taken(strides: RangeScan, limit: int) -> list[Event]:
    """The next events; what removes events is none itself."""
    events: list[Event] = []
    asked = taken = limit
    while asked and taken == asked:
        docs = await strides.read(asked)
        found = [from_doc(doc) for doc in docs if is_event(doc)]
        if len(found) < len(docs):
            # While many events are being removed, there are many of these in one place.
            strides.hide({"type": {"$nin": sorted(TOMBSTONES)}})
        events += found
        taken, asked = len(docs), limit - len(events)
    return events
