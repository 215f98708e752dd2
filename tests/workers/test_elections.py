"""A primary that is elected in the middle of a round: the reads before and after do not fit together."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from bson import Int64, ObjectId

from app.clock import FixedClock, system_ms
from app.commands.jobs.exports import export_activities
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass
from app.commands.webhooks.endpoints import create_webhook_endpoint
from app.domain.activity_queries import ActivityQuery
from app.domain.errors import Conflict, Unavailable
from app.domain.events.tombstones import merge_id
from app.domain.files.exports import ExportFormat
from app.domain.ids import slot_of
from app.domain.jobs import JobStatus
from app.flow import SLOT_RANGES, range_of
from app.resources import Resources, open_resources
from app.store.workspace.vocabulary import TYPE
from tests.business import Business, open_business
from tests.patience import wait_until
from tests.receiver import run_receiver
from tests.wire.framing import Command, Doc
from tests.wire.proxy import CloseConnection, Forward, Listener, rule
from tests.workers.jobs.test_exports import read_lines
from workers.stages.deliver import run_endpoint
from workers.stages.erase import erase
from workers.stages.fold import fold
from workers.stages.forget import forget
from workers.stages.publish import publish
from workers.stages.run_job import jobs
from workers.worker import Worker

HOUR_MS = 3_600_000
pytestmark = pytest.mark.embedded_only("the proxy stands before a store on this machine")


@dataclass
class ReplicaSet:
    """A proxy that says it is the primary of a replica set. An election closes all connections."""

    listener: Listener = field(init=False)
    election: ObjectId = field(default_factory=ObjectId)

    def start_with(self, upstream: int, on_read: Callable[[Command], Doc | None]) -> None:
        """Prepare the proxy. `on_read` is called for each read of a client, and may return another answer."""

        @rule("hello", "isMaster", "ismaster")
        async def greet(command: Command, forward: Forward) -> Doc:
            me = f"127.0.0.1:{self.listener.port}"
            primary = {"isWritablePrimary": True, "ismaster": True, "secondary": False, "me": me, "primary": me}
            return {
                **await forward(command),
                **primary,
                "hosts": [me],
                "setName": "rs",
                "setVersion": 1,
                "electionId": self.election,
            }

        @rule("find", "aggregate")
        async def read(command: Command, forward: Forward) -> Doc:
            return on_read(command) or await forward(command)

        self.listener = Listener(("127.0.0.1", upstream), [greet, read])

    def elect(self) -> None:
        """Let another primary be elected, at the same address. Raises CloseConnection."""
        self.election = ObjectId()
        self.listener.disconnect()
        raise CloseConnection


@dataclass
class ElectionDuringRead:
    """An election at the first read of a collection. The new primary answers the repeated read with an old state.

    Only reads by `field` count, and the old state contains no document for them.
    """

    collection: str
    field: str
    met: int = 0

    def __call__(self, replica_set: ReplicaSet, command: Command) -> Doc | None:
        """Return the answer of the new primary, or None for that of the store. Raises CloseConnection."""
        body = command.body
        where = body["pipeline"][0].get("$match", {}) if "pipeline" in body else body.get("filter", {})
        if command.collection != self.collection or self.field not in where or self.met == 2:
            return None
        self.met += 1
        if self.met == 1:
            replica_set.elect()
        return no_documents(command)


def no_documents(command: Command) -> Doc:
    """Return the answer to a read that finds nothing."""
    return {"ok": 1.0, "cursor": {"id": Int64(0), "ns": f"{command.database}.{command.collection}", "firstBatch": []}}


async def learn_of_election(worker: Worker) -> None:
    """Wait until both clients of the worker have learned of the last election."""

    async def agree() -> bool:
        with contextlib.suppress(Unavailable):
            await worker.sharing.beat()
        return worker.has_same_primary(worker.last_election(), essential=True)

    await wait_until(agree)


@asynccontextmanager
async def in_replica_set(
    business: Business, on_read: Callable[[ReplicaSet, Command], Doc | None]
) -> AsyncIterator[Business]:
    """Yield the business in a process whose store is a replica set."""
    replica_set, resources = ReplicaSet(), business.ctx.resources
    upstream = urlsplit(resources.settings.mongodb_uri or "").port
    assert upstream is not None
    replica_set.start_with(upstream, lambda command: on_read(replica_set, command))
    await replica_set.listener.start()
    uri = f"mongodb://127.0.0.1:{replica_set.listener.port}/?replicaSet=rs&serverMonitoringMode=poll&heartbeatFrequencyMS=500"
    try:
        async with open_resources(dataclasses.replace(resources.settings, mongodb_uri=uri)) as opened:
            behind = dataclasses.replace(opened, clock=resources.clock)
            workspace = behind.workspace(business.ctx.workspace.id)
            ctx = dataclasses.replace(business.ctx, resources=behind, workspace=workspace)
            yield Business(ctx, Worker.on(behind), business.clock)
    finally:
        await replica_set.listener.stop()


async def test_round_in_which_a_primary_is_elected_writes_no_pass(business: Business) -> None:
    """The driver repeats the read that asks which events are pending. The new primary answers it."""
    await business.record({"amount": 5})
    key = range_of(slot_of((await business.read_pass()).id))
    elections: list[Command] = []

    def elect_once(replica_set: ReplicaSet, command: Command) -> None:
        asks_what_is_pending = command.collection == "events" and "$in" in str(command.body["filter"].get("_id", ""))
        if asks_what_is_pending and not elections:
            elections.append(command)
            replica_set.elect()

    async with in_replica_set(business, elect_once) as behind:
        before = behind.worker.last_election()
        assert before is not None
        with pytest.raises(Unavailable):
            await fold(behind.worker, key)
        assert len(elections) == 1
        assert behind.worker.last_election() != before
        assert (await business.read_pass()).aggregates == {}
        await fold(behind.worker, key)
    assert (await business.read_pass()).aggregates["purchase", "USD"].count == 1


async def test_export_misses_no_activity_when_a_primary_is_elected(business: Business) -> None:
    await business.record({}, {}, {})
    await business.run_worker()
    job = await export_activities(business.ctx, ActivityQuery(include_silent=True), ExportFormat.JSONL)
    election = ElectionDuringRead("activities", "pos")
    async with in_replica_set(business, election) as behind:
        with pytest.raises(Unavailable):
            await jobs(behind.worker, job.id)
        assert election.met == 2
        await learn_of_election(behind.worker)
        # The release of the lease may meet the election, too. The lease then ends by itself, after 10 s.
        await business.ctx.resources.db["jobs"].update_one({"_id": job.id}, {"$set": {"lease": 0}})
        await jobs(behind.worker, job.id)
    found = await business.ctx.workspace.jobs.get(job.id)
    assert found is not None
    assert found.status is JobStatus.SUCCEEDED
    assert len(await read_lines(business, found)) == len(await business.read_log())


async def test_delivery_is_not_idle_when_a_primary_is_elected(resources: Resources, clock: FixedClock) -> None:
    """The new primary shows no activity. Without new work, nothing would start another delivery."""
    settings = dataclasses.replace(resources.settings, egress_allow=("127.0.0.1",))
    business = await open_business(dataclasses.replace(resources, settings=settings), clock)
    election = ElectionDuringRead("activities", "pos")
    async with run_receiver() as receiver:
        endpoint, _ = await create_webhook_endpoint(business.ctx, receiver.url)
        await business.record({})
        await business.run_worker()
        async with in_replica_set(business, election) as behind:
            for deliveries in (0, len(await business.read_log())):
                await run_endpoint(behind.worker, endpoint.id, lambda: system_ms() + HOUR_MS)
                assert len(receiver.ids) == deliveries
                lane = await business.ctx.resources.db["webhook_lanes"].find_one({"_id": endpoint.id})
                assert lane is not None
                assert ("at" in lane) == (deliveries == 0)
        assert election.met == 2


async def test_erasure_is_not_finished_when_a_primary_is_elected(business: Business) -> None:
    """The new primary shows no event of the pass. Its events must be stubs before the pass is forgotten."""
    await business.record({}, {}, {})
    await business.run_worker()
    card = await business.read_pass()
    await erase_pass(business.ctx, pass_id=card.id)
    for key in SLOT_RANGES:
        await fold(business.worker, key)
    await publish(business.worker, business.ctx.workspace.id)
    db = business.ctx.resources.db
    async with in_replica_set(business, ElectionDuringRead("passes", "alias_of")) as behind:
        with pytest.raises(Unavailable):
            await erase(behind.worker, card.id)
        assert await db["erasures"].count_documents({}) == 0
        await erase(behind.worker, card.id)
    assert await db["erasures"].count_documents({}) == 1
    assert await db["events"].count_documents({"type": "purchase"}) == 0


async def test_activities_of_an_erased_pass_are_emptied_although_a_primary_is_elected(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new primary shows no activity. The round that waits for the caches of other processes must not finish then."""
    await business.record({}, {}, {})
    await business.run_worker()
    card = await business.read_pass()
    await erase_pass(business.ctx, pass_id=card.id)
    for key in SLOT_RANGES:
        await fold(business.worker, key)
    await publish(business.worker, business.ctx.workspace.id)
    async with in_replica_set(business, ElectionDuringRead("activities", "pass")) as behind:
        monkeypatch.setattr("workers.stages.erase.CACHE_EXPIRY_SECONDS", 3_600)
        with pytest.raises(Unavailable):
            await erase(behind.worker, card.id)
        monkeypatch.setattr("workers.stages.erase.CACHE_EXPIRY_SECONDS", 0)
        await erase(behind.worker, card.id)
    db = business.ctx.resources.db
    assert await db["erasures"].count_documents({}) == 1
    assert await db["activities"].distinct("data") == [{"erased": True}]


