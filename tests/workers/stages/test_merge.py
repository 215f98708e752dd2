"""Merges: the survivor counts every event of both passes once, although workers crash (A1-15)."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from unittest.mock import patch

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.passes import create_passes, update_pass
from app.commands.passes.removals import erase_pass, remove_events
from app.domain.activities import CUSTOM_EVENT, DELETED, UPDATED
from app.domain.errors import Conflict, InvalidInput, NotFound, StoreRefused
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import TOMBSTONES, Event
from app.domain.events.receipts import RecordStatus
from app.domain.events.tombstones import Tombstone
from app.domain.passes.inputs import PassInput
from app.domain.state import aggregates
from app.flow import SLOT_RANGES
from app.store.mongo.paging import PageRequest
from app.store.workspace.removals import RemovalQueries
from tests.business import Business, list_transitions, no_purchase_for, purchases, spent
from tests.crashes import Crash, CrashInjector
from workers.main import STAGES
from workers.stages.fold import fold_once
from workers.stages.merge import merge_once
from workers.stages.publish import publish_once
from workers.sweep import Sweep

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


async def merge(business: Business, survivor: str = "ann", other: str = "bob") -> tuple[str, str]:
    """Merge two passes and return the ids of the survivor and of the merged pass."""
    ids = await business.ctx.workspace.passes.ids_of([survivor, other])
    await merge_passes(business.ctx, ids[survivor], ids[other])
    return ids[survivor], ids[other]


async def read_events(business: Business, pass_id: str) -> list[Event]:
    page = await business.ctx.workspace.events.page(EventQuery(pass_id=pass_id), PageRequest(1_000), oldest_first=True)
    return page.items


async def fold_all(business: Business) -> None:
    for key in SLOT_RANGES:
        while await fold_once(business.worker, key):
            pass


async def check(business: Business, external_id: str = "ann") -> None:
    """Assert that the totals of the pass equal its events, and that each event was published once."""
    card = await business.read_pass(external_id)
    events = await read_events(business, card.id)
    assert dict(card.aggregates) == dict(aggregates.fold_events({}, events))
    published = [str(a.cause["event"]) for a in await business.read_log(include_silent=True) if a.type == CUSTOM_EVENT]
    assert sorted(published) == sorted(set(published)), "an event was published twice"
    assert {event.id for event in events} <= set(published), "an event was not published"


async def test_survivor_stands_for_both_passes_and_counts_the_events_of_both(business: Business) -> None:
    five = await business.create_segment("five", spent(50))
    await business.record({"amount": 20}, {"amount": 40, "pass_external_id": "bob"}, {"amount": 9})
    await business.run_worker()
    assert await business.read_members(five) == []
    ann, bob = await merge(business)
    await business.run_worker()
    card = await business.read_pass()
    assert card.aggregates["purchase", "USD"].sum == Decimal(69)
    assert await business.read_members(five) == ["ann"]
    passes = business.ctx.workspace.passes
    assert (await passes.get_many([ann, bob])).keys() == {ann, bob}
    assert {found.id for found in (await passes.get_many([ann, bob])).values()} == {ann}
    assert (await passes.ids_of(["bob"])) == {"bob": ann}
    assert await passes.external_ids([ann, bob]) == {ann: "ann", bob: "ann"}
    assert await passes.own_external_ids([ann, bob]) == {ann: "ann", bob: "bob"}
    assert [found.external_id for found in (await passes.page(PageRequest(10))).items] == ["ann"]
    assert await passes.count() == 1
    await check(business)


async def test_merge_publishes_no_event_again_but_the_end_of_the_merged_pass(business: Business) -> None:
    two = await business.create_segment("two", purchases(2))
    await business.record({"amount": 1}, {"amount": 2, "pass_external_id": "bob"})
    await business.run_worker()
    ann, bob = await merge(business)
    await business.run_worker()
    feed = await business.read_log()
    assert len([a for a in feed if a.type == CUSTOM_EVENT]) == 2
    [deleted] = [a for a in feed if a.type == DELETED]
    assert (deleted.pass_id, deleted.cause["kind"], deleted.data) == (bob, "PASS_MERGED", {"into": ann})
    [(pass_id, _, entered)] = list_transitions(feed, two)
    assert (pass_id, entered) == (ann, True)


async def test_memberships_of_the_merged_pass_end_with_it(business: Business) -> None:
    two = await business.create_segment("two", purchases(2))
    await business.record({"pass_external_id": "bob"}, {"pass_external_id": "bob"}, {})
    await business.run_worker()
    ann, bob = await merge(business)
    await business.run_worker()
    assert [(p, entered) for p, _, entered in list_transitions(await business.read_log(), two)] == [
        (bob, True), (bob, False), (ann, True),
    ]  # fmt: skip
    left = [a for a in await business.read_log() if a.segment_id == two.id][1]
    assert (left.cause["kind"], left.late) == ("PASS_MERGED", True)


async def test_repeat_under_the_merged_external_id_is_a_duplicate(
    business: Business,
) -> None:
    """The outcome is the same before and after the events have moved."""
    sent = {"amount": 7, "external_id": "a", "pass_external_id": "bob"}
    await business.record(sent, {})
    await business.run_worker()
    await merge(business)
    for _ in range(2):
        repeated = await business.record(sent)
        assert [result.status for result in repeated.results] == [RecordStatus.DUPLICATE]
        await business.run_worker()
    other = await business.record({**sent, "pass_external_id": "cas"}, {**sent, "amount": 8})
    assert [result.status for result in other.results] == [RecordStatus.CONFLICT, RecordStatus.CONFLICT]
    await check(business)


async def test_repeat_is_a_duplicate_although_a_cache_predates_the_merge(
    business: Business,
) -> None:
    await business.record({}, {"pass_external_id": "bob"}, {"pass_external_id": "cas"})
    ann, bob = await merge(business)
    await business.run_worker()
    cache, workspace = business.ctx.resources.cache, business.ctx.workspace.id
    cache.forget_pass(workspace, bob, "bob")
    sent = {"amount": 7, "external_id": "after", "pass_external_id": "bob"}
    [recorded] = (await business.record(sent)).results
    assert recorded.event is not None
    assert recorded.event.pass_id == ann
    for is_merged_again in (False, True):
        if is_merged_again:
            await business.run_worker()
            await merge(business, "cas", "ann")
            await business.run_worker()
        # The cache of another process may still map the external id to a pass that was merged since.
        for earlier in (bob, ann):
            cache.remember_pass(workspace, earlier, "bob")
            repeated = await business.record(sent)
            assert [result.status for result in repeated.results] == [RecordStatus.DUPLICATE], earlier
        cache.remember_pass(workspace, bob, "bob")
        other = await business.record({**sent, "amount": 8})
        assert [result.status for result in other.results] == [RecordStatus.CONFLICT]
    await check(business, "cas")


async def test_copies_in_one_call_get_outcomes_under_any_external_id_of_the_pass(
    business: Business,
) -> None:
    await business.record({}, {"pass_external_id": "bob"}, {"pass_external_id": "cas"})
    ann, bob = await merge(business)
    await business.run_worker()
    cache, workspace = business.ctx.resources.cache, business.ctx.workspace.id
    modes: dict[str, dict[str, object]] = {"dry": {"dry_run": True}, "atomic": {"atomic": True}, "plain": {}}
    for mode, options in modes.items():
        sent: dict[str, object] = {"amount": 7, "external_id": mode}
        items = [{**sent, "pass_external_id": "bob"}, {**sent, "pass_external_id": None, "pass_id": ann}]
        if mode != "atomic":
            items += [{**sent, "pass_external_id": name} for name in ("cas", "new")]
        for is_repeat in (False, True):
            cache.remember_pass(workspace, bob, "bob")
            found = [result.status for result in (await business.record(*items, **options)).results]
            assert found[0] is (RecordStatus.DUPLICATE if is_repeat and mode != "dry" else RecordStatus.CREATED)
            assert found[1:] == [RecordStatus.DUPLICATE, RecordStatus.CONFLICT, RecordStatus.CONFLICT][: len(items) - 1]
            await business.run_worker()
    await check(business)


async def test_event_recorded_on_the_merged_pass_counts_in_the_survivor(business: Business) -> None:
    await business.record({}, {"pass_external_id": "bob"})
    await business.run_worker()
    ann, bob = await merge(business)
    business.ctx.resources.cache.remember_pass(business.ctx.workspace.id, bob, "bob")
    await business.record({"amount": 3, "pass_external_id": "bob"})
    await business.run_worker()
    business.ctx.resources.cache.remember_pass(business.ctx.workspace.id, bob, "bob")
    await business.record({"amount": 4, "pass_external_id": "bob"})
    await business.run_worker()
    card = await business.read_pass()
    assert (card.id, card.aggregates["purchase", "USD"].sum) == (ann, Decimal(7))
    await check(business)


async def test_survivor_keeps_its_profile_and_gets_missing_values_of_the_merged_pass(business: Business) -> None:
    await create_passes(
        business.ctx,
        [
            PassInput("ann", {"name": "Ann"}, {"city": "Bern", "stamps": 1}),
            PassInput("bob", {"name": "Bob", "phone": "1"}, {"size": "L"}),
        ],
    )
    step = {"type": "field_increment", "field_name": "stamps", "new_value": "2"}
    await business.record(step, {**step, "pass_external_id": "bob"})
    await business.run_worker()
    ids = await business.ctx.workspace.passes.ids_of(["ann"])
    business.clock.set(START + DAY)
    await update_pass(business.ctx, ids["ann"], holder={"name": "Anna"}, fields=None, metadata=None, status=None)
    await merge(business)
    await business.run_worker()
    card = await business.read_pass()
    assert dict(card.profile.holder) == {"name": "Anna", "phone": "1"}
    assert dict(card.profile.fields) == {"city": "Bern", "size": "L", "stamps": 5}


async def test_merges_may_follow_each_other_but_not_in_a_circle(business: Business) -> None:
    await business.record(
        {"amount": 1}, {"amount": 2, "pass_external_id": "bob"}, {"amount": 4, "pass_external_id": "cas"}
    )
    await business.run_worker()
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob", "cas"])
    await merge_passes(business.ctx, ids["bob"], ids["cas"])
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    with pytest.raises(Conflict):
        await merge_passes(business.ctx, ids["cas"], ids["ann"])
    with pytest.raises(Conflict):
        await merge_passes(business.ctx, ids["ann"], ids["cas"])
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    await business.run_worker()
    assert (await merge_passes(business.ctx, ids["cas"], ids["ann"])).id == ids["ann"], "they are one pass by now"
    card = await business.read_pass()
    assert card.aggregates["purchase", "USD"].sum == Decimal(7)
    aliases = await business.ctx.workspace.passes.aliases([card.id])
    assert set(aliases[card.id]) == {ids["bob"], ids["cas"]}
    await check(business)


async def test_merge_into_itself_or_into_a_missing_or_erased_pass_is_rejected(business: Business) -> None:
    await business.record({}, {"pass_external_id": "bob"})
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    with pytest.raises(InvalidInput):
        await merge_passes(business.ctx, ids["ann"], ids["ann"])
    with pytest.raises(NotFound):
        await merge_passes(business.ctx, ids["ann"], "pass_missing")
    await erase_pass(business.ctx, pass_id=ids["bob"])
    with pytest.raises(Conflict):
        await merge_passes(business.ctx, ids["ann"], ids["bob"])


async def test_erasing_the_survivor_also_erases_the_merged_pass(business: Business) -> None:
    await business.record(
        {"metadata": {"note": "hush one"}},
        {"pass_external_id": "bob@example.com", "metadata": {"note": "hush two"}, "external_id": "b"},
    )
    await business.run_worker()
    await merge(business, "ann", "bob@example.com")
    with pytest.raises(Conflict):
        await erase_pass(business.ctx, external_id="bob@example.com")
    await business.run_worker()
    await erase_pass(business.ctx, external_id="bob@example.com")
    await business.run_worker()
    await business.run_worker()
    db = business.ctx.resources.db
    for name in await db.list_collection_names():
        async for doc in db[name].find({}):
            assert "hush" not in str(doc), name
            assert "bob@example.com" not in str(doc), name
    assert await business.ctx.workspace.passes.ids_of(["ann", "bob@example.com"]) == {}


async def test_removed_event_of_a_merged_pass_no_longer_counts(business: Business) -> None:
    outcome = await business.record({"amount": 1}, {"amount": 2, "pass_external_id": "bob"})
    await business.run_worker()
    await merge(business)
    await business.run_worker()
    event = outcome.results[1].event
    assert event is not None
    [moved] = [e for e in await read_events(business, (await business.read_pass()).id) if e.id == event.id]
    await remove_events(business.ctx, [(moved.pass_id, moved.id)])
    await business.run_worker()
    assert (await business.read_pass()).aggregates["purchase", "USD"].sum == Decimal(1)


@pytest.mark.parametrize("removed_when", ["unmoved", "moved", "both folded at once"])
async def test_removal_of_an_event_that_a_merge_is_moving_is_published_once(
    business: Business, removed_when: str
) -> None:
    """The event was published by the merged pass. It is removed before the survivor counts it."""
    outcome = await business.record({"amount": 2, "pass_external_id": "bob"}, {"amount": 1})
    event = outcome.results[0].event
    assert event is not None
    await business.run_worker()
    ann, bob = await merge(business)
    await fold_all(business)
    if removed_when == "unmoved":
        # The tombstone is forwarded to the survivor and counts there before the merge stage runs.
        await remove_events(business.ctx, [(bob, event.id)])
        await fold_all(business)
    await publish_once(business.worker, business.ctx.workspace.id)
    await merge_once(business.worker, bob)
    if removed_when == "moved":
        # The survivor folds the tombstone, but a batch before the event.
        await business.ctx.resources.db["events"].update_one({"_id": event.id}, {"$set": {"pend": -1}})
        await remove_events(business.ctx, [(ann, event.id)])
        await fold_all(business)
    elif removed_when == "both folded at once":
        await remove_events(business.ctx, [(ann, event.id)])
    await business.run_worker()
    feed = await business.read_log()
    removals = [(a.pass_id, a.cause) for a in feed if a.type == UPDATED]
    assert removals == [(ann, {"kind": "EVENT_REMOVED", "event": event.id})]
    assert [a.cause["event"] for a in feed if a.type == CUSTOM_EVENT].count(event.id) == 1
    assert (await business.read_pass()).aggregates["purchase", "USD"].sum == Decimal(1)


async def test_removal_of_an_event_that_nobody_published_is_not_published(business: Business) -> None:
    """The event was recorded on the merged pass after the pass had ended, and is removed before it counts anywhere."""
    await business.record({}, {"pass_external_id": "bob"})
    await business.run_worker()
    ann, bob = await merge(business)
    await fold_all(business)
    business.ctx.resources.cache.remember_pass(business.ctx.workspace.id, bob, "bob")
    event = (await business.record({"amount": 3, "pass_external_id": "bob"})).results[0].event
    assert event is not None
    await business.ctx.resources.db["events"].update_one({"_id": event.id}, {"$set": {"pend": -1}})
    await remove_events(business.ctx, [(ann, event.id)])
    await fold_all(business)
    await business.run_worker()
    feed = await business.read_log()
    assert [a for a in feed if a.type == UPDATED] == []
    assert event.id not in [a.cause.get("event") for a in feed]


async def test_event_moves_only_after_its_activity_is_published(business: Business) -> None:
    """A caller that waits for an event's activity reads the outbox of the pass that the event belongs to."""
    outcome = await business.record({"amount": 2, "pass_external_id": "bob"}, {"amount": 1})
    event = outcome.results[0].event
    assert event is not None
    await fold_all(business)
    _, bob = await merge(business)
    await fold_all(business)
    await merge_once(business.worker, bob)
    await fold_all(business)
    fold_states = business.ctx.workspace.fold_states
    assert await fold_states.unpublished(await fold_states.read([event.id])) == {event.id}
    await business.run_worker()
    found = await fold_states.read([event.id])
    assert (found[event.id].folded, await fold_states.unpublished(found)) == (True, set())
    await check(business)


