"""Removals flow through the fold: what is left is what a rebuild gives."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.commands.passes.passes import update_pass
from app.commands.passes.removals import erase_pass, remove_events
from app.domain.activities import UPDATED
from app.domain.errors import NotFound, Unavailable
from app.domain.events.events import Event
from app.domain.events.receipts import RecordStatus
from app.domain.fold.advance import Advanced, advance
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.domain.segments.segments import Definitions
from app.flow import range_of
from app.store.cache import EPOCH_TTL_SECONDS, WorkspaceCache
from app.store.mongo.paging import PageRequest
from tests.business import Business, purchases, spent
from workers.stages import erase
from workers.stages.fold import fold_once
from workers.worker import Worker

SECRET = "very-personal"


async def test_a_removed_event_counts_nowhere_and_leaves_a_stub(business: Business) -> None:
    """A1-09, WH2-09: an event never changes; its removal is an event of its own."""
    three = await business.segment("three", purchases(3))
    rich = await business.segment("rich", spent(100, days=30))
    outcome = await business.record(
        *({"amount": amount, "external_id": str(amount), "points": 5} for amount in (10, 20, 90)),
        {"type": "visit", "external_id": "v"},
    )
    await business.settle()
    assert await business.members(three) == await business.members(rich) == ["ann"]
    business.clock.set(datetime(2026, 1, 2, tzinfo=UTC))
    target, visit = outcome.results[2].event, outcome.results[3].event
    assert target is not None
    assert visit is not None
    assert await remove_events(business.ctx, [(e.pass_id, e.id) for e in (target, visit)]) == 2
    assert await remove_events(business.ctx, [(target.pass_id, target.id)]) == 0
    await business.settle()
    card = await business.card()
    assert {key: (row.count, row.sum, row.max) for key, row in card.aggregates.items()} == {
        ("purchase", "USD"): (2, Decimal(30), Decimal(20))
    }
    assert card.points == 10
    assert await business.members(three) == await business.members(rich) == []
    stored = await business.ctx.resources.db["events"].find_one({"_id": target.id})
    assert stored is not None
    assert set(stored) == {"_id", "workspace", "pass", "removed"}
    feed = await business.feed()
    left = [a for a in feed if a.type.endswith("left")]
    assert [(a.occurred_at, a.cause, a.late) for a in left] == [
        (datetime(2026, 1, 2, tzinfo=UTC), {"kind": "EVENT_REMOVED", "event": target.id}, True)
    ] * 2
    told = {a.cause["event"]: a.data for a in feed if a.type == UPDATED}
    assert told == {event.id: {"removed": event.id} for event in (target, visit)}
    [again] = (await business.record({"amount": 90, "external_id": "90"})).results
    assert (again.status, [p.code for p in again.problems]) == (RecordStatus.REJECTED, ["EVENT_REMOVED"])


async def test_an_erased_pass_leaves_nothing_personal_behind_and_its_external_id_is_free(business: Business) -> None:
    """WH1-22, and checklist 3.6: memberships are closed and totals corrected in the same unit."""
    two = await business.segment("two", purchases(2), notify="EMIT")
    ctx, db = business.ctx, business.ctx.resources.db
    [ann] = await business.join("ann")
    await update_pass(ctx, ann.id, holder={"email": SECRET}, metadata={"note": SECRET})
    await business.settle()
    await business.record(*({"amount": n, "external_id": f"{SECRET} {n}", "metadata": {"x": SECRET}} for n in (1, 2)))
    await business.record({"amount": 5, "pass_external_id": "bob"}, {"amount": 6, "pass_external_id": "bob"})
    await business.settle()
    foreseen = await erase_pass(ctx, external_id="ann", dry_run=True)
    await business.record({"amount": 3, "external_id": f"{SECRET} 3"})
    assert not (await erase_pass(ctx, external_id="ann")).done
    await business.settle()
    done = await erase_pass(ctx, pass_id=ann.id)
    assert (done.events, done.aggregates, done.segments, done.activities) == (4, 2, (two.id,), 8)
    assert (foreseen.events, foreseen.segments) == (3, (two.id,))
    assert done.done
    assert await business.members(two) == ["bob"]
    feed = [a for a in await business.feed() if a.pass_id == ann.id]
    assert [a.type.split(".", 1)[1] for a in feed] == [
        "created", "updated", "custom_event", "custom_event", "segment.entered", "custom_event", "segment.left", "deleted",
    ]  # fmt: skip
    assert (feed[6].cause, feed[6].late) == ({"kind": "EVENT_REMOVED"}, True)
    assert {str(a.data) for a in feed} == {"{'erased': True}"}
    for name in await db.list_collection_names():
        assert SECRET not in str(await db[name].find({}).to_list(None)), name
    store = ctx.workspace.passes
    assert (await store.get(ann.id), await store.existing([ann.id]), await store.count()) == (None, {}, 1)
    assert [card.external_id for card in (await store.page(PageRequest(9))).items] == ["bob"]
    again = (await business.join("ann"))[0]
    assert again.id != ann.id


async def test_an_erasure_is_done_and_the_name_free_when_every_process_must_have_heard_of_it(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever still believes in the pass may record on it while its erasure is under way, and not when it is done."""
    elapsed = 0.0
    resources = dataclasses.replace(business.ctx.resources, cache=WorkspaceCache(now=lambda: elapsed))
    other = dataclasses.replace(business, ctx=dataclasses.replace(business.ctx, resources=resources))
    sent = {"amount": 5, "external_id": "early"}
    [first] = (await other.record(sent)).results
    assert first.event is not None
    gone = first.event.pass_id
    monkeypatch.setattr(erase, "CACHE_EXPIRY_SECONDS", 60)
    await erase_pass(business.ctx, external_id="ann")
    await business.settle()
    await other.record({"amount": 6, "external_id": "astray"})
    with pytest.raises(Unavailable):
        await business.record({"amount": 7})
    again = await business.record(sent, atomic=True)
    assert [p.code for p in again.results[0].problems] == ["EVENT_REMOVED"]
    await business.settle()
    receipt = await business.ctx.workspace.removals.erasure(gone)
    assert receipt is not None
    assert (receipt.erased_at is None, receipt.done) == (False, False)
    monkeypatch.setattr(erase, "CACHE_EXPIRY_SECONDS", 0)
    for waiting in business.worker.tasks:
        waiting.cancel()
    await business.settle()
    elapsed += EPOCH_TTL_SECONDS
    events = [(await each.record({"amount": 8})).results[0].event for each in (other, business)]
    assert {event.pass_id for event in events if event is not None} == {(await business.card()).id} != {gone}
    await business.settle()
    assert (await business.card()).aggregates["purchase", "USD"].sum == 16


