"""Several workers share the work: who prefers what, what a lost worker leaves, and how much is done twice."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from app.clock import FixedClock
from app.commands.segments import create_segment
from app.domain.ids import SLOTS
from app.flow import SLOT_RANGES, bounds_of
from app.resources import Resources
from app.store.operations.heartbeats import Heartbeats
from app.store.operations.schema_version import LOWEST_WRITER, raise_schema
from tests.backlogs import insert_passes
from tests.business import Business, open_business, purchases
from tests.patience import PATIENCE_SECONDS
from workers import wakeups
from workers.main import STAGES
from workers.sharing import HOLD_TTL_MS, SHARE_TTL_MS, STALLED_AFTER_SECONDS, STUCK_AFTER_SECONDS, Sharing
from workers.stages.backfill import backfill
from workers.stages.fold import fold
from workers.sweep import Sweep
from workers.worker import LOST_NOTE_SECONDS, Worker

WORKSPACES = [f"workspace{n}" for n in range(60)]


class Times:
    """System time and monotonic time that a test moves."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        """Return the system time in ms."""
        return self.ms

    def seconds(self) -> float:
        """Return the monotonic time in seconds."""
        return self.ms / 1_000

    def share(self, resources: Resources, worker_id: str, *running: tuple[str, str]) -> Sharing:
        """Return the share of a worker by these times, which reports to be at work at some keys."""
        return Sharing(worker_id, Heartbeats(resources.db), self.now_ms, self.seconds, lambda: running)


async def beat_all(*shares: Sharing) -> None:
    """Send heartbeats until every worker has read those of all."""
    for _ in range(2):
        for share in shares:
            await share.beat()


async def open_workers(business: Business, count: int, times: Times | None = None) -> list[Worker]:
    """Return workers that know each other; no share ends unless the test moves their time."""
    times, workers = times or Times(), [Worker.on(business.ctx.resources) for _ in range(count)]
    for worker in workers:
        worker.sharing = times.share(business.ctx.resources, worker.id)
    await beat_all(*(worker.sharing for worker in workers))
    return workers


def slots_of(share: Sharing) -> list[int]:
    """Return the slots that a worker folds, by the bounds of all ranges."""
    bounds = [found for key in SLOT_RANGES if (found := share.bounds("fold", key)) is not None]
    return [slot for low, high in bounds for slot in range(low, high + 1)]


async def test_worker_alone_serves_everything_by_the_ranges_of_wake_ups(resources: Resources) -> None:
    share = Times().share(resources, "w1")
    assert [share.bounds("fold", key) for key in SLOT_RANGES] == [bounds_of(key) for key in SLOT_RANGES]
    await beat_all(share)
    assert [share.bounds("due", key) for key in SLOT_RANGES] == [bounds_of(key) for key in SLOT_RANGES]
    assert share.choose("publish", dict.fromkeys(WORKSPACES)) == WORKSPACES


@pytest.mark.parametrize("count", [2, 3, 5, 8])
async def test_each_slot_and_workspace_has_one_worker_and_shares_are_even(resources: Resources, count: int) -> None:
    times = Times()
    shares = [times.share(resources, f"w{n}") for n in range(count)]
    await beat_all(*shares)
    parts = [slots_of(share) for share in shares]
    assert sorted(slot for part in parts for slot in part) == list(range(SLOTS))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for key in SLOT_RANGES:
        low, high = bounds_of(key)
        served = {f"w{n}" for n, part in enumerate(parts) if set(part) & set(range(low, high + 1))}
        assert all(share.owners("fold", key) == served for share in shares)
    own = [share.choose("publish", dict.fromkeys(WORKSPACES)) for share in shares]
    assert sorted(each for part in own for each in part) == sorted(WORKSPACES)
    assert all(own)


async def test_worker_without_heartbeat_for_two_seconds_has_no_share(resources: Resources) -> None:
    """The others see it without a read of the store. A key of a worker that lives does not move."""
    times = Times()
    shares = [times.share(resources, f"w{n}") for n in range(3)]
    await beat_all(*shares)
    first, second, _ = shares
    before = {share: share.choose("publish", dict.fromkeys(WORKSPACES)) for share in shares}
    times.ms += SHARE_TTL_MS - 1
    await beat_all(first, second)
    times.ms += 1
    assert first.members() == ["w0", "w1"]
    assert sorted(slots_of(first) + slots_of(second)) == list(range(SLOTS))
    for share in (first, second):
        assert set(before[share]) < set(share.choose("publish", dict.fromkeys(WORKSPACES)))


async def test_stopping_worker_gives_its_share_away_and_keeps_its_leases(resources: Resources) -> None:
    times = Times()
    first, second = times.share(resources, "w1"), times.share(resources, "w2")
    await beat_all(first, second)
    await first.leave()
    await second.beat()
    assert slots_of(second) == list(range(SLOTS))
    assert slots_of(first) == []
    assert await second.find_gone({"w1"}) == set()
    await first.remove()
    assert await second.find_gone({"w1"}) == {"w1"}


async def test_leases_of_a_worker_end_a_second_after_it_stops_to_trust_them(resources: Resources) -> None:
    times = Times()
    first, second = times.share(resources, "w1"), times.share(resources, "w2")
    assert not first.has_lapsed, "a worker without heartbeat keeps its leases until their end"
    await beat_all(first, second)
    times.ms += HOLD_TTL_MS - 1
    assert not first.has_lapsed
    assert await second.find_gone({"w1"}) == set()
    times.ms += 1
    assert first.has_lapsed
    assert await second.find_gone({"w1"}) == set()
    times.ms += 1_000
    assert await second.find_gone({"w1", "never seen"}) == {"w1", "never seen"}


async def test_worker_helps_with_work_of_others_that_stays_the_same_for_3_seconds(resources: Resources) -> None:
    times = Times()
    shares = [times.share(resources, f"w{n}") for n in range(3)]
    await beat_all(*shares)
    [owner] = [share for share in shares if share.prefers("publish", "kiosk")]
    others = [share for share in shares if share is not owner]
    assert [share.choose("publish", {"kiosk": 1}) for share in others] == [[], []]
    for front, helping in ((2, [[], []]), (2, [[], ["kiosk"]]), (2, [["kiosk"], ["kiosk"]]), (3, [[], []])):
        times.ms += int(STALLED_AFTER_SECONDS * 1_000)
        await beat_all(*shares)
        # The second worker leaves the key to the first one for another 3 s.
        assert sorted(share.choose("publish", {"kiosk": front}) for share in others) == helping


async def test_worker_that_is_at_work_at_a_key_gets_no_help_for_30_seconds(resources: Resources) -> None:
    """On a busy machine a round may take long, and doing its work twice would make it longer."""
    times = Times()
    shares = [times.share(resources, f"w{n}", ("publish", "kiosk")) for n in range(2)]
    await beat_all(*shares)
    [helper] = [share for share in shares if not share.prefers("publish", "kiosk")]
    waits_for = []
    while not helper.choose("publish", {"kiosk": 1}):
        waits_for.append(times.ms)
        times.ms += 1_000
        await beat_all(*shares)
    assert times.ms - waits_for[0] == STUCK_AFTER_SECONDS * 1_000


async def test_key_at_which_its_worker_is_at_work_is_looked_at_every_10_seconds(resources: Resources) -> None:
    """A look may read all that waits. So a second worker must not look each second at what the first one works off."""
    times = Times()
    busy, idle = ("publish", "kiosk"), ("publish", "shop")
    shares = [times.share(resources, f"w{n}", busy) for n in range(2)]
    await beat_all(*shares)
    looks = Counter[str]()
    for second in range(30):
        for helper in shares:
            for stage, key in (busy, idle):
                if not helper.prefers(stage, key) and helper.should_look(stage, key):
                    looks[key] += 1
                    helper.stalled(stage, {key: second})
        times.ms += 1_000
        await beat_all(*shares)
    assert looks == {"kiosk": 3, "shop": 30}


@dataclasses.dataclass
class SentWrites(CommandListener):
    """Writes sent to the store: updates of passes and inserts of activities."""

    counts: Counter[str] = dataclasses.field(default_factory=Counter)

    def started(self, event: CommandStartedEvent) -> None:
        """Count the writes of a command."""
        command, collection = event.command, event.command.get(event.command_name)
        if event.command_name == "update" and collection == "passes":
            self.counts["updates"] += len(command["updates"])
        if event.command_name == "insert" and collection == "activities":
            self.counts["inserts"] += len(command["documents"])

    def succeeded(self, event: object) -> None:
        """Ignore the event."""

    def failed(self, event: object) -> None:
        """Ignore the event."""


@pytest.fixture
async def observed(resources: Resources, clock: FixedClock) -> AsyncIterator[tuple[Business, SentWrites]]:
    """Yield a business and the writes that it sends."""
    sent = SentWrites()
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
        resources.settings.mongodb_uri, tz_aware=True, tzinfo=UTC, event_listeners=[sent], retryWrites=False
    )
    yield await open_business(dataclasses.replace(resources, db=client[resources.settings.database]), clock), sent
    client.close()


async def work_off(business: Business, workers: list[Worker]) -> None:
    """Let the workers fold and publish at the same time until nothing is left."""
    db = business.ctx.resources.db
    sweeps = [Sweep(worker, STAGES) for worker in workers]
    while (
        await db["events"].count_documents({"pend": {"$gte": 0}})
        or await db["passes"].count_documents({"pub": {"$gte": 0}})
    ):  # fmt: skip
        await asyncio.gather(*(sweep.fold() for sweep in sweeps), *(sweep.publish() for sweep in sweeps))


@pytest.mark.parametrize("count", [2, 4])
async def test_several_workers_send_as_many_writes_as_one_over_the_same_backlog(
    observed: tuple[Business, SentWrites], count: int
) -> None:
    business, sent = observed
    await business.create_segment("regular", purchases(2))
    backlog = [{"pass_external_id": f"p{n}", "amount": 1} for n in range(120)]
    await business.record(*backlog)
    await work_off(business, [Worker.on(business.ctx.resources)])
    await business.record(*backlog)
    sent.counts.clear()
    await work_off(business, [Worker.on(business.ctx.resources)])
    by_one = sent.counts.copy()
    await business.record(*backlog)
    sent.counts.clear()
    await work_off(business, await open_workers(business, count))
    assert by_one["updates"] >= 120
    assert by_one["inserts"] >= 240
    assert sent.counts["updates"] <= 1.2 * by_one["updates"]
    assert sent.counts["inserts"] <= 1.2 * by_one["inserts"] / 2, "only the first of the two backlogs has entries"


async def test_worker_leaves_a_range_alone_for_a_second_after_two_lost_rounds(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record({"pass_external_id": "ann"})
    worker, rounds = business.worker, []
    original = worker.fold_queries.save

    async def lose(writes: Any) -> Any:
        if not writes:
            return await original(writes)
        rounds.append(len(writes))
        # Another worker writes the same passes first.
        await business.ctx.resources.db["passes"].update_many({}, {"$set": {"fid": f"other{len(rounds)}"}})
        return await original(writes)

    monkeypatch.setattr(worker.fold_queries, "save", lose)
    for _ in range(5):
        for key in SLOT_RANGES:
            await fold(worker, key)
    assert rounds == [1, 1]
    monkeypatch.undo()
    monkeypatch.setattr("workers.worker.time.monotonic", lambda: 10.0**9)
    await business.run_worker()
    assert (await business.read_pass("ann")).aggregates


async def test_worker_forgets_losses_at_keys_for_which_no_round_runs_any_more(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each merge and each erasure has a key of its own, the id of the pass."""
    worker = business.worker
    clock = [1_000.0]
    monkeypatch.setattr("workers.worker.time.monotonic", lambda: clock[0])

    async def lose() -> bool:
        worker.count_writes(sent=1, lost=1)
        return False

    for number in range(50):
        clock[0] += 2
        for _ in range(1 + number % 2):
            await worker.run_alone("merge", f"pass_{number}", lose)
    assert len(worker._lost_at) <= LOST_NOTE_SECONDS / 2
    assert len(worker._resting_until) <= 1