async def test_slow_clear_does_not_clear_an_event_that_has_moved(business: Business) -> None:
    outcome = await business.record({"amount": 2, "pass_external_id": "bob"}, {"amount": 1})
    await business.run_worker()
    event = outcome.results[0].event
    assert event is not None
    _, bob = await merge(business)
    await fold_all(business)
    await publish_once(business.worker, business.ctx.workspace.id)
    await merge_once(business.worker, bob)
    assert (await business.ctx.workspace.events.get_many([event.id]))[event.id].move is not None
    # A worker counted the event in the merged pass and stalled; only now it clears the event.
    await business.worker.fold_queries.clear([event.id])
    await business.run_worker()
    assert (await business.read_pass()).aggregates["purchase", "USD"].sum == Decimal(3)
    await check(business)


async def test_merge_ends_after_its_events_have_left_a_pass_that_was_merged_itself(business: Business) -> None:
    """Until then, a question about customers finds events of the same customer on two passes."""
    await business.record(*({"amount": 1, "pass_external_id": name} for name in ("ann", "bob", "cyd")))
    await business.run_worker()
    bob, cyd = await merge(business, "bob", "cyd")
    await fold_all(business)
    await publish_once(business.worker, business.ctx.workspace.id)
    await merge(business, "ann", "bob")
    await fold_all(business)
    await publish_once(business.worker, business.ctx.workspace.id)
    await merge_once(business.worker, bob)
    await fold_all(business)
    queries = business.worker.merge_queries
    assert await queries.waiting() == [cyd]
    await merge_once(business.worker, cyd)
    assert [event.pass_id for event in await read_events(business, bob)] == [bob]
    assert await queries.waiting() == [cyd]
    assert (await business.ctx.workspace.removals.pending()).number == 1
    await fold_all(business)
    await merge_once(business.worker, cyd)
    assert await queries.waiting() == []
    await business.run_worker()
    assert (await business.read_pass()).aggregates["purchase", "USD"].sum == Decimal(3)
    await check(business)


