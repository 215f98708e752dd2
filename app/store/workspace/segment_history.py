"""Writes of the history of segments: intervals of passes, and entries and exits of each UTC day.

Both follow the activity log. One document of each workspace has the position up to which they do: everything at or before
it is written. A repeat changes nothing: an interval has the id of its entry, and the document of a day has the position up
to which the day is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pymongo import UpdateOne

from app.domain.activities import ENTERED, TRANSITIONS, Activity
from app.domain.errors import Unavailable
from app.domain.segments.history import DayKey, Interval, day_of, ended_id, ending_of, interval_of
from app.domain.values.instants import EARLIEST, utc_midnight
from app.store.codecs.intervals import ending_to_doc, to_doc
from app.store.mongo.queries import (
    Collection,
    Database,
    Doc,
    WorkspaceQueries,
    equal_to,
    in_chunks,
    insert_new,
)
from app.store.workspace import activities
from app.store.workspace.workspaces import read_log_history

POSITIONS_READ = 1_000
"""Positions of the log that are written at once when the history is behind."""
TRANSITION_FIELDS = dict.fromkeys(
    ("pos", "pass", "n", "type", "category", "occurred_at", "recorded_at", "cause", "data.segment.version", "segment",
     "entered"),
    1,
)  # fmt: skip
"""The fields of an activity that its interval is made of."""


class SegmentHistory(WorkspaceQueries):
    """Writes of the history of the segments of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "intervals"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self._days, self._positions = db["segment_days"], db["histories"]
        self._activities, self._passes, self._erasures = db["activities"], db["passes"], db["erasures"]

    async def position(self) -> int:
        """Return the position of the log up to which everything is written. Index: _id."""
        doc = await self._positions.find_one({"_id": self._workspace_id}, {"pos": 1})
        return 0 if doc is None else int(doc["pos"])

    async def first_unwritten(self) -> int | None:
        """Return the position of the first transition that is not written; None if there is none.

        Three round trips. Indexes: _id, {workspace, type, pos}.
        """
        after = await self.position()
        found = [
            await self._activities.find_one(
                self._in_workspace(type=kind, pos={"$gt": after}), {"pos": 1}, sort=[("pos", 1)]
            )
            for kind in sorted(TRANSITIONS)
        ]
        return min((int(doc["pos"]) for doc in found if doc is not None), default=None)

    async def record(self, transitions: Sequence[Activity], after: int, until: int) -> None:
        """Write the transitions at the positions after `after`, up to `until`: all that there are, in order.

        Everything up to `after` must be written. Three round trips one after the other. Indexes: _id; for exits whose
        entry an earlier version wrote, {workspace, segment, pass, entered}.
        """
        await asyncio.gather(self._write_intervals(transitions), self._count_days(transitions, after, until))
        await self.advance(until)

    async def advance(self, until: int) -> None:
        """Note that everything up to a position is written. Positions never fall. Index: _id."""
        change = {"$max": {"pos": until}}
        where = {"_id": self._workspace_id}
        if not (await self._positions.update_one(where, change)).matched_count:
            new = {"_id": self._workspace_id, "workspace": self._workspace_id, "pos": until}
            if await insert_new(self._positions, [new]):
                await self._positions.update_one(where, change)

    async def follow(self, until: int, report: Callable[[int], None] = lambda position: None) -> None:
        """Read the log up to a position, from where the history ends, and write it. `report` is called with each position.

        The log is read in parts of 1,000 positions. A crash repeats one part. Indexes: {workspace, pos}, _id, {workspace,
        pass, entered, _id}.
        """
        front = (await read_log_history(self._db, self._workspace_id)).front
        after = max(await self.position(), front)
        while after < until:
            stop = min(after + POSITIONS_READ, until)
            transitions = await self._read_log(after, stop)
            await self.record(transitions, after, stop)
            # Read the passes after the write: a merge or an erasure that ends later moves these intervals itself.
            await self._answer_for(sorted({each.pass_id for each in transitions}))
            after = stop
            report(after)

    async def step_back(self, last: int) -> None:
        """Make a history that is ahead of the log follow it again, after a restore from a backup. Safe to repeat.

        A backup that is not of one moment may hold such a history. It is deleted, and the next publisher builds it from the
        log. Of a log whose front was truncated it is kept, with what was lost. Indexes: _id, {workspace, segment, …}.
        """
        if await self.position() <= last:
            return
        is_whole = not (await read_log_history(self._db, self._workspace_id)).front
        if is_whole:
            for collection in (self._collection, self._days):
                await collection.delete_many(self._in_workspace())
        change = {"$set": {"pos": 0 if is_whole else last}}
        await self._positions.update_one({"_id": self._workspace_id}, change)

    async def move(self, pass_id: str, survivor_id: str) -> None:
        """Let the survivor of a merge answer for the intervals of the merged pass. Safe to repeat.

        All activities of the merged pass must be published. Index: {workspace, pass, entered, _id}.
        """
        while await self._change(pass_id, {"$set": {"pass": survivor_id}}):
            # The survivor may have been merged meanwhile, and its own intervals be moved already.
            card = await self._passes.find_one(self._by_id(survivor_id), {"alias_of": 1}) or {}
            if "alias_of" not in card:
                return
            pass_id, survivor_id = survivor_id, card["alias_of"]

    async def erase(self, pass_ids: Iterable[str]) -> None:
        """Take passes out of their intervals, which keep segment and instants. Safe to repeat.

        All activities of the passes must be published. Index: {workspace, pass, entered, _id}.
        """
        for pass_id in pass_ids:
            await self._change(pass_id, {"$unset": {"pass": ""}})

    async def _change(self, pass_id: str, change: Doc) -> bool:
        """Change the intervals of a pass, and return whether there were any."""
        where = self._in_workspace(**{"pass": pass_id, "entered": {"$gte": EARLIEST}})
        ids = [doc["_id"] for doc in await self._collection.find(where, {"_id": 1}).to_list(None)]
        if not ids:
            return False
        # Each update asks for the pass: an erasure may have taken it out since the read, and it must not come back.
        updates = [UpdateOne({**self._by_id(each), "pass": pass_id}, change) for each in ids]
        for start in range(0, len(updates), self._in_chunk):
            await self._collection.bulk_write(updates[start : start + self._in_chunk], ordered=False)
        return True

    async def _answer_for(self, pass_ids: Sequence[str]) -> None:
        """Move the intervals of those of the passes that are merged or erased."""
        found = await self._find_all(self._passes, pass_ids, {"alias_of": 1, "erased.at": 1})
        # Version 0.1.0 kept no document of an erased pass but its figures.
        missing = [pass_id for pass_id in pass_ids if pass_id not in found]
        erased = [*await self._find_all(self._erasures, missing, {"_id": 1})]
        erased += [pass_id for pass_id, card in found.items() if "erased" in card]
        await self.erase(erased)
        for pass_id, card in found.items():
            if "alias_of" in card and "erased" not in card:
                await self.move(pass_id, card["alias_of"])

    async def _find_all(self, collection: Collection, ids: Sequence[str], fields: Doc) -> dict[str, Doc]:
        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            return await collection.find(self._by_id({"$in": list(chunk)}), fields).to_list(None)

        return {doc["_id"]: doc for doc in await in_chunks(find_chunk, ids, self._in_chunk)}

    async def _read_log(self, after: int, until: int) -> list[Activity]:
        """Return the transitions at these positions, in order. Raises Unavailable if the read does not show all of them."""
        where = self._in_workspace(pos={"$gt": after, "$lt": until + 1})
        docs = await self._activities.find(where, TRANSITION_FIELDS).sort("pos", 1).to_list(None)
        if len(docs) < until - after:
            # A primary that was just elected may not show the end of the log yet.
            raise Unavailable("store")
        return [activities.from_doc({"data": {}, **doc}) for doc in docs if doc["type"] in TRANSITIONS]

    async def _write_intervals(self, transitions: Sequence[Activity]) -> None:
        """Insert intervals that begin, then end those that end."""
        begun: dict[str, Interval] = {}
        ends: dict[str, Doc] = {}
        open_ids: dict[tuple[str, str | None], str] = {}
        for activity in transitions:
            key = activity.pass_id, activity.segment_id
            if activity.type == ENTERED:
                interval = interval_of(activity)
                begun[interval.id], open_ids[key] = interval, interval.id
                continue
            interval_id = ended_id(activity) or open_ids.get(key) or await self._find_open(activity)
            ending = ending_of(activity)
            if interval_id in begun:
                begun[interval_id] = replace(begun[interval_id], ending=ending)
            if interval_id is not None:
                ends[interval_id] = ending_to_doc(ending)
        ids = list(begun)
        existing = await insert_new(self._collection, [to_doc(begun[each], self._workspace_id) for each in ids])
        inserted = {each for index, each in enumerate(ids) if index not in existing}
        missing = [each for each in ends if each not in inserted]
        if missing:
            updates = [UpdateOne(self._by_id(each), {"$set": ends[each]}) for each in missing]
            await self._collection.bulk_write(updates, ordered=False)

    async def _find_open(self, activity: Activity) -> str | None:
        """Return the interval that an exit ends whose entry an earlier version wrote."""
        where = self._in_workspace(
            **{"segment": activity.segment_id, "pass": activity.pass_id, "entered": {"$gte": EARLIEST}}
        )
        docs = await self._collection.find(where, {"n": 1, "left": 1}).to_list(None)
        earlier = [
            doc for doc in docs if doc["n"] < activity.pass_sequence and doc.get("left") in (None, activity.occurred_at)
        ]
        return max(earlier, key=lambda doc: int(doc["n"]))["_id"] if earlier else None

    async def _count_days(self, transitions: Sequence[Activity], after: int, until: int) -> None:
        """Count the transitions in the documents of their days, each once."""
        days: dict[DayKey, list[Activity]] = {}
        for activity in transitions:
            days.setdefault(day_of(activity), []).append(activity)
        # Mostly the document exists, and no other publisher has counted in it since `after`.
        at_once = [self._add(key, found, {"$lt": after + 1}, until) for key, found in days.items()]
        is_done = await self._write_days(at_once)
        while not is_done:
            positions = await self._day_positions([key.id for key in days])
            missing = [self._new_day(key, found, until) for key, found in days.items() if key.id not in positions]
            existing = await insert_new(self._days, missing)
            behind = [
                self._add(key, [each for each in found if each.position > position], equal_to(position), until)
                for key, found in days.items()
                if (position := positions.get(key.id, until)) < until
            ]
            is_done = await self._write_days(behind) and not existing

    async def _write_days(self, updates: Sequence[UpdateOne]) -> bool:
        """Send updates of days, and return whether each found its document at the position that it expects."""
        if not updates:
            return True
        return (await self._days.bulk_write(updates, ordered=False)).matched_count == len(updates)

    async def _day_positions(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the positions up to which days are counted, by the ids of the documents that exist."""

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            return await self._days.find({"_id": {"$in": list(chunk)}}, {"pos": 1}).to_list(None)

        return {doc["_id"]: int(doc["pos"]) for doc in await in_chunks(find_chunk, ids, self._in_chunk)}

    def _new_day(self, key: DayKey, transitions: Sequence[Activity], until: int) -> Doc:
        return {
            "_id": key.id,
            **self._in_workspace(segment=key.segment_id, day=utc_midnight(key.day)),
            **_counts(transitions),
            "pos": until,
        }

    def _add(self, key: DayKey, transitions: Sequence[Activity], position: Doc, until: int) -> UpdateOne:
        change = {"$inc": _counts(transitions), "$set": {"pos": until}}
        return UpdateOne({"_id": key.id, "pos": position}, change)


def _counts(transitions: Sequence[Activity]) -> Doc:
    entered = sum(each.type == ENTERED for each in transitions)
    return {"entered": entered, "left": len(transitions) - entered}