async def test_wake_up_is_handed_on_to_the_worker_that_prefers_the_key(business: Business) -> None:
    workers = await open_workers(business, 2)
    ran: list[tuple[str, str]] = []
    has_run = asyncio.Event()

    async def publish(worker: Worker, key: str) -> None:
        ran.append((worker.id, key))
        has_run.set()

    stages = {"publish": publish}
    listeners = [asyncio.create_task(wakeups.listen(worker, stages)) for worker in workers]
    pubsub = business.ctx.resources.redis
    channels = [f"{business.ctx.resources.settings.database}:topic:{wakeups.topic(each.id)}" for each in workers]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while [count for _, count in await pubsub.pubsub_numsub(*channels)] != [1, 1]:
            await asyncio.sleep(0.01)
        for number in range(20):
            key = f"workspace{number}"
            for worker in workers:
                has_run.clear()
                await wakeups.take(worker, stages, "publish", key)
                await has_run.wait()
                [owner] = worker.sharing.owners("publish", key)
                assert ran.pop() == (owner, key)
                assert not ran
    for listener in listeners:
        listener.cancel()
    await asyncio.gather(*listeners, return_exceptions=True)


async def test_worker_folds_and_advances_for_another_one_that_makes_no_progress(business: Business) -> None:
    times = Times()
    workers = await open_workers(business, 2, times)
    db = business.ctx.resources.db
    await business.record(*({"pass_external_id": f"p{n}"} for n in range(100)))
    sweep = Sweep(workers[1], STAGES)
    await sweep.fold()
    await sweep.help_others()
    low, high = workers[0].sharing.slots
    left = await db["events"].count_documents({"pend": {"$gte": 0}})
    assert 0 < left == await db["events"].count_documents({"pend": {"$gte": low, "$lte": high}})
    times.ms += int(STALLED_AFTER_SECONDS * 1_000)
    await beat_all(*(worker.sharing for worker in workers))
    await sweep.help_others()
    assert await db["events"].count_documents({"pend": {"$gte": 0}}) == 0
    await db["passes"].update_many({}, {"$set": {"due": 1}})
    for _ in range(2):
        await sweep.advance_due()
        await sweep.help_others()
        times.ms += int(STALLED_AFTER_SECONDS * 1_000)
        await beat_all(*(worker.sharing for worker in workers))
    assert await db["passes"].count_documents({"due": {"$gte": 0}}) == 0


