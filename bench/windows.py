"""What one more event costs a pass that has 20, and one that has 20,000 events inside the window of a segment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from app.clock import FixedClock
from app.commands.context import Context
from app.commands.events.record import record_events
from app.commands.segments import create_segment
from app.commands.workspaces.workspaces import create_workspace
from app.domain.actors import SCOPES, Actor
from app.domain.events.events import Category, Event, EventInput, Origin
from app.domain.ids import slot_of
from app.domain.segments.segments import Definitions
from app.domain.values.instants import truncate
from app.flow import range_of
from app.resources import Resources
from app.store.cache import WorkspaceCache
from app.store.codecs import events as event_docs
from app.store.codecs import passes as pass_docs
from app.store.operations import indexes
from workers.stages.due import due
from workers.stages.fold import fold
from workers.worker import Worker

from .stock import BOUGHT, folded
from .timing import Act, Processes, Side, compared

WINDOW = timedelta(days=90)
SEGMENTS = {
    "sum": {"event": {**BOUGHT, "metric": "SUM", "operator": "GTE", "value": 100_000, "within": {"days": 90}}},
    "count": {"event": {**BOUGHT, "metric": "COUNT", "operator": "GTE", "value": 1_000_000, "within": {"days": 90}}},
}


async def windows(resources: Resources, processes: Processes, sizes: tuple[int, ...], rounds: int) -> list[Side]:
    """One side for each size: an event recorded, folded, and what became due walked, the clock moving on each time.

    As many events leave the window as enter it: what the leavers cost is in the figure.
    """
    sides = [await _side(resources, size) for size in sizes]
    await compared(sides, processes, rounds=rounds, runs=25)
    return sides


async def _side(resources: Resources, size: int) -> Side:
    clock = FixedClock(datetime(2026, 6, 1, tzinfo=UTC))
    # A database of its own: the clock runs months ahead, by which everything else would become due too.
    db = resources.db.client[f"{resources.settings.database}-window{size}"]
    mine = replace(resources, db=db, clock=clock, cache=WorkspaceCache())
    await indexes.ensure_indexes(db)
    profile, _ = await create_workspace(mine, f"{size} in the window")
    ctx = Context(mine.workspace(profile.id), Actor(profile.id, "key_bench", "bench", frozenset(SCOPES)), mine)
    for key, criteria in SEGMENTS.items():
        await create_segment(ctx, key, key, criteria)
    definitions = Definitions(await ctx.workspace.segments.versions())
    await db["workspaces"].update_one({"_id": profile.id}, {"$unset": {"stale": ""}})
    gap = WINDOW / size
    now = await clock.now()
    pass_id = f"pass_window{size}"
    events = [
        Event(
            f"event_{size}_{place}", pass_id, Category.TRANSACTION, "purchase", Decimal("5.25"), "USD", Decimal(0),
            "till", None, {}, at, at, Origin("API", "key_bench"),
        )
        for place in range(size)
        for at in [truncate(now - WINDOW + gap * (place + 1))]
    ]  # fmt: skip
    card = folded(ctx, definitions, pass_id, events, now - 2 * WINDOW, now)
    docs = [event_docs.to_doc(event, profile.id, b"", 0) for event in events]
    for doc in docs:
        del doc["pend"]
    await db["passes"].insert_one(pass_docs.to_doc(card))
    for start in range(0, len(docs), 1_000):
        await db["events"].insert_many(docs[start : start + 1_000], ordered=False)
    worker, key = Worker.on(mine), range_of(slot_of(pass_id))
    passes = db["passes"]

    async def prepare() -> Act:
        await passes.update_one({"_id": pass_id}, {"$set": {"out": []}, "$unset": {"pub": ""}})

        async def run() -> None:
            clock.set(await clock.now() + gap)
            outcome = await record_events(ctx, [EventInput("purchase", pass_id=pass_id, amount="5.25")])
            assert outcome.created == 1
            await fold(worker, key)
            await due(worker, key)

        return run

    return Side(f"{size:,} in the window", prepare)
