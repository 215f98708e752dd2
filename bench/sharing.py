"""The part `workers`: one backlog worked off by one worker process and by two.

The events wait outside the index of the fold until all workers have read each other's heartbeats. So the figures contain no
start of a process.

On two processors, the store and one worker use almost all of both, so a second worker cannot save time there. The CPU time
of the busiest worker shows how the workers divide the work, whatever else the machine has to do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from app.clock import system_ms
from app.commands.events.record import record_events
from app.config.settings import Settings
from app.domain.ids import SLOTS
from app.local.processes import Child
from app.store.operations.heartbeats import Heartbeats
from tests.servers import worker

from .recording import generate_items, to_inputs
from .stock import Stock
from .timing import Processes, Side, timed

BATCH_SIZE = 1_000
POLL_INTERVAL_SECONDS = 0.05
PUBLISHED_INTERVAL_SECONDS = 0.3
"""The time between two looks for unpublished passes. On the embedded servers, a look reads all of them."""


async def measure_sharing(
    stock: Stock, settings: Settings, processes: Processes, events: int, counts: tuple[int, ...], rounds: int
) -> list[Side]:
    """Measure one side for each number of workers: the time until a backlog of events is folded and published."""
    sides = [Side(f"{count} worker{'s' if count > 1 else ''}", units=events) for count in counts]
    for _ in range(rounds):
        for count, side in zip(counts, sides, strict=True):
            await _store_hidden_backlog(stock, events)
            async with run_workers(stock, settings, count) as workers:
                names = [f"worker {number}" for number in range(count)]
                for name, child in zip(names, workers, strict=True):
                    processes.watch(name, child.pid)
                await timed(side, processes, lambda: _work_off(stock))
                add_up(side, processes, names, "worker")
    return sides


def add_up(side: Side, processes: Processes, names: Sequence[str], kind: str) -> None:
    """Replace the CPU times of processes of one kind by those of all together, and of the busiest. Forget the processes."""
    spent = [side.cpu.pop(name) for name in names]
    for name, used in ((f"{kind}s", sum(spent)), (f"busiest {kind}", max(spent))):
        side.cpu[name] = side.cpu.get(name, 0.0) + used
    processes.forget(*names)


async def _store_hidden_backlog(stock: Stock, events: int) -> None:
    for _ in range(events // BATCH_SIZE):
        await record_events(stock.ctx, to_inputs(generate_items(stock, BATCH_SIZE, len(stock.passes))))
    for slot in range(SLOTS):
        await stock.ctx.resources.db["events"].update_many({"pend": slot}, {"$set": {"pend": -1 - slot}})


async def _work_off(stock: Stock) -> None:
    db = stock.ctx.resources.db
    for slot in range(SLOTS):
        await db["events"].update_many({"pend": -1 - slot}, {"$set": {"pend": slot}})
    # Ask one slot after the other: for all at once, the embedded servers read all that waits.
    for slot in range(SLOTS):
        while await db["events"].find_one({"pend": slot}, {"_id": 1}) is not None:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
    while await db["passes"].find_one({"pub": {"$gte": 0}}, {"_id": 1}) is not None:
        await asyncio.sleep(PUBLISHED_INTERVAL_SECONDS)


@contextlib.asynccontextmanager
async def run_workers(stock: Stock, settings: Settings, count: int) -> AsyncIterator[list[Child]]:
    """Run worker processes in a block, which begins when all of them share the work."""
    children: list[Child] = [worker(settings) for _ in range(count)]
    heartbeats = Heartbeats(stock.ctx.resources.db)
    try:
        for child in children:
            await child.start()
        while len((await heartbeats.sharing(system_ms())).workers) < count:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        # Each worker reads the others' heartbeats with its own, once a second.
        await asyncio.sleep(2)
        yield children
    finally:
        for child in children:
            await child.stop()