async def test_workers_backfill_their_slots_and_help_one_without_progress(
    business: Business,
) -> None:
    times, workspace_id = Times(), business.ctx.workspace.id
    first, second = await open_workers(business, 2, times)
    await insert_passes(business, 60)

    async def read_versions(worker: Worker) -> set[int]:
        low, high = worker.sharing.slots
        where = {"slot": {"$gte": low, "$lte": high}}
        return {doc["v"] async for doc in business.ctx.resources.db["passes"].find(where, {"v": 1})}

    await create_segment(business.ctx, "regular", "Regular", purchases(2))
    await backfill(first, workspace_id)
    assert (await read_versions(first), await read_versions(second)) == ({1}, {0})
    assert workspace_id in await first.fold_queries.workspaces_behind()
    await backfill(second, workspace_id)
    assert (await read_versions(first), await read_versions(second)) == ({1}, {1})
    assert await first.fold_queries.workspaces_behind() == {}, "the last worker ends the backfill"

    await create_segment(business.ctx, "loyal", "Loyal", purchases(9))
    await backfill(first, workspace_id)
    times.ms += int(STALLED_AFTER_SECONDS * 1_000)
    await beat_all(first.sharing, second.sharing)
    assert await read_versions(second) == {1}
    await backfill(first, workspace_id)
    assert await read_versions(second) == {2}
    assert await first.fold_queries.workspaces_behind() == {}


async def test_heartbeat_takes_two_round_trips_and_reads_who_may_write(
    observed: tuple[Business, SentWrites], monkeypatch: pytest.MonkeyPatch
) -> None:
    business, sent = observed
    await raise_schema(business.ctx.resources.db)
    commands: list[str] = []
    monkeypatch.setattr(sent, "started", lambda event: commands.append(event.command_name))
    share = Times().share(business.ctx.resources, "w1")
    for _ in range(3):
        await share.beat()
    assert commands == ["update", "aggregate"] * 3
    assert share.lowest_writer == LOWEST_WRITER
    await business.ctx.resources.db["constants"].update_one({"_id": "schema"}, {"$set": {"lowest_writer": 99}})
    await share.beat()
    assert share.lowest_writer == 99
