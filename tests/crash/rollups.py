"""Sums after a crash run: what questions read, and what is sealed of hours and passes, must equal the stored events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from app.commands.context import Context
from app.commands.insights.reading import read_rows
from app.domain.actors import SCOPES, Actor
from app.domain.events.events import INTERNAL_TYPES, Event
from app.domain.insights.period_comparison import compare_periods
from app.domain.rollups.levels import Level
from app.domain.rollups.periods import sum_months
from app.domain.rollups.rows import CountedRow, RowKey, Totals, add_rows, row_of
from app.domain.rollups.selections import Cells, Selection
from app.domain.values.instants import DAY_MS
from app.domain.values.zones import UTC
from app.resources import Resources
from app.store.codecs.events import from_doc
from app.store.codecs.guards import is_declined
from app.store.codecs.pass_periods import periods_of_pass
from app.store.mongo.queries import Database, Doc
from app.store.operations.rollup_check import RollupCheck

Sums = dict[tuple[int, str, RowKey], Totals]


async def find_problems_of_rollups(resources: Resources) -> list[str]:
    """Return how the rows that questions read differ from the stored events, in each workspace."""
    found: list[str] = []
    for workspace in await resources.db["workspaces"].find({}, {"_id": 1}).to_list(None):
        workspace_id = workspace["_id"]
        actor = Actor(workspace_id, "key_crash", "crash", scopes=frozenset(SCOPES))
        ctx = Context(resources.workspace(workspace_id), actor, resources)
        docs = await resources.db["events"].find({"workspace": workspace_id}).to_list(None)
        events = [from_doc(doc) for doc in docs if _is_counted(doc)]
        found += await _find_problems_of_passes(resources.db, workspace_id, events)
        if not events:
            continue
        instants = [each.occurred_ms for each in events]
        low_ms, high_ms = Level.DAY.start_ms(min(instants)), Level.DAY.end_ms(Level.DAY.start_ms(max(instants)))
        reading = await read_rows(ctx, Selection(low_ms, high_ms, cells=Cells.QUARTER_HOUR), UTC)
        expected = _sums(map(row_of, events))
        if (actual := _sums(reading.rows)) != expected:
            different = [key for key in {**actual, **expected} if actual.get(key) != expected.get(key)]
            found.append(f"{len(different)} rows differ from the events: {different[:3]}; read by {reading.plan}")
        found += await _verify(RollupCheck(resources.db, workspace_id, resources.in_chunk), low_ms, high_ms)
    return found


async def _verify(check: RollupCheck, low_ms: int, high_ms: int) -> list[str]:
    """Return how the sealed rollups differ from the events, and those that should be sealed and are not."""
    days = range(low_ms, high_ms, DAY_MS)
    compared = [await check.compare_day(day_ms, is_marked=True) for day_ms in days]
    compared += [
        await check.compare_month(month_ms) for month_ms in sorted({Level.MONTH.start_ms(day) for day in days})
    ]
    found = [
        f"the rollup {period}: {difference}"
        for each in compared
        for period, differences in each.differences.items()
        for difference in differences[:3]
    ]
    left = [each for each in compared if each.waiting or each.moving]
    return found + [f"{len(left)} days and months are not sealed"] * bool(left)


async def _find_problems_of_passes(db: Database, workspace_id: str, events: Sequence[Event]) -> list[str]:
    """Return how the sealed months and years of passes differ from the events that are stored under these passes."""
    by_pass: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_pass[event.pass_id].append(event)
    stored: defaultdict[str, list[Doc]] = defaultdict(list)
    async for doc in db["pass_periods"].find({"workspace": workspace_id}):
        stored[doc["pass"]].append(doc)
    found: list[str] = []
    # Neither aliases nor erased passes have `created_at`.
    cards = await db["passes"].find({"workspace": workspace_id, "created_at": {"$exists": True}}).to_list(None)
    for card in cards:
        months = sum_months(by_pass.pop(card["_id"], []))
        different = compare_periods(periods_of_pass(card, stored[card["_id"]]), months)
        found += [f"{card['external_id']}: {each}" for each in different]
    if by_pass:
        found.append(f"{len(by_pass)} passes that have ended have events: {sorted(by_pass)[:3]}")
    ended = stored.keys() - {card["_id"] for card in cards}
    if left := [doc["_id"] for pass_id in ended for doc in stored[pass_id] if "doubt" not in doc]:
        found.append(f"{len(left)} sums of passes that have ended will never be deleted: {sorted(left)[:3]}")
    return found


def _is_counted(doc: dict[str, object]) -> bool:
    return "removed" not in doc and doc["type"] not in INTERNAL_TYPES and not is_declined(doc)


def _sums(rows: Iterable[CountedRow]) -> Sums:
    return {(row.start_ms, row.type, row.key): row.totals for row in add_rows(rows)}
