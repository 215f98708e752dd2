"""Comparison of the rollups of a workspace with its events, while traffic goes on. It only reads.

The hours and the day of a date are compared with the events. A month is compared with its days, of which each was compared
with the events. A head that is dirty says of itself that its content is outdated: it is not compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.domain.fold.recomputation import Difference
from app.domain.insights.rollup_comparison import Rows, compare_rows, hash_rows, rows_by_key
from app.domain.rollups.building import counts_in_rows
from app.domain.rollups.dimensions import dimension_of, is_dimension, row_by_value
from app.domain.rollups.levels import Level
from app.domain.rollups.plans import Head, Period
from app.domain.rollups.rows import CountedRow, add_rows, row_of
from app.domain.values.instants import DAY_MS, from_ms, to_ms
from app.domain.values.paths import split_path
from app.store.codecs.events import from_doc
from app.store.codecs.rollups import content_ids, rows_from_docs
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, in_chunks
from app.store.workspace.removals import RemovalQueries
from app.store.workspace.rollup_contents import HeadQueries
from app.store.workspace.rollups import RollupQueries

from .consistency import EVENTS_READ, LOOKS, batches_of
from .first_events import find_event_instant


@dataclass(slots=True)
class ComparedRollups:
    """Comparison of some rollups.

    - `compared`: rollups that were compared; `events`: the events that were read for them.
    - `waiting`: rollups that are dirty, or whose parts are.
    - `moving`: rollups that differed from the events and changed during each look.
    - `differences`: by level and start of the rollup.
    """

    compared: int = 0
    events: int = 0
    waiting: int = 0
    moving: int = 0
    differences: dict[Period, list[Difference]] = field(default_factory=dict)

    def add(self, period: Period, live: Rows, rebuilt: Rows) -> None:
        """Compare a rollup with what it should be."""
        self.compared += 1
        if hash_rows(live) != hash_rows(rebuilt):
            self.differences[period] = compare_rows(live, rebuilt)

    def add_missing(self, period: Period, missing: Difference) -> None:
        """Count a rollup of which a part is missing."""
        self.compared += 1
        self.differences[period] = [missing]


@dataclass(slots=True)
class _DayEvents:
    """Events of a day: how many are in rollups, their rows, and instants of those that a seal may leave out.

    `unheld` has the instants of events of which no content can hold a dimension, by its kind. A seal leaves out parked
    events. An event that counted before a merge moved it, and is parked now, is in the rollup unless the rollup was sealed
    since.
    """

    number: int = 0
    rows: list[CountedRow] = field(default_factory=list)
    undecided_ms: list[int] = field(default_factory=list)
    unheld: dict[str, list[int]] = field(default_factory=dict)

    def rows_in(self, start_ms: int, end_ms: int, dimensions: Collection[str]) -> Rows:
        """Return the rows by source of a time, and those of some kinds of dimensions."""
        return rows_by_key(
            row
            for row in self.rows
            if start_ms <= row.start_ms < end_ms and (not is_dimension(row.type) or row.type in dimensions)
        )


class RollupCheck(WorkspaceQueries):
    """The comparison of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "events"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._contents = db["rollups"]
        self._heads = HeadQueries(db, workspace_id, in_chunk)
        self._rollups = RollupQueries(db, workspace_id, in_chunk)
        self._removals = RemovalQueries(db, workspace_id, in_chunk)

    async def span(self) -> tuple[int, int] | None:
        """Return the instants of the first and the last event in ms; None without events.

        Index: {workspace, occurred_at, _id}.
        """
        first = await find_event_instant(self._db, self._in_chunk, self._in_workspace())
        last = await find_event_instant(self._db, self._in_chunk, self._in_workspace(), direction=-1)
        return None if first is None or last is None else (first, last)

    async def next_month(self, start_ms: int, end_ms: int) -> int:
        """Return the start of the first month in [start_ms, end_ms) with an event or a rollup, or `end_ms` without one.

        `start_ms` is the start of a month. Indexes: {level, workspace}, {workspace, occurred_at, _id}.
        """
        starts = [head.start_ms for head in await self._heads.month_heads()]
        head_ms = min((each for each in starts if start_ms <= each < end_ms), default=end_ms)
        event_ms = await find_event_instant(self._db, self._in_chunk, self._in_workspace(), start_ms, head_ms)
        return head_ms if event_ms is None else Level.MONTH.start_ms(event_ms)

    async def compare_day(self, day_ms: int, *, is_marked: bool) -> ComparedRollups:
        """Compare the hours of a day of UTC, and the day. Indexes: _id, {workspace, occurred_at, _id}, {workspace, made_at}.

        With `is_marked`, each hour that has events must have a head.
        """
        day = Period(Level.DAY, day_ms)
        hours = list(day.inside(Level.HOUR))
        parts = {**{hour: [hour] for hour in hours}, day: [day, *hours]}
        result = ComparedRollups()
        for _ in range(LOOKS):
            heads = await self._heads.heads(parts)
            live = await self._rows({period: head for period, head in heads.items() if head.is_clean})
            events = await self._read_day(
                day_ms, sorted({kind for head in heads.values() for kind, _ in head.dimensions})
            )
            result = ComparedRollups(events=events.number)
            for period, own in parts.items():
                level, start_ms = period
                end_ms = level.end_ms(start_ms)
                held = [] if period not in heads else [kind for kind, _ in heads[period].dimensions]
                expected = events.rows_in(start_ms, end_ms, held)
                unheld = [each for each in held if any(start_ms <= at < end_ms for at in events.unheld.get(each, ()))]
                if period not in heads:
                    if is_marked and expected and level is Level.HOUR:
                        result.add_missing(period, Difference("the head", "missing", "one, for the hour has events"))
                elif not all(heads[part].is_clean for part in own if part in heads) or any(
                    start_ms <= at_ms < end_ms for at_ms in events.undecided_ms
                ):
                    result.waiting += 1
                elif period not in live:
                    result.add_missing(period, _NO_CONTENT)
                elif unheld:
                    what = ", ".join(f"the dimension {dimension_of(each).path}" for each in unheld)
                    result.add_missing(
                        period, Difference(what, "held", "not held, for an event has no single short value")
                    )
                else:
                    result.add(period, live[period], expected)
            if await self._are_certain(result, heads, parts):
                break
        return result

    async def compare_month(self, month_ms: int) -> ComparedRollups:
        """Compare a month of UTC with its days. Indexes: _id, {workspace, made_at}."""
        month = Period(Level.MONTH, month_ms)
        days, hours = list(month.inside(Level.DAY)), list(month.inside(Level.HOUR))
        result = ComparedRollups()
        for _ in range(LOOKS):
            heads = await self._heads.heads([month, *days, *hours])
            if month not in heads:
                return ComparedRollups()
            result = ComparedRollups()
            if all(head.is_clean for head in heads.values()):
                live = await self._rows({each: heads[each] for each in (month, *days) if each in heads})
                if month not in live:
                    result.add_missing(month, _NO_CONTENT)
                elif all(each in live for each in days if each in heads):
                    held = {kind for kind, _ in heads[month].dimensions}
                    by_day = [
                        row
                        for each in days
                        if each in live
                        for row in _by_days(live[each])
                        if not is_dimension(row.type) or row.type in held
                    ]
                    result.add(month, live[month], rows_by_key(by_day))
            else:
                result.waiting = 1
            if await self._are_certain(result, heads, {month: [month, *days, *hours]}):
                break
        return result

    async def _are_certain(
        self, result: ComparedRollups, heads: Mapping[Period, Head], parts: Mapping[Period, Sequence[Period]]
    ) -> bool:
        """Return whether all differences are real. Take out those that may come from work under way, as `moving`.

        A removal is marked after its event is gone, and an event of a rule after it is stored. While one waits, and if a
        head has changed since it was read, the events may be newer than the content. The heads are read last: what waited
        a moment before is then marked.
        """
        if not result.differences:
            return True
        waits = await self._waits(max(period.end_ms for period in result.differences))
        now = await self._heads.heads({part for period in result.differences for part in parts[period]})
        for period in list(result.differences):
            if waits or any(_state(heads.get(part)) != _state(now.get(part)) for part in parts[period]):
                del result.differences[period]
                result.moving += 1
                result.compared -= 1
        return not result.moving

    async def _waits(self, before_ms: int) -> bool:
        """Return whether a removal, a merge, an erasure, or an event of a rule that occurred before an instant waits."""
        if (await self._removals.pending()).number:
            return True
        return await self._rollups.first_made_at(before_ms) is not None

    async def _rows(self, heads: dict[Period, Head]) -> dict[Period, Rows]:
        """Return the rows of the contents that heads name. A head whose content is not complete is left out."""
        ids = {
            period: content_ids(self._workspace_id, *period, token=head.token, kinds=head.kinds)
            for period, head in heads.items()
        }

        async def find(some: Sequence[str]) -> list[Doc]:
            return await self._contents.find({"_id": {"$in": list(some)}}).to_list(None)

        wanted = [each for own in ids.values() for each in own]
        docs = {doc["_id"]: doc for doc in await in_chunks(find, wanted, self._in_chunk)}
        return {
            period: rows_by_key(rows_from_docs([docs[each] for each in own], *period))
            for period, own in ids.items()
            if docs.keys() >= set(own)
        }

    async def _read_day(self, day_ms: int, kinds: Sequence[str]) -> _DayEvents:
        """Read the events of a day, with the rows of dimensions of these kinds."""
        dimensions = [(each, split_path(each.path)) for each in map(dimension_of, kinds)]
        where = self._in_workspace(occurred_at={"$gte": from_ms(day_ms), "$lt": from_ms(day_ms + DAY_MS)})
        found = _DayEvents()
        async for docs in batches_of(self._collection.find(where, batch_size=EVENTS_READ), EVENTS_READ):
            found.undecided_ms += [
                to_ms(doc["occurred_at"]) for doc in docs if _was_counted(doc) and doc.get("pend", 0) < 0
            ]
            read = [(from_doc(doc), doc) for doc in docs if "pend" not in doc or _was_counted(doc)]
            counted = [(event, doc) for event, doc in read if counts_in_rows(event)]
            found.number += len(counted)
            rows: list[CountedRow] = []
            for event, doc in counted:
                row = row_of(event)
                rows.append(row)
                for dimension, steps in dimensions:
                    if dimension.type != event.type:
                        continue
                    by_value = row_by_value(row, dimension, doc.get("metadata"), steps)
                    if by_value is None:
                        found.unheld.setdefault(dimension.kind, []).append(event.occurred_ms)
                    else:
                        rows.append(by_value)
            found.rows = add_rows([*found.rows, *rows])
        return found


_NO_CONTENT = Difference("the content", "missing", "one, for its head names it")


def _was_counted(doc: Doc) -> bool:
    """Return whether a merge moved the event, and it had counted before: it stays in the rollups while it is pending."""
    return bool(doc.get("moved", {}).get("told", False))


def _by_days(rows: Rows) -> Iterable[CountedRow]:
    """Return the rows of a day as those of a month, whose cells are days."""
    return (
        CountedRow(Level.DAY.start_ms(start_ms), event_type, key, totals=totals)
        for (start_ms, event_type, key), totals in rows.items()
    )


def _state(head: Head | None) -> tuple[int | None, int | None]:
    return (None, None) if head is None else (head.dirty, head.token)
