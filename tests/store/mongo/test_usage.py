"""What one operation may take from the store: calls at once, time and bytes, in turns with other operations."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from app.domain.errors import OperationTooLarge, Throttled, Unavailable
from app.resources import Resources
from app.store.mongo import usage as usage_module
from app.store.mongo.capacity import READ_GRACE_SECONDS, StoreCapacity
from app.store.mongo.paging import charge_examined, count_matching
from app.store.mongo.queries import translating_errors
from app.store.mongo.shares import Call
from app.store.mongo.usage import StoreShares, StoreUsage
from tests.servers import Servers


class Calls:
    """Calls that run until the test releases them, with the names of those that run, in the order of their start."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor
        self._gates: dict[str, threading.Event] = {}
        self.started: list[str] = []
        self.changed = asyncio.Event()

    def submit(self, usage: StoreUsage, name: str) -> asyncio.Future[str]:
        """Submit a call, which returns its name."""
        loop, gate = asyncio.get_running_loop(), threading.Event()
        self._gates[name] = gate

        def run() -> str:
            self.started.append(name)
            loop.call_soon_threadsafe(self.changed.set)
            gate.wait()
            return name

        call = Call(
            loop=loop,
            executor=self._executor,
            run=run,
            is_read=False,
            context=contextvars.copy_context(),
            future=loop.create_future(),
        )
        return usage.submit(call)

    async def wait_for(self, count: int) -> list[str]:
        """Wait until so many calls have started, and return all that have."""
        while len(self.started) < count:
            self.changed.clear()
            await self.changed.wait()
        return self.started

    def release(self, *names: str) -> None:
        """Let calls end: those with the names, or all."""
        for name in names or tuple(self._gates):
            self._gates[name].set()


@pytest.fixture
async def calls() -> AsyncIterator[Calls]:
    """Return calls in 32 threads. All are released at the end."""
    with ThreadPoolExecutor(32) as executor:
        running = Calls(executor)
        yield running
        running.release()


def open_shares(calls_per_workspace: int) -> StoreShares:
    return StoreShares(StoreCapacity(calls_per_workspace=calls_per_workspace))


async def test_operation_runs_8_calls_at_once_and_the_others_in_order(calls: Calls) -> None:
    with open_shares(100).open("w", call_seconds=60.0) as usage:
        futures = [calls.submit(usage, f"{n:02}") for n in range(12)]
        assert sorted(await calls.wait_for(8)) == [f"{n:02}" for n in range(8)]
        calls.release("03")
        assert await futures[3] == "03"
        assert (await calls.wait_for(9))[8:] == ["08"]
        calls.release()
        assert await asyncio.gather(*futures) == [f"{n:02}" for n in range(12)]


async def test_operations_of_a_workspace_take_turns_and_others_do_not_wait(calls: Calls) -> None:
    shares = open_shares(2)
    with (
        shares.open("w", call_seconds=60.0) as large,
        shares.open("w", call_seconds=60.0) as small,
        shares.open("other", call_seconds=60.0) as other,
    ):
        for n in range(6):
            calls.submit(large, f"large {n}")
        calls.submit(small, "small")
        assert sorted(await calls.wait_for(2)) == ["large 0", "large 1"]
        calls.submit(other, "other")
        assert (await calls.wait_for(3))[2:] == ["other"]
        for n, following in enumerate(("large 2", "small", "large 3")):
            calls.release(calls.started[n if n < 2 else 3])
            assert (await calls.wait_for(4 + n))[3 + n :] == [following]
        calls.release()


async def test_workspace_that_examines_much_runs_fewer_calls_while_others_use_the_process(calls: Calls) -> None:
    capacity = StoreCapacity(calls_per_workspace=3, calls_of_heavy_workspace=1, heavy_documents=100)
    shares = StoreShares(capacity)
    with shares.open("heavy", call_seconds=60.0) as heavy, shares.open("heavy", call_seconds=60.0) as second:
        await heavy.charge(1_000_000)
        futures = [calls.submit(heavy, f"alone {n}") for n in range(3)]
        await calls.wait_for(3)
        with shares.open("other", call_seconds=60.0) as other:
            calls.release()
            await asyncio.gather(*futures)
            first = calls.submit(heavy, "heavy 0")
            calls.submit(second, "heavy 1")
            for n in range(3):
                calls.submit(other, f"other {n}")
            assert set((await calls.wait_for(7))[3:]) == {"heavy 0", "other 0", "other 1", "other 2"}
            calls.release("heavy 0")
            await first
            assert (await calls.wait_for(8))[7] == "heavy 1"
            calls.release()