@pytest.mark.parametrize("seed", range(4))
async def test_every_event_counts_once_although_workers_crash_during_merges(business: Business, seed: int) -> None:
    random = Random(seed)
    lapsed = await business.create_segment("lapsed", no_purchase_for(3))
    names = ["ann", "bob", "cas"]
    injector = CrashInjector(seed, 0.08)
    crashing_worker = injector.add_to(type(business.worker).on(business.ctx.resources))
    worker = business.worker
    sent: set[str] = set()
    for number in range(12):
        business.clock.set(START + number * DAY / 2)
        outcome = await business.record(
            *(
                {
                    "amount": random.randrange(1, 9),
                    "pass_external_id": random.choice(names),
                    "external_id": f"{number}-{n}",
                }
                for n in range(random.randrange(4))
            ),
            {"amount": 1, "pass_external_id": names[number % 3], "external_id": f"{number}-x"},
        )
        sent |= {result.event.id for result in outcome.results if result.event is not None}
        ids = await business.ctx.workspace.passes.ids_of(names)
        if number == 5:
            await merge_passes(business.ctx, ids["bob"], ids["cas"])
        if number == 7:
            await merge_passes(business.ctx, ids["ann"], ids["bob"])
        business.worker = crashing_worker
        for _ in range(4):
            with contextlib.suppress(Crash):
                await business.run_worker()
        business.worker = worker
    await business.run_worker()
    assert sum(injector.crashes.values()) > 3
    card = await business.read_pass()
    assert {event.id for event in await read_events(business, card.id) if event.type not in TOMBSTONES} == sent
    assert await business.read_members(lapsed) == []
    await check(business)


