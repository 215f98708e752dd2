"""A workspace with a past: any number of events already folded into passes, stored by plain inserts.

The passes are what the fold would have made of the events: `SHAPES` of them are walked by the product's own code, and
every other pass is a copy of one under another id. The same documents go into the bare database, which has the same
indexes and which the product never touches.
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
from app.domain.events.events import Category, Event, Origin
from app.domain.fold.advance import advance
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass, Profile
from app.domain.segments.segments import Definitions
from app.domain.values.instants import to_ms, truncate
from app.resources import Resources
from app.store.codecs import events as event_docs
from app.store.codecs import passes as pass_docs
from app.store.mongo.ids import new_id
from app.store.mongo.queries import Database, Doc
from app.store.operations import indexes

SHAPES = 20
LONG_HISTORY = 60
"""Every shape has one pass with so many events, whatever the total: a page of 50 comes from those."""
INSERTED_AT_ONCE = 2_000

BOUGHT = {"types": ["purchase"]}
SEGMENTS = {
    "bought-within-30": {"event": {**BOUGHT, "metric": "COUNT", "operator": "GTE", "value": 1, "within": {"days": 30}}},
    "nothing-for-60": {"event": {**BOUGHT, "metric": "DAYS_SINCE_LAST", "operator": "GTE", "value": 60}},
    "spent-200-in-90": {"event": {**BOUGHT, "metric": "SUM", "operator": "GTE", "value": 200, "within": {"days": 90}}},
}
"""The segments that every pass is judged by: the three of the replayed scenario."""


@dataclass(frozen=True)
class Stock:
    """A stocked workspace, its bare twin, and a secret for requests. `long` names passes with at least 50 events."""

    ctx: Context
    bare: Database
    secret: str
    cards: Sequence[tuple[str, str]]
    long: Sequence[str]
    definitions: Definitions


async def stocked(
    resources: Resources, events: int, passes: int, bare: Database | None, said: Callable[[int], None]
) -> Stock:
    """A new workspace with about so many folded events on so many passes; `said` is told of progress."""
    databases = [db for db in (resources.db, bare) if db is not None]
    for db in databases:
        await indexes.ensure_indexes(db)
    profile, secret = await create_workspace(resources, f"{events} events")
    actor = Actor(profile.id, "key_bench", "bench", frozenset(SCOPES))
    ctx = Context(resources.workspace(profile.id), actor, resources)
    for key, criteria in SEGMENTS.items():
        await create_segment(ctx, key, key, criteria)
    definitions = Definitions(await ctx.workspace.segments.versions())
    await resources.db["workspaces"].update_one({"_id": profile.id}, {"$unset": {"stale": ""}})
    now = truncate(await ctx.now())
    short = [shape(ctx, definitions, seed, events // passes, now) for seed in range(SHAPES)]
    long = [shape(ctx, definitions, seed + SHAPES, LONG_HISTORY, now) for seed in range(SHAPES)]
    cards: list[tuple[str, str]] = []
    done = 0
    for first in range(0, passes, 500):
        card_docs: list[Doc] = []
        docs: list[Doc] = []
        for number in range(first, min(first + 500, passes)):
            template = long[number] if number < SHAPES else short[number % SHAPES]
            card_doc, event_list = copied(template, number)
            card_docs.append(card_doc)
            docs += event_list
            cards.append((card_doc["_id"], card_doc["external_id"]))
        for db in databases:
            await db["passes"].insert_many(card_docs, ordered=False)
            for part in parts(docs, INSERTED_AT_ONCE):
                await db["events"].insert_many(part, ordered=False)
        done += len(docs)
        said(done)
    return Stock(ctx, databases[-1], secret, cards, [pass_id for pass_id, _ in cards[:SHAPES]], definitions)


def parts(docs: Sequence[Doc], size: int) -> Iterator[Sequence[Doc]]:
    """The documents, `size` at a time."""
    return (docs[start : start + size] for start in range(0, len(docs), size))


Shape = tuple[Pass, list[Event]]


def shape(ctx: Context, definitions: Definitions, seed: int, events: int, now: datetime) -> Shape:
    """A folded pass with so many purchases over the last year and a half, and those purchases."""
    chance = random.Random(seed)
    born = now - timedelta(days=540)
    pass_id = f"pass_{seed}"
    listed = [
        Event(
            f"event_{place}", pass_id, Category.TRANSACTION, "purchase",
            Decimal(chance.randrange(100, 20_000)).scaleb(-2), "USD", Decimal(0), "till", f"{seed}-{place}",
            {"store": f"store-{chance.randrange(20)}", "items": chance.randrange(1, 9)},
            at, at, Origin("API", "key_bench"),
        )
        for place in range(events)
        for at in [truncate(born + timedelta(seconds=chance.randrange(1, 540 * 86_400)))]
    ]  # fmt: skip
    return folded(ctx, definitions, pass_id, listed, born, now), listed


def folded(
    ctx: Context, definitions: Definitions, pass_id: str, events: Sequence[Event], born: datetime, now: datetime
) -> Pass:
    """The pass as the fold leaves it, everything published and marked."""
    fresh = Pass(
        id=pass_id, workspace_id=ctx.workspace.id, external_id=pass_id, initial_profile=Profile(), profile=Profile(),
        installed_at=None, created_at=born, updated_at=born, evaluated_until_ms=to_ms(born) - 1, revision=definitions.revision, last_activity=1,
        next_due_ms=to_ms(born),
    )  # fmt: skip
    walked = advance(fresh, definitions, events, limit_ms=to_ms(now), recorded_ms=to_ms(now)).card
    members = {
        key: replace(member, cause={"kind": "BACKFILL", "version": 1}) for key, member in walked.memberships.items()
    }
    return replace(walked, version=max(1, len(events)), write_id=new_id("fid"), memberships=members)


def copied(template: Shape, number: int) -> tuple[Doc, list[Doc]]:
    """The documents of a pass of this shape and of its events, under ids of their own."""
    card, events = template
    pass_id = new_id("pass")
    mine = replace(card, id=pass_id, external_id=f"customer-{number:07d}", last_folded_ids=())
    docs = []
    for place, event in enumerate(events):
        renamed = replace(event, id=new_id("event"), pass_id=pass_id, external_id=f"{number}-{place}")
        doc = event_docs.to_doc(renamed, mine.workspace_id, b"0123456789abcdef", 0)
        del doc["pend"]
        docs.append(doc)
    last = docs[-1]["_id"] if docs else None
    lb = (last,) if last is not None else ()
    doc = pass_docs.to_doc(replace(mine, last_folded_ids=lb))
    assert doc["slot"] == slot_of(pass_id)
    return doc, docs
