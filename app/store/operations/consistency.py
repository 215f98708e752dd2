"""Check of a whole database: does what is stored fit together? It only reads, in small parts, also while workers run.

A pass is read first, and its activities later. Activities that are newer than the pass as read are left out, so the two
describe one moment. What looks wrong is read again before it counts as a finding.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.activities import ENTERED, LEFT
from app.domain.ids import SLOTS, pass_name_id, slot_of
from app.store.codecs.pass_parts import entry_from_doc
from app.store.mongo.queries import EMBEDDED_CHUNK, Database, Doc, ErrorTranslating, in_chunks
from app.store.workspace.activities import ActivityQueries
from app.store.workspace.reactions import ReactWorkQueries
from app.store.workspace.workspaces import read_log_history

from .indexes import SlotsChanged, check_slots
from .migration import Migration

PASSES_READ = 200
"""Passes that are compared with their activities at once."""
POSITIONS_COUNTED = 10_000
"""Positions of the log that one read counts."""
EVENTS_READ = 1_000
READS_AT_ONCE = 8
LOOKS = 3
"""How often something is read before it counts as a finding."""
ID_DIGITS = 4
"""Hexadecimal digits of the ids of passes by which the passes are cut into ranges."""
ALL_SLOTS = range(SLOTS)
PASS_FIELDS = dict.fromkeys(
    ("workspace", "external_id", "alias_of", "erased.at", "gone", "n", "lb", "out", "memberships.s"), 1
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What does not fit together. `workspace_id` is "-" for what belongs to no workspace; `id` names the object."""

    workspace_id: str
    id: str
    text: str

    def __str__(self) -> str:
        """Return the finding as one line."""
        return f"{self.workspace_id}  {self.id}  {self.text}"


@dataclass(slots=True)
class _Numbers:
    """What the log has of one pass: the first and last number, whether numbers are missing, and the last transitions."""

    first: int = 0
    last: int = 0
    gap_after: int | None = None
    segments: dict[str, bool] = field(default_factory=dict)

    def add(self, number: int, activity_type: str, segment_id: str | None) -> None:
        """Take the next activity; one that was taken before changes nothing."""
        if self.last and number <= self.last:
            return
        self.first = self.first or number
        if self.last and number != self.last + 1 and self.gap_after is None:
            self.gap_after = self.last
        self.last = number
        if segment_id is not None and activity_type in (ENTERED, LEFT):
            self.segments[segment_id] = activity_type == ENTERED