async def test_merges_form_no_cycle_when_a_primary_is_elected(business: Business) -> None:
    """The new primary does not show the tombstone of the first merge when the second one looks for it."""
    await business.create_passes("ann", "bob")
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    finds: list[Command] = []

    def hide_merge(replica_set: ReplicaSet, command: Command) -> Doc | None:
        if command.body["filter"].get("_id") != merge_id(ids["bob"]) or len(finds) == 2:
            return None
        finds.append(command)
        if len(finds) == 1:
            replica_set.elect()
        return no_documents(command)

    async with in_replica_set(business, hide_merge) as behind:
        with pytest.raises(Conflict):
            await merge_passes(behind.ctx, ids["bob"], ids["ann"])
    assert len(finds) == 2
    await business.run_worker()
    assert (await business.read_pass("bob")).id == ids["ann"]


async def test_word_of_an_event_is_not_forgotten_when_a_primary_is_elected(business: Business) -> None:
    """The new primary does not show the event."""
    await business.record({})
    vocabulary = business.ctx.workspace.vocabulary
    await vocabulary.doubt([(TYPE, "purchase")])
    async with in_replica_set(business, ElectionDuringRead("events", "type")) as behind:
        with pytest.raises(Unavailable):
            await forget(behind.worker, business.ctx.workspace.id)
        assert await vocabulary.types() == ["purchase"]
        await forget(behind.worker, business.ctx.workspace.id)
    assert (await vocabulary.types(), await vocabulary.doubted()) == (["purchase"], {})