async def test_an_event_that_comes_to_an_erased_pass_is_emptied(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may be slow: it saw the pass before the erasure, and records when that is done."""
    monkeypatch.setattr("app.store.cache.EPOCH_TTL_SECONDS", 60.0)
    ctx, known = business.ctx, business.ctx.resources.cache
    await business.record({"amount": 1})
    await business.settle()
    ann = await business.card()
    await erase_pass(ctx, pass_id=ann.id)
    await business.settle()
    known.remember_pass(ctx.workspace.id, ann.id, "ann")
    [late] = (await business.record({"amount": 7, "external_id": SECRET})).results
    assert late.event is not None
    await business.settle()
    assert await ctx.workspace.events.get_many([late.event.id]) == {}
    assert await ctx.resources.db["events"].count_documents({"pend": {"$gte": 0}}) == 0
    assert SECRET not in str(await ctx.resources.db["events"].find({}).to_list(None))
    known.forget_pass(ctx.workspace.id, ann.id, "ann")
    with pytest.raises(NotFound):
        await erase_pass(ctx, external_id="ann")


async def test_a_pass_that_was_set_aside_is_erased_all_the_same(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be folded waits outside the index: it is emptied too, and so is what was noted of the failure."""
    ctx, db = business.ctx, business.ctx.resources.db
    await business.record({"amount": 1})
    await business.settle()

    def failing(card: Pass, definitions: Definitions, events: Sequence[Event] = (), **options: Any) -> Advanced:
        if any(event.type == "visit" for event in events):
            raise ValueError(SECRET)
        return advance(card, definitions, events, **options)

    monkeypatch.setattr("workers.stages.advance.advance", failing)
    await business.record({"type": "visit", "metadata": {"x": SECRET}})
    for _ in range(6):
        await business.settle()
    assert await db["passes"].count_documents({"parked": {"$gte": 0}, "failure": f"ValueError: {SECRET}"}) == 1
    ann = await business.card()
    await erase_pass(ctx, pass_id=ann.id)
    await business.settle()
    assert (await erase_pass(ctx, pass_id=ann.id)).done
    assert await db["events"].count_documents({"pend": {"$lt": 0}}) == 0
    for name in ("events", "passes", "activities"):
        assert SECRET not in str(await db[name].find({}).to_list(None)), name


async def test_an_event_that_is_removed_while_a_fold_looks_whether_it_waits_is_not_counted(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for before its tombstone is marked, and the tombstone after: only `lb` tells that it is gone."""
    ctx, slow, other = business.ctx, business.worker, Worker.on(business.ctx.resources)
    await business.join("ann")
    await business.settle()
    [ahead] = (await business.record({"amount": 1, "occurred_at": "2026-01-01T00:04:00Z"})).results
    assert ahead.event is not None
    target, key = ahead.event.id, range_of(slot_of(ahead.event.pass_id))
    await remove_events(ctx, [(ahead.event.pass_id, target)])
    saved, looked = asyncio.Event(), asyncio.Event()
    empty, passes, still_pending = (
        other.fold_queries.replace_by_stubs,
        slow.fold_queries.passes,
        slow.fold_queries.still_pending,
    )
    folding: list[asyncio.Task[bool]] = []

    async def waiting(*args: Any) -> None:
        saved.set()
        await looked.wait()
        await empty(*args)

    async def after_the_other_has_saved(*args: Any) -> Any:
        folding.append(asyncio.create_task(fold_once(other, key)))
        await saved.wait()
        return await passes(*args)

    async def one_after_the_other(event_ids: Sequence[str]) -> Any:
        first = await still_pending([target])
        looked.set()
        await asyncio.gather(*folding)
        return first | await still_pending([each for each in event_ids if each != target])

    monkeypatch.setattr(other.fold_queries, "replace_by_stubs", waiting)
    monkeypatch.setattr(slow.fold_queries, "passes", after_the_other_has_saved)
    monkeypatch.setattr(slow.fold_queries, "still_pending", one_after_the_other)
    await fold_once(slow, key)
    monkeypatch.undo()
    assert dict((await business.card()).aggregates) == {}
    assert await ctx.workspace.events.get_many([target]) == {}
