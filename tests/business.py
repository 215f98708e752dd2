"""A workspace with its actor and a worker, all in the test's own process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.clock import FixedClock
from app.commands.context import Context
from app.commands.events.outcomes import BatchOutcome
from app.commands.events.record import record_events
from app.commands.passes.passes import create_passes
from app.commands.segments import create_segment
from app.commands.workspaces.workspaces import create_workspace
from app.domain.activities import Activity
from app.domain.activity_queries import ActivityQuery
from app.domain.actors import SCOPES, Actor
from app.domain.events.events import EventInput
from app.domain.passes.inputs import PassInput
from app.domain.passes.passes import Pass
from app.domain.segments.segments import Segment
from app.domain.values.instants import to_ms
from app.resources import Resources
from app.store.mongo.paging import PageRequest
from tests.databases import create_database
from workers.main import STAGES
from workers.stages import react
from workers.sweep import Sweep
from workers.worker import Worker

WORK_OF_PASSES = ("pub", "merging", "erasing")
"""Stored fields of a pass that has work for publish, merge or erase."""


@dataclass(frozen=True)
class Progress:
    """What changes whenever a stage writes something, and whether passes or events show that a stage has work.

    A merge moves a pending event to the slot of the other pass, so the slots belong to it.
    """

    last_pos: int
    written: int
    slots: tuple[tuple[object, int], ...]
    has_work: bool


@dataclass
class Business:
    """One workspace, with a context for commands and a worker for stages."""

    ctx: Context
    worker: Worker
    clock: FixedClock

    async def run_worker(self) -> None:
        """Run the worker's stages until no stage has work left, or a whole sweep changes nothing."""
        sweep = Sweep(self.worker, STAGES)
        before = await self._progress()
        while True:
            await sweep.fold()
            await sweep.advance_due()
            await sweep.schedule()
            await sweep.backfill()
            await sweep.publish()
            await self.react()
            await sweep.merge()
            await sweep.erase()
            after = await self._progress()
            # A sweep that finds nothing sends half as many commands as one that folds the event of a test.
            if after == before or not (after.has_work or await self._has_announced_work()):
                return
            before = after

    async def react(self) -> None:
        """Make what follows outside the passes from the log, up to its end."""
        await react.run_workspace(self.worker, self.ctx.workspace.id)

    async def _progress(self) -> Progress:
        db, elapsed_ms = self.ctx.resources.db, to_ms(await self.ctx.resources.clock.elapsed())
        fields = dict.fromkeys(("v", "out.n", "due", *WORK_OF_PASSES), 1)
        cards = await db["passes"].find({}, fields).to_list(None)
        pending = await db["events"].find({"pend": {"$gte": 0}}, {"pend": 1}).to_list(None)
        return Progress(
            last_pos=await self.ctx.workspace.activities.last_pos(),
            written=sum(card["v"] + len(card["out"]) for card in cards),
            slots=tuple(sorted((event["_id"], event["pend"]) for event in pending)),
            has_work=bool(pending)
            or any(
                card.get("due", elapsed_ms + 1) <= elapsed_ms or not card.keys().isdisjoint(WORK_OF_PASSES)
                for card in cards
            ),
        )

    async def _has_announced_work(self) -> bool:
        """Return whether work waits that neither passes nor events show: new definitions, merges or scheduled edits."""
        db, elapsed_ms = self.ctx.resources.db, to_ms(await self.ctx.resources.clock.elapsed())
        for collection, where in (
            ("workspaces", {"stale": {"$gte": 0}}),
            ("merges", {"open": {"$gte": 0}}),
            ("scheduled_edits", {"due": {"$gte": 0, "$lte": elapsed_ms}}),
        ):
            if await db[collection].find_one(where, {"_id": 1}) is not None:
                return True
        return False

    async def record(self, *items: Mapping[str, object], **options: object) -> BatchOutcome:
        """Call recordEvents, and create missing passes unless the options say otherwise."""
        options.setdefault("create_missing_passes", True)
        inputs = [EventInput(**{"pass_external_id": "ann", "type": "purchase", **item}) for item in items]
        return await record_events(self.ctx, inputs, **options)  # type: ignore[arg-type]

    async def create_passes(self, *external_ids: str) -> list[Pass]:
        """Call createPasses, one pass for each external id, and return the passes."""
        results = await create_passes(self.ctx, [PassInput(name) for name in external_ids])
        return [result.card for result in results if result.card is not None]

    async def create_segment(self, key: str, criteria: Mapping[str, object], **options: object) -> Segment:
        """Call createSegment, run the backfill, and return the segment."""
        created = await create_segment(self.ctx, key, key, criteria, **options)  # type: ignore[arg-type]
        await self.run_worker()
        return created

    async def read_pass(self, external_id: str = "ann") -> Pass:
        """Return the pass as stored, with everything that the fold reads."""
        ids = await self.ctx.workspace.passes.ids_of([external_id])
        return (await self.worker.fold_queries.passes(ids.values()))[ids[external_id]]

    async def read_log(self, **query: object) -> list[Activity]:
        """Return the activities of the log that match the query, or all of them."""
        matching = ActivityQuery(**query)  # type: ignore[arg-type]
        return (await self.ctx.workspace.activities.page(matching, PageRequest(100_000))).items

    async def read_members(self, segment: Segment) -> list[str]:
        """Return the sorted external ids of the segment's members."""
        page = await self.ctx.workspace.segments.members(segment.id, PageRequest(100_000))
        return sorted(card.external_id for card in page.items)


async def open_business(resources: Resources, clock: FixedClock, name: str = "Kiosk", **options: str) -> Business:
    """Create a workspace in a database; create the database too, unless this process did so before."""
    await create_database(resources.settings.mongodb_uri, resources.db)
    return await create_business(resources, clock, name, **options)


async def create_business(resources: Resources, clock: FixedClock, name: str, **options: str) -> Business:
    """Create one more workspace in the same database, with the currency and the time zone of the options."""
    profile, _ = await create_workspace(resources, name, **options)  # type: ignore[arg-type]
    actor = Actor(profile.id, "key_test", "test", scopes=frozenset(SCOPES))
    return Business(Context(resources.workspace(profile.id), actor, resources), Worker.on(resources), clock)


def purchases(count: int, **window: object) -> dict[str, object]:
    """Return the criteria `count or more purchases`, in a window if given."""
    return {"event": {"types": ["purchase"], "metric": "COUNT", "operator": "GTE", "value": count, **window}}


def spent(amount: int | Decimal, days: int | None = None) -> dict[str, object]:
    """Return the criteria `amount or more spent`, within so many days if given."""
    within = {} if days is None else {"within": {"days": days}}
    return {"event": {"types": ["purchase"], "metric": "SUM", "operator": "GTE", "value": amount, **within}}


def bought_within(days: int) -> dict[str, object]:
    """Return the criteria `bought within so many days`."""
    return {
        "event": {"types": ["purchase"], "metric": "COUNT", "operator": "GTE", "value": 1, "within": {"days": days}}
    }


def no_purchase_for(days: int) -> dict[str, object]:
    """Return the criteria `no purchase in so many days`."""
    return {"event": {"types": ["purchase"], "metric": "DAYS_SINCE_LAST", "operator": "GTE", "value": days}}


def list_transitions(log: Sequence[Activity], segment: Segment) -> list[tuple[str, datetime, bool]]:
    """Return (pass id, instant, entered) of each transition of the segment, in order of the log."""
    return [
        (a.pass_id, a.occurred_at, a.type.endswith(".entered")) for a in log if a.segment_id == segment.id
    ]  # fmt: skip
