"""Check that the history of segments is that of the activity log. It only reads, also while workers run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from app.domain.activities import ENTERED, LEFT, TRANSITIONS, Activity
from app.domain.segments.history import Interval, build_intervals, day_of
from app.store.codecs.intervals import from_doc
from app.store.mongo.queries import Database, Doc, ErrorTranslating, in_chunks
from app.store.workspace import activities
from app.store.workspace.segment_history import TRANSITION_FIELDS, SegmentHistory
from app.store.workspace.workspaces import read_log_history

from .consistency import LOOKS, POSITIONS_COUNTED, Finding, pass_ids

Days = Counter[tuple[str, str]]
"""Entries and exits, by the id of the day and the type of the activity."""


class HistoryCheck(ErrorTranslating):
    """The check of the history of segments. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int) -> None:
        self._db, self._in_chunk = db, in_chunk

    async def check(self, workspace_ids: Sequence[str], report: Callable[[Finding], None]) -> int:
        """Compare the intervals and days of workspaces with their logs, and return the number of intervals.

        `report` is called for each finding. The days of a workspace are compared only if nothing is published meanwhile,
        and if its log has not been truncated. Indexes: _id, {workspace, pos}, {workspace, pass, pos}, {workspace, segment,
        day}.
        """
        count = 0
        async for ids in pass_ids(self._db, self._in_chunk):
            cards = await self._find_all("passes", ids, {"workspace": 1, "alias_of": 1, "erased.at": 1})
            for card in cards:
                if card["workspace"] in workspace_ids:
                    count += await self._check_pass(card, report)
        for workspace_id in workspace_ids:
            if not (await read_log_history(self._db, workspace_id)).front:
                await self._check_days(workspace_id, report)
        return count

    async def _check_pass(self, card: Doc, report: Callable[[Finding], None]) -> int:
        problem: str | None = None
        for _ in range(LOOKS):
            # The intervals up to this position are written before it is stored.
            log = await self._read_log(card, await self._position(card["workspace"]))
            expected = build_intervals(log)
            found = await self._find_all("intervals", list(expected), {})
            problem = await self._compare(card, expected, {doc["_id"]: from_doc(doc) for doc in found})
            if problem is None:
                break
        if problem is not None:
            report(Finding(card["workspace"], card["_id"], problem))
        return len(expected)

    async def _compare(self, card: Doc, expected: Mapping[str, Interval], found: Mapping[str, Interval]) -> str | None:
        """Return what is wrong with the intervals of a pass, or None."""
        answering = await self._answering(card)
        for interval_id, interval in expected.items():
            stored = found.get(interval_id)
            if stored is None:
                return f"The interval {interval_id} is missing in the history of segments."
            if stored.pass_id != answering:
                return f"The interval {interval_id} belongs to {stored.pass_id} instead of {answering}."
            if interval.ending is None:
                # The exit may have been published since.
                stored = replace(stored, ending=None)
            if _instants(stored) != _instants(interval):
                return f"The interval {interval_id} differs from the log."
        return None

    async def _answering(self, card: Doc) -> str | None:
        """Return the pass that answers for the intervals: the survivor of all merges, or None if it is erased."""
        while "alias_of" in card and "erased" not in card:
            card = (await self._find_all("passes", [card["alias_of"]], {"alias_of": 1, "erased.at": 1}))[0]
        return None if "erased" in card else str(card["_id"])

    async def _count_days(self, workspace_id: str, until: int) -> Days:
        """Return the transitions of each day in the log up to a position, also those of passes that are gone."""
        days: Days = Counter()
        for start in range(0, until, POSITIONS_COUNTED):
            where = {"workspace": workspace_id, "pos": {"$gt": start, "$lt": min(start + POSITIONS_COUNTED, until) + 1}}
            docs = await self._db["activities"].find(where, TRANSITION_FIELDS).to_list(None)
            log = [activities.from_doc({"data": {}, **doc}) for doc in docs if doc["type"] in TRANSITIONS]
            days.update((day_of(each).id, each.type) for each in log)
        return days

    async def _check_days(self, workspace_id: str, report: Callable[[Finding], None]) -> None:
        until = await self._position(workspace_id)
        expected = await self._count_days(workspace_id, until)
        docs = await self._db["segment_days"].find({"workspace": workspace_id}).to_list(None)
        if await self._position(workspace_id) != until:
            return
        found = Counter({(doc["_id"], kind): doc[name] for doc in docs for kind, name in _DAY_FIELDS if doc[name]})
        for day_id in sorted({day_id for (day_id, _), _ in expected.items() ^ found.items()}):
            report(Finding(workspace_id, day_id, "The entries and exits of the day are not those of the log."))

    async def _position(self, workspace_id: str) -> int:
        return await SegmentHistory(self._db, workspace_id, self._in_chunk).position()

    async def _read_log(self, card: Doc, until: int) -> list[Activity]:
        where = {"workspace": card["workspace"], "pass": card["_id"], "pos": {"$gt": 0, "$lt": until + 1}}
        docs = await self._db["activities"].find(where, TRANSITION_FIELDS).sort("pos", 1).to_list(None)
        return [activities.from_doc({"data": {}, **doc}) for doc in docs if doc["type"] in TRANSITIONS]

    async def _find_all(self, collection: str, ids: Sequence[str], fields: Doc) -> list[Doc]:
        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            return await self._db[collection].find({"_id": {"$in": list(chunk)}}, fields or None).to_list(None)

        return await in_chunks(find_chunk, ids, self._in_chunk)


_DAY_FIELDS = ((ENTERED, "entered"), (LEFT, "left"))


def _instants(interval: Interval) -> tuple[object, ...]:
    """Return what the log keeps after an erasure: everything but the versions."""
    ending = interval.ending
    end = None if ending is None else (ending.at, dict(ending.cause))
    return interval.segment_id, interval.number, interval.entered_at, dict(interval.cause), end
