"""React: what follows outside a pass from its activities is made exactly once, whatever crashes."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass
from app.commands.points.transfers import RecordedTransfer, transfer_points
from app.domain.activities import EVENT_DECLINED, POINTS_ADDED, TRANSFERRED
from app.domain.errors import Code, Conflict, NotFound, Refused
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import POINTS_RETURNED, POINTS_TRANSFERRED, Event
from app.domain.events.guards import INSUFFICIENT_POINTS
from app.domain.events.receipts import RecordStatus
from app.domain.ids import outward_id
from app.domain.state.earned import earned_points, spent_points
from app.flow import SLOT_RANGES
from app.store.mongo.paging import PageRequest
from app.store.operations.truncation import TruncationQueries
from app.store.operations.upgrades import Upgrades
from app.store.workspace.reactions import ReactionQueries
from tests.business import Business
from tests.crashes import Crash
from workers.main import STAGES


@pytest.fixture(name="business")
async def business_with_passes(business: Business) -> Business:
    """Return a business with the passes ann, who has 100 points, and bob."""
    await business.record({"type": "point_add", "points": 100}, {"pass_external_id": "bob", "type": "visit"})
    await business.run_worker()
    return business


async def send(business: Business, points: object = 30, external_id: str | None = None) -> RecordedTransfer:
    """Send points from ann to bob."""
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    return await transfer_points(business.ctx, ids["ann"], ids["bob"], points, external_id)


async def read_events(business: Business, *types: str) -> list[Event]:
    """Return the events of these types, those that take points first."""
    page = await business.ctx.workspace.events.page(EventQuery(types=types), PageRequest(100), oldest_first=True)
    return sorted(page.items, key=lambda event: event.points)


async def balances(business: Business) -> list[Decimal]:
    """Return the points of ann and bob."""
    return [(await business.read_pass(name)).points for name in ("ann", "bob")]


async def test_transfer_moves_points_from_one_pass_to_the_other(business: Business) -> None:
    transfer = await send(business)
    await business.run_worker()
    assert await balances(business) == [70, 30]
    sent, received = await read_events(business, POINTS_TRANSFERRED)
    assert sent.id == transfer.event.id
    assert [sent.points, received.points] == [-30, 30]
    assert received.id == outward_id("event", sent.id, 0)
    assert received.metadata == {"transfer": sent.id, "from": sent.pass_id, "to": received.pass_id}
    told = [(each.type, each.pass_id) for each in await business.read_log() if "event" in each.data]
    assert told[-3:] == [
        (TRANSFERRED, sent.pass_id), (TRANSFERRED, received.pass_id), (POINTS_ADDED, received.pass_id),
    ]  # fmt: skip


async def test_transfer_of_more_points_than_the_pass_has_is_declined(business: Business) -> None:
    await send(business, "100.01")
    await business.run_worker()
    assert await balances(business) == [100, 0]
    [sent] = await read_events(business, POINTS_TRANSFERRED)
    assert [each.code for each in sent.outcome.reasons] == [INSUFFICIENT_POINTS]
    assert [each.type for each in await business.read_log()][-1] == EVENT_DECLINED


async def test_transferred_points_are_neither_earned_nor_spent(business: Business) -> None:
    await send(business)
    await business.run_worker()
    [sent, received] = await read_events(business, POINTS_TRANSFERRED)
    assert [earned_points(each) + spent_points(each) for each in (sent, received)] == [0, 0]


async def test_transfer_with_the_same_external_id_is_recorded_once(business: Business) -> None:
    first = await send(business, external_id="t1")
    again = await send(business, "30.0", external_id="t1")
    assert (first.status, again.status) == (RecordStatus.CREATED, RecordStatus.DUPLICATE)
    assert again.event == first.event
    with pytest.raises(Conflict):
        await send(business, 31, external_id="t1")
    await business.run_worker()
    assert await balances(business) == [70, 30]


async def test_transfer_needs_two_passes_and_points(business: Business) -> None:
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    with pytest.raises(NotFound):
        await transfer_points(business.ctx, ids["ann"], "pass_none", 1)
    for to, points, code in ((ids["ann"], 1, Code.INVALID), (ids["bob"], 0, Code.OUT_OF_RANGE)):
        with pytest.raises(Refused) as refused:
            await transfer_points(business.ctx, ids["ann"], to, points)
        assert refused.value.problems[0].code is code


async def test_clients_cannot_record_a_transfer_themselves(business: Business) -> None:
    for kind in (POINTS_TRANSFERRED, POINTS_RETURNED):
        outcome = await business.record({"type": kind, "points": 5})
        assert outcome.results[0].status is RecordStatus.REJECTED


async def test_points_go_back_if_the_receiver_was_erased(business: Business) -> None:
    await send(business)
    await erase_pass(business.ctx, external_id="bob")
    await business.run_worker()
    assert (await business.read_pass("ann")).points == 100
    [returned] = await read_events(business, POINTS_RETURNED)
    assert returned.points == 30


async def test_points_reach_the_receiver_although_the_sender_is_erased_meanwhile(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure waits until react has met the transfer, which it would hide."""
    monkeypatch.setattr("workers.stages.erase.CACHE_EXPIRY_SECONDS", 0)
    await send(business)
    for key in SLOT_RANGES:
        await STAGES["fold"](business.worker, key)
    erasure = await erase_pass(business.ctx, external_id="ann")
    await business.run_worker()
    for _ in range(3):
        await STAGES["erase"](business.worker, erasure.pass_id)
        await business.run_worker()
    assert (await business.read_pass("bob")).points == 30
    assert await business.ctx.resources.db["erasures"].find_one({"_id": erasure.pass_id}) is not None


