"""Rows of counted events after a crash run: what questions read, and what is sealed, must equal the stored events."""

from __future__ import annotations

from collections.abc import Iterable

from app.commands.context import Context
from app.commands.insights.reading import read_rows
from app.domain.actors import SCOPES, Actor
from app.domain.events.events import INTERNAL_TYPES
from app.domain.rollups.levels import Level
from app.domain.rollups.rows import DAY_MS, CountedRow, RowKey, Totals, add_rows, row_of
from app.domain.rollups.selections import Cells, Selection
from app.domain.values.zones import UTC
from app.resources import Resources
from app.store.codecs.events import from_doc
from app.store.codecs.guards import is_declined
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


def _is_counted(doc: dict[str, object]) -> bool:
    return "removed" not in doc and doc["type"] not in INTERNAL_TYPES and not is_declined(doc)


def _sums(rows: Iterable[CountedRow]) -> Sums:
    return {(row.start_ms, row.type, row.key): row.totals for row in add_rows(rows)}
