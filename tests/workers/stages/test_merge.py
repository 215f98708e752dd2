"""MergeQueries: one pass answers for two, and every event of both counts once in it, whatever dies on the way (A1-15)."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.passes import create_passes, update_pass
from app.commands.passes.removals import erase_pass, remove_events
from app.domain.activities import CUSTOM_EVENT, DELETED
from app.domain.errors import Conflict, InvalidInput, NotFound
from app.domain.events.events import TOMBSTONES, Event, EventQuery
from app.domain.events.receipts import RecordStatus
from app.domain.passes.passes import PassInput
from app.domain.state import aggregates
from app.flow import SLOT_RANGES
from app.store.mongo.paging import PageRequest
from tests.business import Business, flips, nothing_for, purchases, spent
from tests.deaths import Killed, Reaper
from workers.stages.fold import fold_once
from workers.stages.merge import merge_once
from workers.stages.publish import publish_once

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


async def merged(business: Business, survivor: str = "ann", other: str = "bob") -> tuple[str, str]:
    ids = await business.ctx.workspace.passes.ids_of([survivor, other])
    await merge_passes(business.ctx, ids[survivor], ids[other])
    return ids[survivor], ids[other]


async def of_pass(business: Business, pass_id: str) -> list[Event]:
    page = await business.ctx.workspace.events.page(EventQuery(pass_id=pass_id), PageRequest(1_000), oldest_first=True)
    return page.items


async def fold_all(business: Business) -> None:
    for key in SLOT_RANGES:
        while await fold_once(business.worker, key):
            pass


async def check(business: Business, external_id: str = "ann") -> None:
    """The totals of the pass are those of its events, and each event was told once."""
    card = await business.card(external_id)
    events = await of_pass(business, card.id)
    assert dict(card.aggregates) == dict(aggregates.fold({}, events))
    told = [str(a.cause["event"]) for a in await business.feed(include_silent=True) if a.type == CUSTOM_EVENT]
    assert sorted(told) == sorted(set(told)), "an event was told twice"
    assert {event.id for event in events} <= set(told), "an event was not told"


async def test_the_survivor_answers_for_both_and_counts_the_events_of_both(business: Business) -> None:
    five = await business.segment("five", spent(50))
    await business.record({"amount": 20}, {"amount": 40, "pass_external_id": "bob"}, {"amount": 9})
    await business.settle()
    assert await business.members(five) == []
    ann, bob = await merged(business)
    await business.settle()
    card = await business.card()
    assert card.aggregates["purchase", "USD"].sum == Decimal(69)
    assert await business.members(five) == ["ann"]
    passes = business.ctx.workspace.passes
    assert (await passes.get_many([ann, bob])).keys() == {ann, bob}
    assert {found.id for found in (await passes.get_many([ann, bob])).values()} == {ann}
    assert (await passes.ids_of(["bob"])) == {"bob": ann}
    assert await passes.external_ids([ann, bob]) == {ann: "ann", bob: "ann"}
    assert await passes.own_external_ids([ann, bob]) == {ann: "ann", bob: "bob"}
    assert [found.external_id for found in (await passes.page(PageRequest(10))).items] == ["ann"]
    assert await passes.count() == 1
    await check(business)


async def test_what_was_told_is_not_told_again_and_the_end_of_the_other_pass_is(business: Business) -> None:
    two = await business.segment("two", purchases(2))
    await business.record({"amount": 1}, {"amount": 2, "pass_external_id": "bob"})
    await business.settle()
    ann, bob = await merged(business)
    await business.settle()
    feed = await business.feed()
    assert len([a for a in feed if a.type == CUSTOM_EVENT]) == 2
    [gone] = [a for a in feed if a.type == DELETED]
    assert (gone.pass_id, gone.cause["kind"], gone.data) == (bob, "PASS_MERGED", {"into": ann})
    [(pass_id, _, entered)] = flips(feed, two)
    assert (pass_id, entered) == (ann, True)


async def test_memberships_of_the_merged_pass_end_with_it(business: Business) -> None:
    two = await business.segment("two", purchases(2))
    await business.record({"pass_external_id": "bob"}, {"pass_external_id": "bob"}, {})
    await business.settle()
    ann, bob = await merged(business)
    await business.settle()
    assert [(p, entered) for p, _, entered in flips(await business.feed(), two)] == [
        (bob, True), (bob, False), (ann, True),
    ]  # fmt: skip
    left = [a for a in await business.feed() if a.segment_id == two.id][1]
    assert (left.cause["kind"], left.late) == ("PASS_MERGED", True)


async def test_a_blind_repeat_under_the_old_name_is_a_duplicate_before_and_after_the_events_moved(
    business: Business,
) -> None:
    sent = {"amount": 7, "external_id": "a", "pass_external_id": "bob"}
    await business.record(sent, {})
    await business.settle()
    await merged(business)
    for _ in range(2):
        again = await business.record(sent)
        assert [result.status for result in again.results] == [RecordStatus.DUPLICATE]
        await business.settle()
    other = await business.record({**sent, "pass_external_id": "cas"}, {**sent, "amount": 8})
    assert [result.status for result in other.results] == [RecordStatus.CONFLICT, RecordStatus.CONFLICT]
    await check(business)


async def test_a_blind_repeat_is_a_duplicate_whoever_of_the_two_who_recorded_has_not_heard_of_the_merge(
    business: Business,
) -> None:
    await business.record({}, {"pass_external_id": "bob"}, {"pass_external_id": "cas"})
    ann, bob = await merged(business)
    await business.settle()
    known, workspace = business.ctx.resources.cache, business.ctx.workspace.id
    known.forget_pass(workspace, bob, "bob")
    sent = {"amount": 7, "external_id": "after", "pass_external_id": "bob"}
    [recorded] = (await business.record(sent)).results
    assert recorded.event is not None
    assert recorded.event.pass_id == ann
    for merged_again in (False, True):
        if merged_again:
            await business.settle()
            await merged(business, "cas", "ann")
            await business.settle()
        # Another process still takes the name for the pass that it was, or for one that was merged itself since.
        for earlier in (bob, ann):
            known.remember_pass(workspace, earlier, "bob")
            again = await business.record(sent)
            assert [result.status for result in again.results] == [RecordStatus.DUPLICATE], earlier
        known.remember_pass(workspace, bob, "bob")
        other = await business.record({**sent, "amount": 8})
        assert [result.status for result in other.results] == [RecordStatus.CONFLICT]
    await check(business, "cas")


async def test_copies_in_one_call_are_judged_each_for_itself_whichever_name_they_give_the_pass(
    business: Business,
) -> None:
    await business.record({}, {"pass_external_id": "bob"}, {"pass_external_id": "cas"})
    ann, bob = await merged(business)
    await business.settle()
    known, workspace = business.ctx.resources.cache, business.ctx.workspace.id
    ways: dict[str, dict[str, object]] = {"dry": {"dry_run": True}, "whole": {"atomic": True}, "plain": {}}
    for way, options in ways.items():
        sent: dict[str, object] = {"amount": 7, "external_id": way}
        items = [{**sent, "pass_external_id": "bob"}, {**sent, "pass_external_id": None, "pass_id": ann}]
        if way != "whole":
            items += [{**sent, "pass_external_id": name} for name in ("cas", "new")]
        for again in (False, True):
            known.remember_pass(workspace, bob, "bob")
            fates = [result.status for result in (await business.record(*items, **options)).results]
            assert fates[0] is (RecordStatus.DUPLICATE if again and way != "dry" else RecordStatus.CREATED)
            assert fates[1:] == [RecordStatus.DUPLICATE, RecordStatus.CONFLICT, RecordStatus.CONFLICT][: len(items) - 1]
            await business.settle()
    await check(business)


async def test_what_is_recorded_by_who_has_not_heard_of_the_merge_counts_in_the_survivor(business: Business) -> None:
    await business.record({}, {"pass_external_id": "bob"})
    await business.settle()
    ann, bob = await merged(business)
    business.ctx.resources.cache.remember_pass(business.ctx.workspace.id, bob, "bob")
    await business.record({"amount": 3, "pass_external_id": "bob"})
    await business.settle()
    business.ctx.resources.cache.remember_pass(business.ctx.workspace.id, bob, "bob")
    await business.record({"amount": 4, "pass_external_id": "bob"})
    await business.settle()
    card = await business.card()
    assert (card.id, card.aggregates["purchase", "USD"].sum) == (ann, Decimal(7))
    await check(business)


async def test_the_profile_is_that_of_the_survivor_with_what_only_the_other_had(business: Business) -> None:
    await create_passes(
        business.ctx,
        [
            PassInput("ann", {"name": "Ann"}, {"city": "Bern", "stamps": 1}),
            PassInput("bob", {"name": "Bob", "phone": "1"}, {"size": "L"}),
        ],
    )
    step = {"type": "field_increment", "field_name": "stamps", "new_value": "2"}
    await business.record(step, {**step, "pass_external_id": "bob"})
    await business.settle()
    ids = await business.ctx.workspace.passes.ids_of(["ann"])
    business.clock.set(START + DAY)
    await update_pass(business.ctx, ids["ann"], holder={"name": "Anna"}, fields=None, metadata=None, status=None)
    await merged(business)
    await business.settle()
    card = await business.card()
    assert dict(card.profile.holder) == {"name": "Anna", "phone": "1"}
    assert dict(card.profile.fields) == {"city": "Bern", "size": "L", "stamps": 5}


async def test_merges_follow_each_other_and_never_go_in_a_circle(business: Business) -> None:
    await business.record(
        {"amount": 1}, {"amount": 2, "pass_external_id": "bob"}, {"amount": 4, "pass_external_id": "cas"}
    )
    await business.settle()
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob", "cas"])
    await merge_passes(business.ctx, ids["bob"], ids["cas"])
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    with pytest.raises(Conflict):
        await merge_passes(business.ctx, ids["cas"], ids["ann"])
    with pytest.raises(Conflict):
        await merge_passes(business.ctx, ids["ann"], ids["cas"])
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    await business.settle()
    assert (await merge_passes(business.ctx, ids["cas"], ids["ann"])).id == ids["ann"], "they are one by now"
    card = await business.card()
    assert card.aggregates["purchase", "USD"].sum == Decimal(7)
    aliases = await business.ctx.workspace.passes.aliases([card.id])
    assert set(aliases[card.id]) == {ids["bob"], ids["cas"]}
    await check(business)


async def test_a_pass_is_not_merged_into_itself_nor_into_nobody(business: Business) -> None:
    await business.record({}, {"pass_external_id": "bob"})
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    with pytest.raises(InvalidInput):
        await merge_passes(business.ctx, ids["ann"], ids["ann"])
    with pytest.raises(NotFound):
        await merge_passes(business.ctx, ids["ann"], "pass_nobody")
    await erase_pass(business.ctx, pass_id=ids["bob"])
    with pytest.raises(Conflict):
        await merge_passes(business.ctx, ids["ann"], ids["bob"])


async def test_erasing_the_survivor_leaves_nothing_of_the_merged_pass_either(business: Business) -> None:
    await business.record(
        {"metadata": {"note": "hush one"}},
        {"pass_external_id": "bob@example.com", "metadata": {"note": "hush two"}, "external_id": "b"},
    )
    await business.settle()
    await merged(business, "ann", "bob@example.com")
    with pytest.raises(Conflict):
        await erase_pass(business.ctx, external_id="bob@example.com")
    await business.settle()
    await erase_pass(business.ctx, external_id="bob@example.com")
    await business.settle()
    await business.settle()
    db = business.ctx.resources.db
    for name in await db.list_collection_names():
        async for doc in db[name].find({}):
            assert "hush" not in str(doc), name
            assert "bob@example.com" not in str(doc), name
    assert await business.ctx.workspace.passes.ids_of(["ann", "bob@example.com"]) == {}


async def test_a_removed_event_of_a_merged_pass_no_longer_counts(business: Business) -> None:
    outcome = await business.record({"amount": 1}, {"amount": 2, "pass_external_id": "bob"})
    await business.settle()
    await merged(business)
    await business.settle()
    event = outcome.results[1].event
    assert event is not None
    [moved] = [e for e in await of_pass(business, (await business.card()).id) if e.id == event.id]
    await remove_events(business.ctx, [(moved.pass_id, moved.id)])
    await business.settle()
    assert (await business.card()).aggregates["purchase", "USD"].sum == Decimal(1)


async def test_an_event_moves_when_what_was_told_of_it_is_in_the_log(business: Business) -> None:
    """Who waits until an event is told looks at the outbox of the pass that it is of."""
    outcome = await business.record({"amount": 2, "pass_external_id": "bob"}, {"amount": 1})
    event = outcome.results[0].event
    assert event is not None
    await fold_all(business)
    _, bob = await merged(business)
    await fold_all(business)
    await merge_once(business.worker, bob)
    await fold_all(business)
    standings = business.ctx.workspace.fold_states
    assert await standings.unpublished(await standings.of([event.id])) == {event.id}
    await business.settle()
    found = await standings.of([event.id])
    assert (found[event.id].folded, await standings.unpublished(found)) == (True, set())
    await check(business)


async def test_a_slow_mark_does_not_fall_on_an_event_that_has_moved(business: Business) -> None:
    outcome = await business.record({"amount": 2, "pass_external_id": "bob"}, {"amount": 1})
    await business.settle()
    event = outcome.results[0].event
    assert event is not None
    _, bob = await merged(business)
    await fold_all(business)
    await publish_once(business.worker, business.ctx.workspace.id)
    await merge_once(business.worker, bob)
    assert (await business.ctx.workspace.events.get_many([event.id]))[event.id].move is not None
    # The mark of a worker that counted it in the merged pass, and was asleep since.
    await business.worker.fold_queries.clear([event.id])
    await business.settle()
    assert (await business.card()).aggregates["purchase", "USD"].sum == Decimal(3)
    await check(business)


@pytest.mark.parametrize("seed", range(4))
async def test_whoever_dies_on_the_way_every_event_counts_once_in_the_end(business: Business, seed: int) -> None:
    random = Random(seed)
    lapsed = await business.segment("lapsed", nothing_for(3))
    names = ["ann", "bob", "cas"]
    reaper = Reaper(seed, 0.08)
    mortal = reaper.over(type(business.worker).on(business.ctx.resources))
    living = business.worker
    sent: set[str] = set()
    for turn in range(12):
        business.clock.set(START + turn * DAY / 2)
        outcome = await business.record(
            *(
                {
                    "amount": random.randrange(1, 9),
                    "pass_external_id": random.choice(names),
                    "external_id": f"{turn}-{n}",
                }
                for n in range(random.randrange(4))
            ),
            {"amount": 1, "pass_external_id": names[turn % 3], "external_id": f"{turn}-x"},
        )
        sent |= {result.event.id for result in outcome.results if result.event is not None}
        ids = await business.ctx.workspace.passes.ids_of(names)
        if turn == 5:
            await merge_passes(business.ctx, ids["bob"], ids["cas"])
        if turn == 7:
            await merge_passes(business.ctx, ids["ann"], ids["bob"])
        business.worker = mortal
        for _ in range(4):
            with contextlib.suppress(Killed):
                await business.settle()
        business.worker = living
    await business.settle()
    assert sum(reaper.deaths.values()) > 3
    card = await business.card()
    assert {event.id for event in await of_pass(business, card.id) if event.type not in TOMBSTONES} == sent
    assert await business.members(lapsed) == []
    await check(business)