async def test_points_reach_the_survivor_of_a_merged_receiver(business: Business) -> None:
    await business.create_passes("cleo")
    await send(business)
    ids = await business.ctx.workspace.passes.ids_of(["bob", "cleo"])
    await merge_passes(business.ctx, ids["cleo"], ids["bob"])
    await business.run_worker()
    assert (await business.read_pass("cleo")).points == 30


async def test_truncation_keeps_what_react_has_not_read(business: Business) -> None:
    await send(business)
    for key in SLOT_RANGES:
        await STAGES["fold"](business.worker, key)
    await STAGES["publish"](business.worker, business.ctx.workspace.id)
    await business.record({"type": "visit"}, {"type": "visit"})
    for key in SLOT_RANGES:
        await STAGES["fold"](business.worker, key)
    await STAGES["publish"](business.worker, business.ctx.workspace.id)
    log = await business.read_log()
    queries = TruncationQueries(business.ctx.resources.db, business.ctx.resources.in_chunk)
    plan = await queries.plan(business.ctx.workspace.id, upto=log[-1].position)
    transferred = next(each for each in log if each.type == TRANSFERRED)
    assert plan.cut == transferred.position - 1
    assert plan.holder == "the workers, which have not made what follows from them"
    await business.run_worker()
    assert (await queries.plan(business.ctx.workspace.id, upto=log[-1].position)).holder is None


async def test_reader_begins_at_the_end_of_a_log_that_an_earlier_version_wrote(business: Business) -> None:
    db = business.ctx.resources.db
    await db["react_lanes"].delete_many({"workspace": business.ctx.workspace.id})
    await db["constants"].delete_one({"_id": "react_reads_on"})
    upgrades = Upgrades(db, business.ctx.resources.in_chunk)
    await upgrades.start_reactions(0)
    last = await business.ctx.workspace.activities.last_pos()
    lane = await db["react_lanes"].find_one({"_id": business.ctx.workspace.id})
    assert lane is not None
    assert set(lane["next"]) == {last + 1}
    await send(business)
    await business.run_worker()
    await upgrades.start_reactions(0)
    assert await balances(business) == [70, 30]


async def test_erasure_of_a_pass_with_many_activities_does_not_wait_for_react(business: Business) -> None:
    """Nothing follows from them outside the pass, so publish gave react no work."""
    await business.record(*({"type": "visit"} for _ in range(450)))
    erasure = await erase_pass(business.ctx, external_id="ann")
    for _ in range(3):
        await business.run_worker()
    assert await business.ctx.resources.db["react_lanes"].find_one({"_id": business.ctx.workspace.id}) is None
    assert await business.ctx.resources.db["erasures"].find_one({"_id": erasure.pass_id}) is not None


async def test_erasure_gives_react_work_that_a_crashed_publisher_did_not_announce(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publisher crashed after the log. Its repeat finds the event removed by the erasure."""
    await send(business)
    for key in SLOT_RANGES:
        await STAGES["fold"](business.worker, key)
    with monkeypatch.context() as crashing:

        async def crash(*_: object) -> None:
            raise Crash("announce_work")

        crashing.setattr(ReactionQueries, "announce_work", crash)
        with pytest.raises(Crash):
            await STAGES["publish"](business.worker, business.ctx.workspace.id)
    erasure = await erase_pass(business.ctx, external_id="ann")
    for _ in range(3):
        await business.run_worker()
    assert (await business.read_pass("bob")).points == 30
    assert await business.ctx.resources.db["erasures"].find_one({"_id": erasure.pass_id}) is not None
