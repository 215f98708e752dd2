"""The command `python -m bench.keeping_up`: whether one worker seals in time while it folds for minutes on end.

First one worker folds a backlog: that gives the highest rate at which it folds. Then events arrive at a part of this rate.
Now and then a batch of them has occurred in one of the last hours, as if a till had been offline. It makes an hour dirty
that has ended. The command looks at the heads all the while, and prints for how long an ended hour was dirty before it was
sealed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console

from app.clock import system_ms
from app.commands.events.record import record_events
from app.domain.ids import SLOTS
from app.domain.rollups.levels import Level
from app.domain.values.instants import HOUR_MS, from_ms, to_ms
from app.local.servers import mongo_server
from app.resources import open_resources
from app.store.mongo.queries import Database
from tests.servers import running_servers, worker

from .recording import generate_items, to_inputs
from .stock import Stock, create_stock
from .timing import Processes

PASSES = 1_000
BATCH_SIZE = 500
LATE_SHARE = 20
"""One batch of so many has occurred in an hour that has ended."""
LATE_HOURS = 3
LOOK_SECONDS = 0.5
MOST_SECONDS = 60.0
"""An hour that has ended must not be dirty for longer."""


class DirtyHours:
    """For how many seconds hours that have ended were dirty without a seal in between."""

    def __init__(self, workspace_id: str) -> None:
        self._workspace_id = workspace_id
        self._since: dict[int, tuple[object, float]] = {}
        self.most, self.seals = 0.0, 0

    async def look(self, db: Database) -> None:
        """Read the heads of the last hours and count those that were sealed since the last look."""
        now_ms = system_ms()
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
def main(minutes: float, share: float, backlog: int) -> None:
    """Tell for how long hours that have ended are dirty while events arrive at a part of the rate of one worker.

    \b
    Example:
      python -m bench.keeping_up --minutes 10
    """
    asyncio.run(_run(minutes, share, backlog))


async def _run(minutes: float, share: float, backlog: int) -> None:
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="punchcard-keeping-up-") as name:
        async with running_servers(Path(name), durable=True) as servers:
            settings = dataclasses.replace(servers.settings, database="keeping", budget_points=0, log_level="WARNING")
            async with open_resources(settings) as resources:
                stock = await create_stock(resources, PASSES, PASSES, None, lambda done: None)
                processes = Processes()
                processes.watch("store", servers.mongo.pid)
                await _record(stock, backlog)
                child = worker(settings)
                await child.start()
                try:
                    processes.watch("worker", child.pid)
                    rate = await _rate_of(resources.db, backlog)
                    console.print(
                        f"Store: {mongo_server(Path(name)).engine}. One worker folds {rate:,.0f} events a second."
                    )
                    await _keep_up(stock, processes, console, minutes=minutes, rate=share * rate)
                finally:
                    await child.stop()


async def _record(stock: Stock, count: int, hours_late: int = 0) -> None:
    """Record events that have occurred so many hours ago."""
    for start in range(0, count, BATCH_SIZE):
        items = generate_items(stock, min(BATCH_SIZE, count - start), PASSES)
        for item in items:
            item["occurredAt"] = (datetime.now(UTC) - timedelta(hours=hours_late)).isoformat()
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


async def _count_pending(db: Database) -> int:
    return await db["events"].count_documents({"pend": {"$gte": 0, "$lt": SLOTS}})


async def _keep_up(stock: Stock, processes: Processes, console: Console, *, minutes: float, rate: float) -> None:
    db, hours = stock.ctx.resources.db, DirtyHours(stock.ctx.workspace.id)
    began, cpu, recorded, batches = time.monotonic(), processes.cpu(), 0, 0
    end = began + 60 * minutes

    async def watch() -> None:
        while time.monotonic() < end:
            await hours.look(db)
            await asyncio.sleep(LOOK_SECONDS)

    watching = asyncio.create_task(watch())
    while (now := time.monotonic()) < end:
        if (count := min(int(rate * (now - began)) - recorded, 10 * BATCH_SIZE)) > 0:
            number, rest = divmod(batches, LATE_SHARE)
            await _record(stock, count, 1 + number % LATE_HOURS if rest == 0 else 0)
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
