"""The stock: a workspace with any number of events that are folded into passes, stored by plain inserts.

The passes are as the fold would store them. `advance` computes a few shapes of passes, and every pass is a copy of a
shape with other ids. The bare database gets the same documents and has the same indexes; Punchcard never uses it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from app.commands.context import Context
from app.commands.segments import create_segment
from app.commands.workspaces.workspaces import create_workspace
from app.domain.actors import SCOPES, Actor
from app.domain.definitions import Definitions
from app.domain.events.events import Category, Event, Origin
from app.domain.fold.advance import Advanced, advance
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass, Profile
from app.domain.values.instants import to_ms, truncate
from app.resources import Resources
from app.store.codecs import events as event_docs
from app.store.codecs import passes as pass_docs
from app.store.mongo.ids import new_id
from app.store.mongo.queries import Database, Doc
from app.store.operations import indexes
from app.store.operations.pass_names import name_of

SHAPES = 20
LONG_HISTORY = 60
"""Events of each of the first `SHAPES` passes. These passes fill a page of 50, even if the stock is small."""
INSERT_BATCH_SIZE = 2_000

BOUGHT = {"types": ["purchase"]}
SEGMENTS = {
    "bought-within-30": {"event": {**BOUGHT, "metric": "COUNT", "operator": "GTE", "value": 1, "within": {"days": 30}}},
    "nothing-for-60": {"event": {**BOUGHT, "metric": "DAYS_SINCE_LAST", "operator": "GTE", "value": 60}},
    "spent-200-in-90": {"event": {**BOUGHT, "metric": "SUM", "operator": "GTE", "value": 200, "within": {"days": 90}}},
}
"""The segments of the workspace, under which every pass is evaluated."""


@dataclass(frozen=True)
class Stock:
    """A workspace with events, the bare database, and the secret of an API key.

    `passes` holds (pass id, external id). `long_pass_ids` are the passes with at least 50 events. `histories` has the
    events of each shape, and on how many passes they are.
    """

    ctx: Context
    bare: Database
    secret: str
    passes: Sequence[tuple[str, str]]
    long_pass_ids: Sequence[str]
    definitions: Definitions
    histories: Sequence[tuple[Sequence[Event], int]]


async def create_stock(
    resources: Resources, events: int, passes: int, bare: Database | None, report_progress: Callable[[int], None]
) -> Stock:
    """Create a workspace with about `events` folded events on `passes` passes.

    `report_progress` receives the number of events that are stored so far.
    """
    databases = [db for db in (resources.db, bare) if db is not None]
    for db in databases:
        await indexes.ensure_indexes(db)
    profile, secret = await create_workspace(resources, f"{events} events")
    actor = Actor(profile.id, "key_bench", "bench", scopes=frozenset(SCOPES))
    ctx = Context(resources.workspace(profile.id), actor, resources)
    for key, criteria in SEGMENTS.items():
        await create_segment(ctx, key, key, criteria)
    definitions = Definitions(await ctx.workspace.definitions.versions())
    await resources.db["workspaces"].update_one({"_id": profile.id}, {"$unset": {"stale": ""}})
    now = truncate(await ctx.now())
    short = [build_shape(ctx, definitions, seed, events // passes, now) for seed in range(SHAPES)]
    long = [build_shape(ctx, definitions, seed + SHAPES, LONG_HISTORY, now) for seed in range(SHAPES)]
    stored: list[tuple[str, str]] = []
    done = 0
    for first in range(0, passes, 500):
        card_docs: list[Doc] = []
        docs: list[Doc] = []
        for number in range(first, min(first + 500, passes)):
            template = long[number] if number < SHAPES else short[number % SHAPES]
            card_doc, event_docs_of_card = copy_shape(template, number)
            card_docs.append(card_doc)
            docs += event_docs_of_card
            stored.append((card_doc["_id"], card_doc["external_id"]))
        for db in databases:
            await db["passes"].insert_many(card_docs, ordered=False)
            await db["pass_names"].insert_many([{**name_of(doc), "ready": 1} for doc in card_docs], ordered=False)
            for part in split_documents(docs, INSERT_BATCH_SIZE):
                await db["events"].insert_many(part, ordered=False)
        done += len(docs)
        report_progress(done)
    return Stock(
        ctx,
        databases[-1],
        secret,
        passes=stored,
        long_pass_ids=[pass_id for pass_id, _ in stored[:SHAPES]],
        definitions=definitions,
        histories=[
            *((events, int(number < passes)) for number, (_, events) in enumerate(long)),
            *((events, len(range(SHAPES + number, passes, SHAPES))) for number, (_, events) in enumerate(short)),
        ],
    )


def split_documents(docs: Sequence[Doc], size: int) -> Iterator[Sequence[Doc]]:
    """Yield the documents in parts of `size`."""
    for start in range(0, len(docs), size):
        yield docs[start : start + size]


Shape = tuple[Pass, list[Event]]


def build_shape(ctx: Context, definitions: Definitions, seed: int, events: int, now: datetime) -> Shape:
    """Return a folded pass with purchases over the last 540 days, and the purchases."""
    chance = random.Random(seed)
    created_at = now - timedelta(days=540)
    pass_id = f"pass_{seed}"
    purchases = [
        Event(
            id=f"event_{number}", pass_id=pass_id, category=Category.TRANSACTION, type="purchase",
            amount=Decimal(chance.randrange(100, 20_000)).scaleb(-2), currency="USD", points=Decimal(0),
            source="till", external_id=f"{seed}-{number}",
            metadata={"store": f"store-{chance.randrange(20)}", "items": chance.randrange(1, 9)},
            occurred_at=at, recorded_at=at, origin=Origin("API", "key_bench"),
        )
        for number in range(events)
        for at in [truncate(created_at + timedelta(seconds=chance.randrange(1, 540 * 86_400)))]
    ]  # fmt: skip
    return fold_events(ctx, definitions, pass_id, purchases, created_at, now), purchases


def fold_events(
    ctx: Context, definitions: Definitions, pass_id: str, events: Sequence[Event], created_at: datetime, now: datetime
) -> Pass:
    """Return the pass as the fold leaves it after all events are counted and all activities are published."""
    card = Pass(
        id=pass_id, workspace_id=ctx.workspace.id, external_id=pass_id, initial_profile=Profile(), profile=Profile(),
        installed_at=None, created_at=created_at, updated_at=created_at, evaluated_until_ms=to_ms(created_at) - 1,
        revision=definitions.revision, last_activity=1, next_due_ms=to_ms(created_at),
    )  # fmt: skip
    done = advance(card, definitions, events, limit_ms=to_ms(now), recorded_ms=to_ms(now))
    assert isinstance(done, Advanced), "a new pass has no history to be read"
    advanced = done.card
    members = {
        key: replace(member, cause={"kind": "BACKFILL", "version": 1}) for key, member in advanced.memberships.items()
    }
    return replace(advanced, version=max(1, len(events)), write_id=new_id("fid"), memberships=members)


def copy_shape(template: Shape, number: int) -> tuple[Doc, list[Doc]]:
    """Return the documents of a pass of this shape and of its events, with new ids."""
    card, events = template
    pass_id = new_id("pass")
    copied_card = replace(card, id=pass_id, external_id=f"customer-{number:07d}", last_folded_ids=())
    docs = []
    for position, event in enumerate(events):
        copied_event = replace(event, id=new_id("event"), pass_id=pass_id, external_id=f"{number}-{position}")
        doc = event_docs.to_doc(copied_event, copied_card.workspace_id, b"0123456789abcdef", 0)
        del doc["pend"]
        docs.append(doc)
    last = docs[-1]["_id"] if docs else None
    last_folded_ids = (last,) if last is not None else ()
    doc = pass_docs.to_doc(replace(copied_card, last_folded_ids=last_folded_ids))
    assert doc["slot"] == slot_of(pass_id)
    return doc, docs
