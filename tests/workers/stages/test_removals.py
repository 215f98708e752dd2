"""Removals and erasures through the stages: a pass without the removed events equals a rebuilt one."""

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
from app.domain.definitions import Definitions
from app.domain.errors import NotFound, Unavailable
from app.domain.events.events import Event
from app.domain.events.receipts import RecordStatus
from app.domain.fold.advance import Advanced, advance
from app.domain.fold.lacks import Lacks
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.flow import range_of
from app.store.cache import EPOCH_TTL_SECONDS, WorkspaceCache
from app.store.mongo.paging import PageRequest
from tests.business import Business, purchases, spent
from workers.stages import erase
from workers.stages.fold import fold_once
from workers.worker import Worker

SECRET = "very-personal"


async def test_removed_event_counts_nowhere_and_becomes_a_stub(business: Business) -> None:
    """A1-09, WH2-09: an event never changes, and its removal is an event of its own."""
    three = await business.create_segment("three", purchases(3))
    rich = await business.create_segment("rich", spent(100, days=30))
    outcome = await business.record(
        *({"amount": amount, "external_id": str(amount), "points": 5} for amount in (10, 20, 90)),
        {"type": "visit", "external_id": "v"},
    )
    await business.run_worker()
    assert await business.read_members(three) == await business.read_members(rich) == ["ann"]
    business.clock.set(datetime(2026, 1, 2, tzinfo=UTC))
    target, visit = outcome.results[2].event, outcome.results[3].event
    assert target is not None
    assert visit is not None
    assert await remove_events(business.ctx, [(e.pass_id, e.id) for e in (target, visit)]) == 2
    assert await remove_events(business.ctx, [(target.pass_id, target.id)]) == 0
    await business.run_worker()
    card = await business.read_pass()
    assert {key: (row.count, row.sum, row.max) for key, row in card.aggregates.items()} == {
        ("purchase", "USD"): (2, Decimal(30), Decimal(20))
    }
    assert card.points == 10
    assert await business.read_members(three) == await business.read_members(rich) == []
    stored = await business.ctx.resources.db["events"].find_one({"_id": target.id})
    assert stored is not None
    assert set(stored) == {"_id", "workspace", "pass", "removed"}
    feed = await business.read_log()
    left = [a for a in feed if a.type.endswith("left")]
    assert [(a.occurred_at, a.cause, a.late) for a in left] == [
        (datetime(2026, 1, 2, tzinfo=UTC), {"kind": "EVENT_REMOVED", "event": target.id}, True)
    ] * 2
    updates = {a.cause["event"]: a.data["removed"] for a in feed if a.type == UPDATED}
    assert updates == {event.id: event.id for event in (target, visit)}
    [repeated] = (await business.record({"amount": 90, "external_id": "90"})).results
    assert (repeated.status, [p.code for p in repeated.problems]) == (RecordStatus.REJECTED, ["EVENT_REMOVED"])


async def test_erasure_leaves_nothing_personal_and_frees_the_external_id(business: Business) -> None:
    """WH1-22. The erasure also closes memberships and corrects totals."""
    two = await business.create_segment("two", purchases(2), notify="EMIT")
    ctx, db = business.ctx, business.ctx.resources.db
    [ann] = await business.create_passes("ann")
    await update_pass(ctx, ann.id, holder={"email": SECRET}, metadata={"note": SECRET})
    await business.run_worker()
    await business.record(*({"amount": n, "external_id": f"{SECRET} {n}", "metadata": {"x": SECRET}} for n in (1, 2)))
    await business.record({"amount": 5, "pass_external_id": "bob"}, {"amount": 6, "pass_external_id": "bob"})
    await business.run_worker()
    preview = await erase_pass(ctx, external_id="ann", dry_run=True)
    await business.record({"amount": 3, "external_id": f"{SECRET} 3"})
    assert not (await erase_pass(ctx, external_id="ann")).done
    await business.run_worker()
    done = await erase_pass(ctx, pass_id=ann.id)
    assert (done.events, done.aggregates, done.segments, done.activities) == (4, 2, (two.id,), 8)
    assert (preview.events, preview.segments) == (3, (two.id,))
    assert done.done
    assert await business.read_members(two) == ["bob"]
    feed = [a for a in await business.read_log() if a.pass_id == ann.id]
    assert [a.type.split(".", 1)[1] for a in feed] == [
        "created", "updated", "custom_event", "custom_event", "segment.entered", "custom_event", "segment.left",
        "deleted",
    ]  # fmt: skip
    assert (feed[6].cause, feed[6].late) == ({"kind": "EVENT_REMOVED"}, True)
    assert {str(a.data) for a in feed} == {"{'erased': True}"}
    for name in await db.list_collection_names():
        assert SECRET not in str(await db[name].find({}).to_list(None)), name
    store = ctx.workspace.passes
    assert (await store.get(ann.id), await store.existing([ann.id]), await store.count()) == (None, {}, 1)
    assert [card.external_id for card in (await store.page(PageRequest(9))).items] == ["bob"]
    new_pass = (await business.create_passes("ann"))[0]
    assert new_pass.id != ann.id