async def test_of_two_merges_that_would_form_a_cycle_one_is_refused(business: Business) -> None:
    await business.create_passes("ann", "bob")
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    for _ in range(2):
        both = [(ids["ann"], ids["bob"]), (ids["bob"], ids["ann"])]
        results = await asyncio.gather(
            *(merge_passes(business.ctx, *each) for each in both), return_exceptions=True
        )  # fmt: skip
        assert sum(isinstance(each, Conflict) for each in results) == 1
        assert sum(not isinstance(each, BaseException) for each in results) == 1
    assert (await business.ctx.workspace.removals.complete_merge()).number == 1


async def test_erased_pass_whose_merge_came_too_late_leads_to_no_survivor(business: Business) -> None:
    """The erasure and the merge did not see each other. The fold erases the pass, and makes the tombstone a stub."""
    await business.create_passes("ann", "bob")
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    removals = business.ctx.workspace.removals
    decided = await removals.complete_merge()
    await erase_pass(business.ctx, pass_id=ids["bob"])
    await business.run_worker()
    tombstone = Tombstone(ids["bob"], None, START, into=ids["ann"])
    assert await removals.decide_merge(tombstone, business.ctx.origin, decided)
    assert await removals.merges(ids["bob"]) == [ids["ann"]]
    await business.run_worker()
    assert await removals.merges(ids["bob"]) == []


