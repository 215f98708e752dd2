"""The command `python -m bench.keeping_up`: whether one worker seals in time while it folds for minutes on end.

First one worker folds a backlog: that gives the highest rate at which it folds. With `--arriving`, events are recorded as
fast as the worker folds them instead: on one machine, both share its processors. Then events arrive at a part of this rate.
The business clock is set so that an hour ends in the middle of that time. With `--late-share 20`, one batch of 20 has
occurred in one of the last hours, as if a till had been offline. It makes an hour dirty that has ended. The command looks
at the heads all the while, and prints for how long an hour that has ended was dirty before it was sealed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console

from app.clock import system_ms
from app.commands.events.record import record_events
from app.domain.ids import SLOTS
from app.domain.rollups.levels import Level
from app.domain.values.instants import HOUR_MS, from_ms, to_ms
from app.local.servers import mongo_server
from app.resources import open_resources
from app.store.clock import MongoClock
from app.store.mongo.queries import Database
from tests.servers import running_servers, worker

from .recording import generate_items, to_inputs
from .stock import Stock, create_stock
from .timing import Processes

PASSES = 1_000
BATCH_SIZE = 500
LATE_HOURS = 3
"""Hours that have ended and get late events."""
LOOK_SECONDS = 0.5
ARRIVING_SECONDS = 45.0
"""For how long the highest rate is measured while events arrive."""
MOST_SECONDS = 60.0
"""An hour that has ended must not be dirty for longer."""


class Arrivals(NamedTuple):
    """For how many minutes events arrive, and how many in a second. One batch of `late_share` is late; 0 for none."""

    minutes: float
    rate: float
    late_share: int

    def hours_late(self, batch: int) -> int:
        """Return how many hours ago the events of a batch have occurred."""
        number, rest = divmod(batch, self.late_share) if self.late_share else (0, 1)
        return 1 + number % LATE_HOURS if rest == 0 else 0


class BusinessTime:
    """The business clock of the store, which the command moves as real time passes."""

    def __init__(self, db: Database, start_ms: int) -> None:
        self._clock = MongoClock(db)
        self.now_ms = start_ms

    async def move(self, now_ms: int) -> None:
        """Move the clock forward."""
        await self._clock.set(from_ms(now_ms))
        self.now_ms = now_ms


class DirtyHours:
    """For how many seconds hours that have ended were dirty without a seal in between."""

    def __init__(self, workspace_id: str) -> None:
        self._workspace_id = workspace_id
        self._since: dict[int, tuple[object, float]] = {}
        self.most, self.seals = 0.0, 0

    async def look(self, db: Database, now_ms: int) -> None:
        """Read the heads of the last hours and count those that were sealed since the last look."""
        first = from_ms(Level.HOUR.start_ms(now_ms) - (LATE_HOURS + 1) * HOUR_MS)
        where = {"workspace": self._workspace_id, "level": Level.HOUR.value, "start": {"$gte": first}}
        now = time.monotonic()
        for head in await db["rollup_heads"].find(where).to_list(None):
            start_ms = to_ms(head["start"])
            if start_ms + HOUR_MS > now_ms:
                continue
            token, since = self._since.get(start_ms, (head.get("sealed"), now))
            self.most = max(self.most, now - since)
            if head.get("sealed") != token:
                self.seals += 1
                since = now
            if head.get("dirty") is None:
                since = now
            self._since[start_ms] = head.get("sealed"), since


@click.command(context_settings={"max_content_width": 110})
@click.option("--minutes", default=1.0, show_default=True, help="For how long events arrive.")
@click.option("--share", default=0.7, show_default=True, help="Rate of the events, as a part of the highest rate.")
@click.option("--backlog", default=5_000, show_default=True, help="Events by which the highest rate is measured.")
@click.option("--late-share", default=0, show_default=True, help="One batch of so many is late; 0 for none.")
@click.option("--arriving", is_flag=True, help="Measure the highest rate while events are recorded, too.")
def main(minutes: float, share: float, backlog: int, late_share: int, arriving: bool) -> None:
    """Tell for how long hours that have ended are dirty while events arrive at a part of the rate of one worker.

    \b
    Example:
      python -m bench.keeping_up --minutes 10
    """
    asyncio.run(_run(minutes, share, backlog, late_share=late_share, arriving=arriving))


async def _run(minutes: float, share: float, backlog: int, *, late_share: int, arriving: bool) -> None:
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="punchcard-keeping-up-") as name:
        async with running_servers(Path(name), durable=True) as servers:
            settings = dataclasses.replace(
                servers.settings, database="keeping", budget_points=0, log_level="WARNING", clock="manual"
            )
            async with open_resources(settings) as resources:
                end_ms = Level.HOUR.start_ms(system_ms()) + HOUR_MS
                time_of_business = BusinessTime(resources.db, end_ms - int(30_000 * minutes))
                await time_of_business.move(time_of_business.now_ms)
                stock = await create_stock(resources, PASSES, PASSES, None, lambda done: None)
                processes = Processes()
                processes.watch("store", servers.mongo.pid)
                await _record(stock, time_of_business.now_ms, backlog)
                child = worker(settings)
                await child.start()
                try:
                    processes.watch("worker", child.pid)
                    rate = await _rate_of(resources.db, backlog)
                    console.print(
                        f"Store: {mongo_server(Path(name)).engine}. One worker folds {rate:,.0f} events a second."
                    )
                    if arriving:
                        rate = await _rate_of_arriving(stock, time_of_business, backlog)
                        console.print(f"While events are recorded, it folds {rate:,.0f} a second.")
                    arrivals = Arrivals(minutes, share * rate, late_share)
                    await _keep_up(stock, time_of_business, arrivals, processes=processes, console=console)
                finally:
                    await child.stop()


async def _record(stock: Stock, occurred_ms: int, count: int) -> None:
    """Record events that have occurred one after the other, up to an instant."""
    for start in range(0, count, BATCH_SIZE):
        items = generate_items(stock, min(BATCH_SIZE, count - start), PASSES)
        for number, item in enumerate(items):
            item["occurredAt"] = from_ms(occurred_ms - number).isoformat()
        await record_events(stock.ctx, to_inputs(items))


async def _rate_of(db: Database, backlog: int) -> float:
    """Return how many events of the backlog the worker folds in a second, from the first one that it has folded."""
    before = first = await _count_pending(db)
    began = time.monotonic()
    while before == backlog:
        await asyncio.sleep(0.1)
        began, before = time.monotonic(), await _count_pending(db)
        first = before
    while await _count_pending(db):
        await asyncio.sleep(LOOK_SECONDS)
    return first / (time.monotonic() - began)


async def _rate_of_arriving(stock: Stock, time_of_business: BusinessTime, backlog: int) -> float:
    """Return how many events the worker folds in a second while they are recorded as fast as it folds them.

    About `backlog` events are pending all the time. The first third of the time does not count.
    """
    db = stock.ctx.resources.db
    recorded, counted, pending = 0, 0, 0
    began = counts_from = time.monotonic()
    while (now := time.monotonic()) - began < ARRIVING_SECONDS:
        left = await _count_pending(db)
        if now - began < ARRIVING_SECONDS / 3:
            counts_from, counted, pending = time.monotonic(), recorded, left
        if left < backlog:
            await _record(stock, time_of_business.now_ms, 2 * BATCH_SIZE)
            recorded += 2 * BATCH_SIZE
        else:
            await asyncio.sleep(0.05)
    left = await _count_pending(db)
    rate = (recorded - counted + pending - left) / (time.monotonic() - counts_from)
    while await _count_pending(db):
        await asyncio.sleep(LOOK_SECONDS)
    return rate


async def _count_pending(db: Database) -> int:
    return await db["events"].count_documents({"pend": {"$gte": 0, "$lt": SLOTS}})


async def _keep_up(
    stock: Stock, time_of_business: BusinessTime, arrivals: Arrivals, *, processes: Processes, console: Console
) -> None:
    db, hours = stock.ctx.resources.db, DirtyHours(stock.ctx.workspace.id)
    began, cpu, recorded, batches = time.monotonic(), processes.cpu(), 0, 0
    start_ms, end = time_of_business.now_ms, began + 60 * arrivals.minutes

    async def watch() -> None:
        while (now := time.monotonic()) < end:
            await time_of_business.move(start_ms + int(1_000 * (now - began)))
            await hours.look(db, time_of_business.now_ms)
            await asyncio.sleep(LOOK_SECONDS)

    watching = asyncio.create_task(watch())
    while (now := time.monotonic()) < end:
        if (count := min(int(arrivals.rate * (now - began)) - recorded, 10 * BATCH_SIZE)) > 0:
            hours_late = arrivals.hours_late(batches)
            await _record(stock, time_of_business.now_ms - hours_late * HOUR_MS, count)
            recorded, batches = recorded + count, batches + 1
        await asyncio.sleep(LOOK_SECONDS)
    await watching
    seconds = time.monotonic() - began
    used = {name: 1e3 * (spent - cpu[name]) / recorded for name, spent in processes.cpu().items()}
    console.print(f"{recorded:,} events in {seconds:,.0f} s; {await _count_pending(db):,} of them pending at the end.")
    console.print(f"CPU ms an event: worker {used['worker']:.2f}, store {used['store']:.2f}.")
    mark = "[green]" if hours.most <= MOST_SECONDS else "[red]"
    console.print(
        f"Hours that have ended were sealed {hours.seals:,} times, and were dirty for {mark}{hours.most:.0f} s[/] at most "
        f"(target {MOST_SECONDS:.0f} s)."
    )


if __name__ == "__main__":
    main()
