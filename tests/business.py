"""A small business for tests: a workspace, an actor, and a worker that settles everything when asked to."""

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
from app.domain.activities import Activity, ActivityQuery
from app.domain.actors import SCOPES, Actor
from app.domain.events.events import EventInput
from app.domain.passes.passes import Pass, PassInput
from app.domain.segments.segments import Segment
from app.resources import Resources
from app.store.mongo.paging import PageRequest
from app.store.operations import indexes
from workers.main import STAGES
from workers.sweep import Sweep
from workers.worker import Worker

INDEXED: set[tuple[str | None, str]] = set()
"""The servers and databases that have their indexes, as far as this process made them."""


@dataclass
class Business:
    """One workspace, in process: commands as they are called by the edge, stages as they are run by a worker."""

    ctx: Context
    worker: Worker
    clock: FixedClock

    async def settle(self) -> None:
        """Runs every stage until a whole sweep moved nothing."""
        sweep = Sweep(self.worker, STAGES)
        position: object = None
        while position != (position := await self._progress()):
            await sweep.folds()
            await sweep.dues()
            await sweep.backfills()
            await sweep.publishes()
            await sweep.merges()
            await sweep.erasures()

    async def _progress(self) -> object:
        db = self.ctx.resources.db
        cards = await db["passes"].find({}, {"v": 1, "out.n": 1}).to_list(None)
        waiting = await db["events"].find({"pend": {"$gte": 0}}, {"pend": 1}).to_list(None)
        # What moves from one pass to another waits in another slot.
        slots = sorted((event["_id"], event["pend"]) for event in waiting)
        moved = sum(card["v"] + len(card["out"]) for card in cards)
        return await self.ctx.workspace.activities.last_pos(), moved, slots

    async def record(self, *items: Mapping[str, object], **options: object) -> BatchOutcome:
        """recordEvents, with passes made on the way."""
        options.setdefault("create_missing_passes", True)
        inputs = [EventInput(**{"pass_external_id": "ann", "type": "purchase", **item}) for item in items]
        return await record_events(self.ctx, inputs, **options)  # type: ignore[arg-type]

    async def join(self, *external_ids: str) -> list[Pass]:
        """createPasses."""
        results = await create_passes(self.ctx, [PassInput(name) for name in external_ids])
        return [result.card for result in results if result.card is not None]

    async def segment(self, key: str, criteria: Mapping[str, object], **options: object) -> Segment:
        """createSegment, and its backfill done."""
        made = await create_segment(self.ctx, key, key, criteria, **options)
        await self.settle()
        return made

    async def card(self, external_id: str = "ann") -> Pass:
        """The pass as stored, whole."""
        ids = await self.ctx.workspace.passes.ids_of([external_id])
        return (await self.worker.fold_queries.passes(ids.values()))[ids[external_id]]

    async def feed(self, **query: object) -> list[Activity]:
        """The whole log, or what matches of it."""
        page = await self.ctx.workspace.activities.page(ActivityQuery(**query), PageRequest(100_000))  # type: ignore[arg-type]
        return page.items

    async def members(self, segment: Segment) -> list[str]:
        """External ids of the members."""
        page = await self.ctx.workspace.segments.members(segment.id, PageRequest(100_000))
        return sorted(card.external_id for card in page.items)


async def open_business(resources: Resources, clock: FixedClock, name: str = "Kiosk") -> Business:
    """A fresh business on an empty database."""
    place = (resources.settings.mongodb_uri, resources.db.name)
    if place not in INDEXED:
        await indexes.ensure_indexes(resources.db)
        INDEXED.add(place)
    return await another_business(resources, clock, name)


async def another_business(resources: Resources, clock: FixedClock, name: str) -> Business:
    """One more workspace in the same database."""
    profile, _ = await create_workspace(resources, name)
    actor = Actor(profile.id, "key_test", "test", frozenset(SCOPES))
    return Business(Context(resources.workspace(profile.id), actor, resources), Worker.on(resources), clock)


def purchases(count: int) -> dict[str, object]:
    """ "`count` or more purchases"."""
    return {"event": {"types": ["purchase"], "metric": "COUNT", "operator": "GTE", "value": count}}


def spent(amount: int | Decimal, days: int | None = None) -> dict[str, object]:
    """ "`amount` or more spent", within days if given."""
    within = {} if days is None else {"within": {"days": days}}
    return {"event": {"types": ["purchase"], "metric": "SUM", "operator": "GTE", "value": amount, **within}}


def bought_within(days: int) -> dict[str, object]:
    """ "bought within `days` days"."""
    return {
        "event": {"types": ["purchase"], "metric": "COUNT", "operator": "GTE", "value": 1, "within": {"days": days}}
    }


def nothing_for(days: int) -> dict[str, object]:
    """ "no purchase in `days` days"."""
    return {"event": {"types": ["purchase"], "metric": "DAYS_SINCE_LAST", "operator": "GTE", "value": days}}


def flips(feed: Sequence[Activity], segment: Segment) -> list[tuple[str, datetime, bool]]:
    """(pass, instant, entered?) of the transitions of a segment, in order of the log."""
    return [
        (a.pass_id, a.occurred_at, a.type.endswith(".entered")) for a in feed if a.segment_id == segment.id
    ]  # fmt: skip
