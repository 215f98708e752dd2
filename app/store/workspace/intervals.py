"""Named queries over the history of the segments of one workspace: who was a member when, and how many."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby

from app.domain.errors import Code, InvalidInput
from app.domain.segments.history import Change, Interval, Stay, change_of
from app.domain.segments.sizes import DayCounts
from app.domain.values.instants import EARLIEST, LATEST, utc_midnight
from app.store.codecs.intervals import from_doc
from app.store.mongo.id_pages import IdRanges
from app.store.mongo.id_ranges import PASS_IDS
from app.store.mongo.paging import Page, PageRequest, charge_examined, read_page, to_stored_keys
from app.store.mongo.queries import Database, Doc, WorkspaceQueries
from app.store.mongo.usage import charge

MAX_INTERVALS = 20_000
"""Intervals that one page of members at an instant looks at."""
_MIN_READ, _MAX_READ = 100, 5_000
"""Intervals that one read returns: the first read, and the later ones at most."""


@dataclass(frozen=True, slots=True)
class DiffCounts:
    """Passes of a segment by what happened between two instants."""

    entered: int
    left: int
    stayed: int


class IntervalQueries(WorkspaceQueries):
    """Intervals of one workspace, and the counts of its days. Errors: Unavailable, safe to repeat."""

    collection = "intervals"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._days = db["segment_days"]

    async def members(self, segment_id: str, at: datetime, span: PageRequest) -> Page[Stay]:
        """Return who was a member at an instant, each pass once; key (pass id). Erased passes are left out.

        Index: {workspace, segment, pass, entered}. Looks at the intervals of the segment in order of pass, 20,000 at most.
        Then the page ends, also if it is empty, with the key to go on from. Raises InvalidInput: TOO_MANY if a single pass
        has more.
        """

        def stay_of(pass_id: str, intervals: Sequence[Interval]) -> Stay | None:
            # A pass and one that was merged into it may both have been members.
            holding = min((each for each in intervals if each.holds_at(at)), key=lambda i: i.entered_at, default=None)
            return None if holding is None else Stay(pass_id, holding)

        return await self._page(segment_id, span, stay_of)

    async def count_members(self, segment_id: str, at: datetime) -> int:
        """Return how many passes were members at an instant, those left out that are erased. Index as of `members`."""
        return (await self.count_changes(segment_id, at, at)).stayed

    async def changes(
        self, segment_id: str, change: Change, start: datetime, end: datetime, *, span: PageRequest
    ) -> Page[Stay]:
        """Return the passes that entered, left or stayed between two instants, as `members` does.

        The interval is that at the end, or that at the start for a pass that left.
        """

        def stay_of(pass_id: str, intervals: Sequence[Interval]) -> Stay | None:
            found = change_of(intervals, start, end)
            return Stay(pass_id, found[1]) if found is not None and found[0] is change else None

        return await self._page(segment_id, span, stay_of)

    async def count_changes(self, segment_id: str, start: datetime, end: datetime) -> DiffCounts:
        """Return how many passes entered, left and stayed between two instants. Index as of `members`."""
        where = self._in_workspace(**{"segment": segment_id, "pass": {"$gt": ""}})
        await charge_examined(self._collection, where)
        stages: list[Doc] = [
            {"$match": where},
            {"$group": {"_id": "$pass", "before": {"$max": _holds_at(start)}, "after": {"$max": _holds_at(end)}}},
            {"$group": {"_id": {"before": "$before", "after": "$after"}, "count": {"$sum": 1}}},
        ]
        docs = await self._collection.aggregate(stages).to_list(None)
        counts = {(doc["_id"]["before"], doc["_id"]["after"]): int(doc["count"]) for doc in docs}
        return DiffCounts(entered=counts.get((0, 1), 0), left=counts.get((1, 0), 0), stayed=counts.get((1, 1), 0))

    async def of_pass(self, pass_id: str, span: PageRequest, segment_id: str | None = None) -> Page[Interval]:
        """Return the intervals of a pass, in one segment if given, the newest first; key (entered ms, id).

        Index: {workspace, pass, entered, _id}; for one segment {workspace, segment, pass, entered}.
        """
        conditions, order = _of_pass(pass_id, segment_id), (("entered", -1), ("_id", -1))
        where, by = self._in_workspace(**conditions), ["workspace", *(conditions.keys() - {"entered"})]
        return await read_page(self._collection, where, order, to_stored_keys(span), from_doc, by=by)

    async def count_of_pass(self, pass_id: str, segment_id: str | None = None) -> int:
        """Return the number of intervals of a pass, in one segment if given. Indexes as of `of_pass`."""
        return await self._count(**_of_pass(pass_id, segment_id))

    async def get(self, interval_id: str) -> Interval | None:
        """Return the interval of that id, or None. Index: _id."""
        docs = await self._by_ids([interval_id])
        return from_doc(docs[0]) if docs else None

    async def days(self, segment_id: str, start: date, end: date) -> tuple[int, dict[date, DayCounts]]:
        """Return the members when the UTC day `start` begins, and the counts of the days from there to before `end`.

        One round trip for up to some thousand days. Index: {workspace, segment, day}.
        """
        where = self._in_workspace(segment=segment_id, day={"$gte": EARLIEST, "$lt": utc_midnight(end)})
        docs = await self._days.find(where, {"day": 1, "entered": 1, "left": 1}).to_list(None)
        await charge(len(docs))
        counts = {doc["day"].date(): DayCounts(doc["entered"], doc["left"]) for doc in docs}
        before = sum(each.entered - each.left for day, each in counts.items() if day < start)
        return before, {day: each for day, each in counts.items() if day >= start}

    async def _page(
        self, segment_id: str, span: PageRequest, stay_of: Callable[[str, Sequence[Interval]], Stay | None]
    ) -> Page[Stay]:
        found: list[Stay] = []
        looked_at: str | None = None
        async for pass_id, intervals in self._by_pass(segment_id, span):
            if intervals is None:
                return Page(found[::-1] if span.backward else found, True, (looked_at,))
            stay, looked_at = stay_of(pass_id, intervals), pass_id
            if stay is not None:
                found.append(stay)
                if len(found) > span.limit:
                    break
        items = found[: span.limit]
        return Page(items[::-1] if span.backward else items, len(found) > span.limit)

    async def _by_pass(self, segment_id: str, span: PageRequest) -> AsyncIterator[tuple[str, list[Interval] | None]]:
        """Yield the passes between the keys with all their intervals, in the direction of the page.

        After 20,000 intervals, the next pass is yielded with None.
        """
        ranges, looked_at, size = IdRanges(PASS_IDS, span), 0, max(_MIN_READ, 2 * span.limit)
        direction = -1 if span.backward else 1
        while not ranges.is_over:
            remaining = MAX_INTERVALS - looked_at
            limit, (low, high) = min(size, remaining), ranges.bounds
            where = self._in_workspace(**{"segment": segment_id, "pass": {"$gt": low, "$lt": high}})
            cursor = self._collection.find(where).sort([("pass", direction), ("entered", direction)]).limit(limit)
            intervals = [from_doc(doc) for doc in await cursor.to_list(None)]
            await charge(len(intervals))
            groups = [(str(key), list(each)) for key, each in groupby(intervals, key=lambda each: each.pass_id)]
            is_cut = len(intervals) == limit
            if is_cut:
                # The last pass may have more intervals.
                groups.pop()
            for group in groups:
                looked_at += len(group[1])
                yield group
            if not is_cut:
                ranges.advance(found=len(intervals), wanted=size)
                continue
            if limit == remaining:
                if not looked_at:
                    raise InvalidInput(Code.TOO_MANY, _TOO_MANY, "first")
                yield intervals[-1].pass_id or "", None
                return
            if groups:
                ranges.resume(groups[-1][0])
            size = min(2 * size, _MAX_READ) if groups else 2 * size


_TOO_MANY = (
    f"The next pass has been in the segment {MAX_INTERVALS:,} times or more, which is more than a page looks at. "
    "`sizeOverTime` gives numbers without this limit."
)


def _of_pass(pass_id: str, segment_id: str | None) -> Doc:
    segment = {} if segment_id is None else {"segment": segment_id}
    return {**segment, "pass": pass_id, "entered": {"$gte": EARLIEST}}


def _holds_at(at: datetime) -> Doc:
    """Return the expression that is 1 for an interval that holds at an instant, else 0."""
    is_begun, is_open = {"$lte": ["$entered", at]}, {"$gt": [{"$ifNull": ["$left", LATEST]}, at]}
    return {"$cond": [{"$and": [is_begun, is_open]}, 1, 0]}
