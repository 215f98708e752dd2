"""The part `window`: the cost of one more event for a pass with many events inside the window of a segment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from app.clock import FixedClock
from app.commands.context import Context
from app.commands.events.record import record_events
from app.commands.segments import create_segment
from app.commands.workspaces.workspaces import create_workspace
from app.domain.actors import SCOPES, Actor
from app.domain.definitions import Definitions
from app.domain.events.events import Category, Event, EventInput, Origin
from app.domain.ids import slot_of
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

from .stock import BOUGHT, fold_events
from .timing import Processes, Run, Side, compare

WINDOW = timedelta(days=90)
MEASURES = {
    "sum": {**BOUGHT, "metric": "SUM", "operator": "GTE", "value": 100_000},
    "count": {**BOUGHT, "metric": "COUNT", "operator": "GTE", "value": 1_000_000},
}
ROLLING: Mapping[str, object] = {"within": {"days": 90}}
KINDS: Mapping[str, Mapping[str, object]] = {
    "a rolling window": ROLLING,
    "a calendar window": {"calendar": {"unit": "QUARTER"}},
}


async def measure_windows(
    resources: Resources, processes: Processes, sizes: tuple[int, ...], rounds: int
) -> list[Side]:
    """Measure one side for each number of events: record an event, fold it, and advance the pass if it is due.

    The clock moves on before each event, so that one event leaves the window for each new one. The figures include the
    cost of the events that leave.
    """
    sides = [await _create_side(resources, size, f"{size:,} in the window", ROLLING) for size in sizes]
    await compare(sides, processes, rounds=rounds, runs=25)
    return sides


async def measure_kinds(resources: Resources, processes: Processes, size: int, rounds: int) -> list[Side]:
    """Measure a side for each kind of window: the last 90 days, and the present quarter. As `measure_windows`."""
    sides = [await _create_side(resources, size, kind, window) for kind, window in KINDS.items()]
    await compare(sides, processes, rounds=rounds, runs=25)
    return sides


async def _create_side(resources: Resources, size: int, title: str, window: Mapping[str, object]) -> Side:
    clock = FixedClock(datetime(2026, 6, 1, tzinfo=UTC))
    # Use a database of its own: this clock runs months ahead, and all passes in a shared database would become due.
    db = resources.db.client[f"{resources.settings.database}-{title.replace(' ', '-')}"]
    own_resources = replace(resources, db=db, clock=clock, cache=WorkspaceCache())
    await indexes.ensure_indexes(db)
    profile, _ = await create_workspace(own_resources, f"{size} in the window")
    ctx = Context(
        own_resources.workspace(profile.id),
        Actor(profile.id, "key_bench", "bench", scopes=frozenset(SCOPES)),
        own_resources,
    )
    for key, measure in MEASURES.items():
        await create_segment(ctx, key, key, {"event": {**measure, **window}})
    definitions = Definitions(await ctx.workspace.definitions.versions())
    await db["workspaces"].update_one({"_id": profile.id}, {"$unset": {"stale": ""}})
    interval = WINDOW / size
    now = await clock.now()
    pass_id = f"pass_window{size}"
    events = [
        Event(
            id=f"event_{size}_{number}", pass_id=pass_id, category=Category.TRANSACTION, type="purchase",
            amount=Decimal("5.25"), currency="USD", points=Decimal(0), source="till", external_id=None, metadata={},
            occurred_at=at, recorded_at=at, origin=Origin("API", "key_bench"),
        )
        for number in range(size)
        for at in [truncate(now - WINDOW + interval * (number + 1))]
    ]  # fmt: skip
    card = fold_events(ctx, definitions, pass_id, events, now - 2 * WINDOW, now)
    docs = [event_docs.to_doc(event, profile.id, b"", 0) for event in events]
    for doc in docs:
        del doc["pend"]
    await db["passes"].insert_one(pass_docs.to_doc(card))
    for start in range(0, len(docs), 1_000):
        await db["events"].insert_many(docs[start : start + 1_000], ordered=False)
    worker, key = Worker.on(own_resources), range_of(slot_of(pass_id))
    passes = db["passes"]

    async def prepare() -> Run:
        await passes.update_one({"_id": pass_id}, {"$set": {"out": []}, "$unset": {"pub": ""}})

        async def run() -> None:
            clock.set(await clock.now() + interval)
            outcome = await record_events(ctx, [EventInput("purchase", pass_id=pass_id, amount="5.25")])
            assert outcome.created == 1
            await fold(worker, key)
            await due(worker, key)

        return run

    return Side(title, prepare)