async def test_external_id_is_free_only_after_all_caches_of_the_erased_pass_ended(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with the pass in its cache may record on it while the erasure is under way, but not afterwards."""
    elapsed = 0.0
    resources = dataclasses.replace(business.ctx.resources, cache=WorkspaceCache(now=lambda: elapsed))
    other = dataclasses.replace(business, ctx=dataclasses.replace(business.ctx, resources=resources))
    sent = {"amount": 5, "external_id": "early"}
    [first] = (await other.record(sent)).results
    assert first.event is not None
    erased_id = first.event.pass_id
    monkeypatch.setattr(erase, "CACHE_EXPIRY_SECONDS", 60)
    await erase_pass(business.ctx, external_id="ann")
    await business.run_worker()
    await other.record({"amount": 6, "external_id": "astray"})
    with pytest.raises(Unavailable):
        await business.record({"amount": 7})
    repeated = await business.record(sent, atomic=True)
    assert [p.code for p in repeated.results[0].problems] == ["EVENT_REMOVED"]
    await business.run_worker()
    receipt = await business.ctx.workspace.removals.erasure(erased_id)
    assert receipt is not None
    assert (receipt.erased_at is None, receipt.done) == (False, False)
    monkeypatch.setattr(erase, "CACHE_EXPIRY_SECONDS", 0)
    for task in business.worker.tasks:
        task.cancel()
    await business.run_worker()
    elapsed += EPOCH_TTL_SECONDS
    events = [(await each.record({"amount": 8})).results[0].event for each in (other, business)]
    assert {event.pass_id for event in events if event is not None} == {(await business.read_pass()).id} != {erased_id}
    await business.run_worker()
    assert (await business.read_pass()).aggregates["purchase", "USD"].sum == 16


async def test_event_recorded_on_an_erased_pass_becomes_a_stub(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow process read the pass before the erasure and records after it."""
    monkeypatch.setattr("app.store.cache.EPOCH_TTL_SECONDS", 60.0)
    ctx, cache = business.ctx, business.ctx.resources.cache
    await business.record({"amount": 1})
    await business.run_worker()
    ann = await business.read_pass()
    await erase_pass(ctx, pass_id=ann.id)
    await business.run_worker()
    cache.remember_pass(ctx.workspace.id, ann.id, "ann")
    [late] = (await business.record({"amount": 7, "external_id": SECRET})).results
    assert late.event is not None
    await business.run_worker()
    assert await ctx.workspace.events.get_many([late.event.id]) == {}
    assert await ctx.resources.db["events"].count_documents({"pend": {"$gte": 0}}) == 0
    assert SECRET not in str(await ctx.resources.db["events"].find({}).to_list(None))
    cache.forget_pass(ctx.workspace.id, ann.id, "ann")
    with pytest.raises(NotFound):
        await erase_pass(ctx, external_id="ann")


async def test_parked_pass_is_erased_with_its_failure_and_pending_events(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events of a parked pass lie outside the index of pending events; they become stubs too."""
    ctx, db = business.ctx, business.ctx.resources.db
    await business.record({"amount": 1})
    await business.run_worker()

    def fail_for_visits(
        card: Pass, definitions: Definitions, events: Sequence[Event] = (), **options: Any
    ) -> Advanced | Lacks:
        if any(event.type == "visit" for event in events):
            raise ValueError(SECRET)
        return advance(card, definitions, events, **options)

    monkeypatch.setattr("workers.stages.advance.advance", fail_for_visits)
    await business.record({"type": "visit", "metadata": {"x": SECRET}})
    for _ in range(6):
        await business.run_worker()
    assert await db["passes"].count_documents({"parked": {"$gte": 0}, "failure": f"ValueError: {SECRET}"}) == 1
    ann = await business.read_pass()
    await erase_pass(ctx, pass_id=ann.id)
    await business.run_worker()
    assert (await erase_pass(ctx, pass_id=ann.id)).done
    assert await db["events"].count_documents({"pend": {"$lt": 0}}) == 0
    for name in ("events", "passes", "activities"):
        assert SECRET not in str(await db[name].find({}).to_list(None)), name


async def test_event_removed_while_a_fold_checks_what_is_pending_is_not_counted(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fold reads the event as pending before its tombstone is cleared, and the tombstone as cleared afterwards.

    Only `last_folded_ids` (stored as `lb`) shows then that the event is removed.
    """
    ctx, slow, other = business.ctx, business.worker, Worker.on(business.ctx.resources)
    await business.create_passes("ann")
    await business.run_worker()
    [ahead] = (await business.record({"amount": 1, "occurred_at": "2026-01-01T00:04:00Z"})).results
    assert ahead.event is not None
    target, key = ahead.event.id, range_of(slot_of(ahead.event.pass_id))
    await remove_events(ctx, [(ahead.event.pass_id, target)])
    has_saved, has_checked = asyncio.Event(), asyncio.Event()
    replace_by_stubs, passes, still_pending = (
        other.fold_queries.replace_by_stubs,
        slow.fold_queries.passes,
        slow.fold_queries.still_pending,
    )
    folding: list[asyncio.Task[bool]] = []

    async def wait_then_replace(*args: Any) -> None:
        has_saved.set()
        await has_checked.wait()
        await replace_by_stubs(*args)

    async def read_passes_after_the_other_saved(*args: Any, **options: Any) -> Any:
        folding.append(asyncio.create_task(fold_once(other, key)))
        await has_saved.wait()
        return await passes(*args, **options)

    async def check_target_before_the_rest(event_ids: Sequence[str], **options: Any) -> Any:
        first = await still_pending([target], **options)
        has_checked.set()
        await asyncio.gather(*folding)
        return first | await still_pending([each for each in event_ids if each != target], **options)

    monkeypatch.setattr(other.fold_queries, "replace_by_stubs", wait_then_replace)
    monkeypatch.setattr(slow.fold_queries, "passes", read_passes_after_the_other_saved)
    monkeypatch.setattr(slow.fold_queries, "still_pending", check_target_before_the_rest)
    await fold_once(slow, key)
    monkeypatch.undo()
    assert dict((await business.read_pass()).aggregates) == {}
    assert await ctx.workspace.events.get_many([target]) == {}