class ConsistencyCheck(ErrorTranslating):
    """The parts of the check. Each calls `report` for every finding. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int) -> None:
        self._db, self._in_chunk = db, in_chunk

    async def check_indexes(self, report: Callable[[Finding], None]) -> None:
        """Check that the database has the indexes and the number of slots of this version."""
        try:
            await check_slots(self._db)
        except SlotsChanged as changed:
            report(Finding("-", "slots", str(changed)))
        compared = await Migration(self._db).compare_indexes()
        for name in (*compared.missing, *compared.building):
            report(Finding("-", name, "The index is missing. Run `punchcard migrate`."))
        for conflict in compared.conflicts:
            report(Finding("-", f"{conflict.collection}.{conflict.name}", conflict.advice))

    async def workspaces(self) -> list[str]:
        """Return the ids of all workspaces. Index: _id."""
        return [doc["_id"] async for doc in self._db["workspaces"].find({}, {"_id": 1}).sort("_id", 1)]

    async def check_log(self, workspace_id: str, report: Callable[[Finding], None]) -> int:
        """Check that the positions of a workspace's log are dense, and return how many there are.

        Index: {workspace, pos}, one count for 10,000 positions.
        """
        last = await ActivityQueries(self._db, workspace_id, self._in_chunk).last_pos()
        front = (await read_log_history(self._db, workspace_id)).front
        for start in range(front, last, POSITIONS_COUNTED):
            stop = min(start + POSITIONS_COUNTED, last)
            missing = await self._missing_positions(workspace_id, start, stop)
            if missing and (await read_log_history(self._db, workspace_id)).front < missing[-1]:
                listed = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
                report(Finding(workspace_id, "log", f"{len(missing)} positions are missing in the log: {listed}."))
        return last - front

    async def check_reactions(self, workspace_id: str, report: Callable[[Finding], None]) -> int:
        """Check the effects outside the passes of a workspace, and return how many are parked.

        React must not have read beyond the log. Indexes: _id, {workspace, pos}, {workspace, event}.
        """
        positions = await ReactWorkQueries(self._db, workspace_id, self._in_chunk).positions(workspace_id)
        last = await ActivityQueries(self._db, workspace_id, self._in_chunk).last_pos()
        if (read := max(positions, default=0) - 1) > last:
            text = f"React has read up to {read}, and the log ends at {last}. Run `punchcard restored`."
            report(Finding(workspace_id, "react", text))
        return await self._db["parked_reactions"].count_documents({"workspace": workspace_id, "event": {"$gt": ""}})

    async def check_pending(self, slot: int, report: Callable[[Finding], None]) -> int:
        """Check the pending events of a slot, and return how many there are.

        Each must lie in the slot of its pass, and the pass must exist. Index: {pend, pass, occurred_at, _id}.
        """
        cursor = self._db["events"].find({"pend": slot}, {"pass": 1, "workspace": 1}, batch_size=EVENTS_READ)
        count = 0
        async for docs in batches_of(cursor, EVENTS_READ):
            count += len(docs)
            for doc in docs:
                if slot_of(doc["pass"]) != slot:
                    expected = slot_of(doc["pass"])
                    text = f"The event waits in slot {slot}, its pass {doc['pass']} has slot {expected}."
                    report(Finding(doc["workspace"], doc["_id"], text))
            for doc in await self._without_pass(docs):
                text = f"The event waits for the pass {doc['pass']}, which does not exist."
                report(Finding(doc["workspace"], doc["_id"], text))
        return count

    async def check_passes(self, report: Callable[[Finding], None], advance: Callable[[int], None]) -> int:
        """Check the name, the last fold, the activities and the memberships of every pass, and return their number.

        `advance` is called with the number of passes after each part. Indexes: _id, {workspace, pass, pos}.
        """
        count = 0
        async for ids in pass_ids(self._db, self._in_chunk):
            cards = await self._find_all("passes", ids, PASS_FIELDS)
            count += sum("gone" not in card for card in cards)
            suspects = await self._compare(cards)
            for _ in range(LOOKS - 1):
                if not suspects:
                    break
                suspects = await self._compare(await self._find_all("passes", list(suspects), PASS_FIELDS))
            for finding in (finding for found in suspects.values() for finding in found):
                report(finding)
            advance(count)
        return count

    async def check_parked(self, report: Callable[[Finding], None]) -> tuple[int, int]:
        """Check the parked passes, and return how many passes and how many of their events are parked.

        The slot of each parked event must be that of its pass. Indexes: {parked}, {workspace, pass, occurred_at, _id}.
        """
        passes, parked_events = self._db["passes"].find({"parked": {"$gte": 0}}, {"workspace": 1}), 0
        cards = await passes.to_list(None)
        for card in cards:
            where = {"workspace": card["workspace"], "pass": card["_id"]}
            cursor = self._db["events"].find(where, {"pend": 1}, batch_size=EVENTS_READ)
            slot = slot_of(card["_id"])
            async for docs in batches_of(cursor, EVENTS_READ):
                parked_events += sum(doc.get("pend", 0) < 0 for doc in docs)
                for doc in docs:
                    if doc.get("pend", slot) not in (slot, -1 - slot):
                        text = f"The event of a parked pass waits in slot {doc['pend']} instead of {-1 - slot}."
                        report(Finding(card["workspace"], doc["_id"], text))
        return len(cards), parked_events

    async def _compare(self, cards: Sequence[Doc]) -> dict[str, list[Finding]]:
        """Return the findings of passes, by the ids of the passes that have any."""
        cards = [card for card in cards if "gone" not in card]
        fronts, numbers = {}, {card["_id"]: _Numbers() for card in cards}
        by_workspace: defaultdict[str, list[Doc]] = defaultdict(list)
        for card in cards:
            by_workspace[card["workspace"]].append(card)
        for workspace_id, some in by_workspace.items():
            await self._read_numbers(workspace_id, some, numbers)
            # Read the front after the activities: they may have been truncated meanwhile.
            fronts[workspace_id] = (await read_log_history(self._db, workspace_id)).front
        folded = [event_id for card in cards for event_id in card.get("lb", ())]
        events = {doc["_id"]: doc for doc in await self._find_all("events", folded, {"pass": 1, "moved.n": 1})}
        name_ids = {card["_id"]: pass_name_id(card["workspace"], card["external_id"]) for card in cards}
        names = {
            doc["_id"]: doc["pass"] for doc in await self._find_all("pass_names", list(name_ids.values()), {"pass": 1})
        }
        found = {
            card["_id"]: [
                *_check_name(card, names.get(name_ids[card["_id"]])),
                *_check_last_fold(card, events),
                *_check_numbers(card, numbers[card["_id"]], fronts[card["workspace"]]),
                *_check_memberships(card, numbers[card["_id"]]),
            ]
            for card in cards
        }
        return {pass_id: findings for pass_id, findings in found.items() if findings}

    async def _read_numbers(self, workspace_id: str, cards: Sequence[Doc], numbers: Mapping[str, _Numbers]) -> None:
        # One read for each pass: for several passes in one, the embedded servers read the whole workspace.
        for start in range(0, len(cards), READS_AT_ONCE):
            some = cards[start : start + READS_AT_ONCE]
            await asyncio.gather(*(self._read_own_numbers(workspace_id, card, numbers[card["_id"]]) for card in some))

    async def _read_own_numbers(self, workspace_id: str, card: Doc, numbers: _Numbers) -> None:
        cursor = self._db["activities"].find(
            {"workspace": workspace_id, "pass": card["_id"]},
            {"n": 1, "type": 1, "segment": 1},
            sort=[("pos", 1)],
            batch_size=EVENTS_READ,
        )
        async for doc in cursor:
            if doc["n"] <= card["n"]:
                numbers.add(doc["n"], doc["type"], doc.get("segment"))
        for entry in map(entry_from_doc, card["out"]):
            segment = entry.refs.get("segment")
            numbers.add(entry.number, entry.type, None if segment is None else str(segment))

    async def _missing_positions(self, workspace_id: str, start: int, stop: int) -> list[int]:
        where = {"workspace": workspace_id, "pos": {"$gt": start, "$lt": stop + 1}}
        if await self._db["activities"].count_documents(where) == stop - start:
            return []
        present = {doc["pos"] async for doc in self._db["activities"].find(where, {"pos": 1, "_id": 0})}
        return [position for position in range(start + 1, stop + 1) if position not in present]

    async def _without_pass(self, events: Sequence[Doc]) -> list[Doc]:
        """Return those of the pending events whose pass does not exist and was not erased, after several looks."""
        for _ in range(LOOKS):
            ids = sorted({doc["pass"] for doc in events})
            existing = {
                doc["_id"] for name in ("passes", "erasures") for doc in await self._find_all(name, ids, {"_id": 1})
            }
            lost = [doc["_id"] for doc in events if doc["pass"] not in existing]
            if not lost:
                return []
            found = await self._find_all("events", lost, {"pass": 1, "workspace": 1, "pend": 1})
            events = [doc for doc in found if "pend" in doc]
        return list(events)

    async def _find_all(self, collection: str, ids: Sequence[str], fields: Doc) -> list[Doc]:
        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            found = self._db[collection].find({"_id": {"$in": list(chunk)}}, fields, batch_size=len(chunk) + 1)
            return await found.to_list(None)

        return await in_chunks(find_chunk, ids, self._in_chunk)


async def pass_ids(db: Database, in_chunk: int) -> AsyncIterator[list[str]]:
    """Yield the ids of all passes, at most 200 at once. Index: _id, in ranges.

    The embedded servers have no ranges of ids: each range would read all passes. They send all ids in one read.
    """
    number_of_ranges = 1
    if in_chunk > EMBEDDED_CHUNK:
        number_of_ranges = max(1, await db["passes"].estimated_document_count() // PASSES_READ)
    for low, high in id_ranges(number_of_ranges):
        where = {"_id": {"$gte": low, "$lt": high}}
        async for docs in batches_of(db["passes"].find(where, {"_id": 1}, batch_size=PASSES_READ), PASSES_READ):
            yield [doc["_id"] for doc in docs]


def id_ranges(number: int) -> Iterator[tuple[str, str]]:
    """Yield ranges of ids, each [low, high), that together hold all ids and each about as many passes.

    A short range keeps no cursor open for long.
    """
    number = min(number, 16**ID_DIGITS)
    bounds = [f"pass_{index * 16**ID_DIGITS // number:0{ID_DIGITS}x}" for index in range(1, number)]
    yield from zip(["", *bounds], [*bounds, "\uffff"], strict=True)


def _check_name(card: Doc, named: str | None) -> Iterator[Finding]:
    # The last step of an erasure deletes the names of the pass and of its aliases, before it replaces their documents.
    may_be_free = "erased" in card or "alias_of" in card
    if named is None and not may_be_free:
        yield _finding(card, "Its external id has no name. Stop version 0.1.0, then run `punchcard migrate --names`.")
    elif named not in (None, card["_id"]) and not may_be_free:
        yield _finding(card, f"Its external id belongs to the pass {named}.")


def _check_last_fold(card: Doc, events: Mapping[str, Doc]) -> Iterator[Finding]:
    for event_id in card.get("lb", ()):
        event = events.get(event_id)
        if event is None:
            yield _finding(card, f"The last fold counted the event {event_id}, which does not exist.")
        elif event["pass"] != card["_id"] and "moved" not in event:
            yield _finding(card, f"The last fold counted the event {event_id} of the pass {event['pass']}.")


def _check_numbers(card: Doc, numbers: _Numbers, front: int) -> Iterator[Finding]:
    if numbers.gap_after is not None:
        yield _finding(card, f"Its activities have a gap after number {numbers.gap_after}.")
    if numbers.first > 1 and not front:
        yield _finding(card, f"Its activities begin at number {numbers.first} instead of 1.")
    if numbers.last != card["n"] and not (front and not numbers.last):
        yield _finding(card, f"Its last activity is number {card['n']}; log and outbox end at {numbers.last}.")


def _check_memberships(card: Doc, numbers: _Numbers) -> Iterator[Finding]:
    members = {membership["s"] for membership in card.get("memberships", ())}
    for segment_id, is_member in numbers.segments.items():
        if is_member != (segment_id in members):
            said, stored = ("entered", "no member") if is_member else ("left", "a member")
            yield _finding(card, f"By its activities it {said} {segment_id}, but it is {stored}.")
    if numbers.first == 1:
        for segment_id in sorted(members - set(numbers.segments)):
            yield _finding(card, f"It is a member of {segment_id} without an activity that it entered.")


def _finding(card: Doc, text: str) -> Finding:
    return Finding(card["workspace"], card["_id"], text)


async def batches_of(cursor: Any, size: int) -> AsyncIterator[list[Doc]]:
    """Yield the documents of a cursor in lists of at most `size`."""
    while docs := await cursor.to_list(size):
        yield docs