async def test_closed_operation_starts_no_call_and_its_running_calls_keep_their_places(calls: Calls) -> None:
    shares = open_shares(1)
    with shares.open("w", call_seconds=60.0) as cancelled:
        running, waiting = calls.submit(cancelled, "running"), calls.submit(cancelled, "waiting")
        await calls.wait_for(1)
        running.cancel()
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        await calls.submit(cancelled, "late")
    with shares.open("w", call_seconds=60.0) as following:
        future = calls.submit(following, "following")
        assert calls.started == ["running"]
        calls.release("running")
        assert await calls.wait_for(2) == ["running", "following"]
        calls.release()
        assert await future == "following"


def find_store(servers: Servers) -> psutil.Process:
    process = servers.mongo.pid
    assert process is not None
    return psutil.Process(process)


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@pytest.mark.embedded_only("it measures the process of the store")
async def test_read_ends_in_the_store_with_the_time_of_its_operation(resources: Resources, servers: Servers) -> None:
    """The store is asked to end the read: it does not go on after the operation has ended."""
    collection = resources.db["documents"]
    await collection.insert_many([{"n": n} for n in range(2_000)])
    many: list[dict[str, Any]] = [{"$addFields": {"m": {"$range": [0, 100]}}}, {"$unwind": "$m"}, {"$count": "n"}]
    store, shares = find_store(servers), StoreShares()
    began = cpu_seconds(store)
    assert await collection.aggregate(many).to_list(None) == [{"n": 200_000}]
    full = cpu_seconds(store) - began
    began = cpu_seconds(store)
    with (
        pytest.raises(Unavailable),
        shares.open("w", call_seconds=60.0, remaining_seconds=lambda: 0.01 - READ_GRACE_SECONDS) as usage,
        usage.active(),
        translating_errors(),
    ):
        await collection.aggregate(many).to_list(None)
    await collection.find_one({})
    assert cpu_seconds(store) - began < full / 2


async def test_write_has_no_time_limit(resources: Resources) -> None:
    collection = resources.db["documents"]
    with StoreShares().open("w", call_seconds=60.0, remaining_seconds=lambda: -1.0) as usage, usage.active():
        await collection.insert_many([{"n": n} for n in range(100)])
    assert await collection.count_documents({}) == 100


async def test_operation_that_reads_too_many_bytes_fails(resources: Resources) -> None:
    collection = resources.db["documents"]
    await collection.insert_many([{"text": "x" * 10_000} for _ in range(60)])
    with StoreShares().open("w", call_seconds=60.0, max_bytes=200_000) as usage, usage.active():
        assert len(await collection.find({}).limit(15).to_list(None)) == 15
        with pytest.raises(OperationTooLarge) as raised:
            await collection.find({}).limit(15).to_list(None)
        assert (raised.value.limit, raised.value.most) == ("readBytes", 200_000)
        with pytest.raises(OperationTooLarge):
            await collection.find_one({})


async def test_workspace_that_holds_too_much_is_throttled_until_an_operation_ends(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_module, "MAX_WORKSPACE_BYTES", 2_000_000)
    collection, shares = resources.db["documents"], StoreShares()
    await collection.insert_many([{"text": "x" * 10_000} for _ in range(120)])

    async def read(usage: StoreUsage, limit: int) -> int:
        with usage.active():
            return len(await collection.find({}).limit(limit).to_list(None))

    with shares.open("w", call_seconds=60.0) as first:
        assert await read(first, 120) == 120
        with shares.open("w", call_seconds=60.0) as second:
            assert await read(second, 5) == 5
            with pytest.raises(Throttled):
                await read(second, 120)
        with shares.open("other", call_seconds=60.0) as other:
            assert await read(other, 120) == 120
    with shares.open("w", call_seconds=60.0) as third:
        assert await read(third, 120) == 120


async def test_count_is_charged_by_what_the_store_examines(resources: Resources) -> None:
    """With a field outside the index, the charge comes before the documents are read; otherwise after the count."""
    charged: list[int] = []
    owed: list[int] = []
    collection = resources.db["events"]
    await collection.insert_many([{"workspace": "w", "occurred_at": n, "k": n % 2} for n in range(100)])

    async def charge(points: int) -> None:
        charged.append(points)

    shares = StoreShares(StoreCapacity(examined_per_point=5, counted_per_point=50))
    options: dict[str, Any] = {"call_seconds": 60.0, "points": 10, "charge": charge, "owe": owed.append}
    query = {"workspace": "w", "occurred_at": {"$gte": 0}}
    with shares.open("w", max_points=40, **options) as usage, usage.active():
        assert await count_matching(collection, {**query, "k": 1}, ("workspace",), "occurred_at") == 50
        assert await count_matching(collection, query, ("workspace",), "occurred_at") == 100
        assert (charged, owed, usage.examined_points) == ([20], [2], 22)
        with pytest.raises(OperationTooLarge) as raised:
            await charge_examined(collection, query)
    assert (raised.value.limit, raised.value.most, charged) == ("cost", 40, [20])