async def test_merge_is_completed_whose_caller_crashed_after_the_decision(business: Business) -> None:
    await business.record({"amount": 1}, {"amount": 2, "pass_external_id": "bob"})
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    removals = business.ctx.workspace.removals
    with patch.object(RemovalQueries, "_store_tombstone", side_effect=Crash), contextlib.suppress(Crash):
        await merge_passes(business.ctx, ids["ann"], ids["bob"])
    assert await removals.merges(ids["bob"]) == []
    with pytest.raises(Conflict):
        await merge_passes(business.ctx, ids["bob"], ids["ann"])
    assert await removals.merges(ids["bob"]) == [ids["ann"]]
    await business.run_worker()
    assert (await business.read_pass()).aggregates["purchase", "USD"].sum == Decimal(3)


async def test_refused_tombstone_of_one_workspace_does_not_stop_the_merges_of_others(business: Business) -> None:
    await business.create_passes("ann", "bob")
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    await fold_all(business)
    while await publish_once(business.worker, business.ctx.workspace.id):
        pass
    assert ids["bob"] in await business.worker.merge_queries.waiting()
    refusal = StoreRefused(121, "DocumentValidationFailure", "")
    await business.ctx.resources.db["merges"].insert_one({"_id": "ws_other", "rank": 1, "open": 1})
    with patch.object(RemovalQueries, "complete_merge", side_effect=refusal):
        await Sweep(business.worker, STAGES).merge()
    assert await business.worker.merge_queries.waiting() == []


async def test_sweep_completes_a_merge_that_nobody_repeats(business: Business) -> None:
    await business.create_passes("ann", "bob")
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    with patch.object(RemovalQueries, "_store_tombstone", side_effect=Crash), contextlib.suppress(Crash):
        await merge_passes(business.ctx, ids["ann"], ids["bob"])
    assert business.ctx.workspace.id in await business.worker.merge_queries.decided()
    await Sweep(business.worker, STAGES).merge()
    assert await business.ctx.workspace.removals.merges(ids["bob"]) == [ids["ann"]]
    assert business.ctx.workspace.id not in await business.worker.merge_queries.decided()
