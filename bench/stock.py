"""The stock: a workspace with any number of events that are folded into passes, stored by plain inserts.

The passes are as the fold would store them. `advance` computes a few shapes of passes, and every pass is a copy of a
shape with other ids. The events of a copy are the encoded events of its shape with other bytes for the ids, so that ten
million are written in minutes. The bare database gets the same documents and has the same indexes; Punchcard never uses it.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate, pairwise
from typing import TypeVar

import bson
from bson.raw_bson import RawBSONDocument

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
PASSES_AT_ONCE = 100
"""Passes whose events are inserted by several connections at once."""
_PASS_MARK, _EVENT_MARK, _NUMBER_MARK = f"pass_{'#' * 24}", "%" * 16, "~" * 8
"""Marks in encoded events: ids of the pass and of the events, and the number of the copy. Nothing else contains them."""

BOUGHT = {"types": ["purchase"]}
SEGMENTS = {
    "bought-within-30": {"event": {**BOUGHT, "metric": "COUNT", "operator": "GTE", "value": 1, "within": {"days": 30}}},
    "nothing-for-60": {"event": {**BOUGHT, "metric": "DAYS_SINCE_LAST", "operator": "GTE", "value": 60}},
    "spent-200-in-90": {"event": {**BOUGHT, "metric": "SUM", "operator": "GTE", "value": 200, "within": {"days": 90}}},
}
"""The segments of the workspace, under which every pass is evaluated."""


T = TypeVar("T")
Shape = tuple[Pass, list[Event]]
"""Folded pass, and its events."""


@dataclass(frozen=True)
class Stock:
    """A workspace with events, the bare database, and the secret of an API key.

    `passes` holds (pass id, external id). `long_pass_ids` are the passes with at least 50 events. `shapes` has each shape
    with the ids of the passes that are copies of it.
    """

    ctx: Context
    bare: Database
    secret: str
    passes: Sequence[tuple[str, str]]
    long_pass_ids: Sequence[str]
    definitions: Definitions
    shapes: Sequence[tuple[Shape, Sequence[str]]]


async def create_stock(
    resources: Resources,
    events: int,
    passes: int,
    bare: Database | None,
    report_progress: Callable[[int], None],
    *,
    shapes: int = SHAPES,
) -> Stock:
    """Create a workspace with about `events` folded events on `passes` passes, which are copies of `shapes` shapes.

    `SHAPES` passes more have a long history. `report_progress` receives the number of events that are stored so far.
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
    short = [build_shape(ctx, definitions, seed, events // passes, now) for seed in range(shapes)]
    long = [build_shape(ctx, definitions, seed + shapes, LONG_HISTORY, now) for seed in range(SHAPES)]
    templates = [Template(shape, secrets.token_hex(4)) for shape in (*long, *short)]
    stored: list[tuple[str, str]] = []
    copies: list[list[str]] = [[] for _ in templates]
    done = 0
    for first in range(0, passes, PASSES_AT_ONCE):
        card_docs: list[Doc] = []
        docs: list[RawBSONDocument] = []
        for number in range(first, min(first + PASSES_AT_ONCE, passes)):
            index = number if number < SHAPES else SHAPES + number % shapes
            card_doc, event_docs_of_card = templates[index].copy(number)
            card_docs.append(card_doc)
            docs += event_docs_of_card
            copies[index].append(card_doc["_id"])
            stored.append((card_doc["_id"], card_doc["external_id"]))
        for db in databases:
            await db["passes"].insert_many(card_docs, ordered=False)
            await db["pass_names"].insert_many([{**name_of(doc), "ready": 1} for doc in card_docs], ordered=False)
            await asyncio.gather(
                *(db["events"].insert_many(part, ordered=False) for part in split_documents(docs, INSERT_BATCH_SIZE))
            )
        done += len(docs)
        report_progress(done)
    return Stock(
        ctx,
        databases[-1],
        secret,
        passes=stored,
        long_pass_ids=[pass_id for pass_id, _ in stored[:SHAPES]],
        definitions=definitions,
        shapes=list(zip((*long, *short), copies, strict=True)),
    )


def split_documents(docs: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the documents in parts of `size`."""
    for start in range(0, len(docs), size):
        yield docs[start : start + size]


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


class Template:
    """A shape whose events are encoded, with marks for what differs between its copies."""

    def __init__(self, shape: Shape, stock: str) -> None:
        self._card, events = shape
        self._stock = stock
        encoded = [self._encode(event, position) for position, event in enumerate(events)]
        self._encoded = b"".join(encoded)
        self._bounds = list(pairwise(accumulate(map(len, encoded), initial=0)))

    def copy(self, number: int) -> tuple[Doc, list[RawBSONDocument]]:
        """Return the documents of a pass of this shape and of its events, with new ids.

        `number` is that of the copy in the stock.
        """
        pass_id, event_part = new_id("pass"), f"{self._stock}{number:08x}"
        card = replace(self._card, id=pass_id, external_id=f"customer-{number:07d}", last_folded_ids=())
        encoded = (
            self._encoded.replace(_PASS_MARK.encode(), pass_id.encode())
            .replace(_EVENT_MARK.encode(), event_part.encode())
            .replace(_NUMBER_MARK.encode(), f"{number:08d}".encode())
        )
        if self._bounds:
            card = replace(card, last_folded_ids=(_event_id(event_part, len(self._bounds) - 1),))
        doc = pass_docs.to_doc(card)
        assert doc["slot"] == slot_of(pass_id)
        return doc, [RawBSONDocument(encoded[start:end]) for start, end in self._bounds]

    def _encode(self, event: Event, position: int) -> bytes:
        copied = replace(
            event,
            id=_event_id(_EVENT_MARK, position),
            pass_id=_PASS_MARK,
            external_id=f"{_NUMBER_MARK}-{position}",
        )
        doc = event_docs.to_doc(copied, self._card.workspace_id, b"0123456789abcdef", 0)
        del doc["pend"]
        return bson.encode(doc)


def _event_id(part: str, position: int) -> str:
    return f"event_{part}{position:012x}"