async def test_deliveries_of_an_endpoint_are_kept_when_a_primary_is_elected(business: Business) -> None:
    """A worker that lost its lease asks whether the endpoint was deleted. The new primary does not show it yet."""
    endpoint, _ = await create_webhook_endpoint(business.ctx, "https://hooks.example/in")
    await business.record({})
    await business.run_worker()
    log = await business.read_log()
    await business.ctx.workspace.deliveries.requeue(endpoint.id, log, system_ms())
    deliveries = business.ctx.resources.db["webhook_deliveries"]
    election = ElectionDuringRead("webhook_endpoints", "_id")
    async with in_replica_set(business, election) as behind:
        assert not await behind.ctx.workspace.forget_if_deleted(endpoint.id)
        assert election.met == 2
    assert await deliveries.count_documents({"endpoint": endpoint.id}) == len(log) > 0
    await business.ctx.resources.db["webhook_endpoints"].delete_one({"_id": endpoint.id})
    assert await business.ctx.workspace.forget_if_deleted(endpoint.id)
    assert await deliveries.count_documents({"endpoint": endpoint.id}) == 0


async def test_worker_that_is_connected_directly_learns_of_no_election(proxied: Business) -> None:
    assert proxied.worker.last_election() is None
    proxied.worker.require_same_primary(None)
