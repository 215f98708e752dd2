"""The command `python -m bench.sealing`: whether sealing keeps up with the fold, and what it costs the fold beside it.

Sealing must keep up at 0.7 of the rate at which a worker folds. So the part of the time that sealing takes for the events of
one second of folding must stay well below 0.3. Memory must not depend on the number of events in an hour.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from app.clock import FixedClock
from app.domain.rollups.levels import Level
from app.domain.rollups.sealing import AT_ONCE, Timing
from app.domain.values.instants import to_ms
from app.flow import SLOT_RANGES
from app.local.servers import mongo_server
from app.resources import open_resources
from app.store.mongo.queries import Doc
from tests.business import Business, open_business
from tests.servers import running_servers
from workers.stages.fold import fold
from workers.stages.seal import seal

from .timing import Processes

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOURS = 48
PASSES = 500
TYPES = ("purchase", "refund", "visit", "scan", "point_add")
SOURCES = ("till", "shop", "app")
CURRENCIES = ("EUR", "USD")
RECORD_BATCH_SIZE = 1_000


def _item(number: int) -> dict[str, object]:
    """Return an event: five types, three sources and two currencies, spread over the hours before now."""
    event_type = TYPES[number % len(TYPES)]
    amount: dict[str, object] = {}
    if event_type in ("purchase", "refund"):
        amount = {"amount": f"{number % 97}.25", "currency": CURRENCIES[number // 5 % 2]}
    return {
        "type": event_type,
        "pass_external_id": f"p{number * 7 % PASSES}",
        "source": SOURCES[number // 3 % len(SOURCES)],
        "external_id": str(number),
        "occurred_at": (NOW - timedelta(seconds=number * 37 % (HOURS * 3_600) + 3_600)).isoformat(),
        "points": 5 if event_type == "point_add" else 0,
        **amount,
    }


async def _record(business: Business, first: int, count: int) -> None:
    for start in range(first, first + count, RECORD_BATCH_SIZE):
        await business.record(*map(_item, range(start, min(start + RECORD_BATCH_SIZE, first + count))))


async def _fold(business: Business) -> None:
    await asyncio.gather(*(fold(business.worker, key) for key in SLOT_RANGES))


async def _seal(business: Business) -> None:
    await seal(business.worker, business.ctx.workspace.id)


async def _fold_and_seal(business: Business) -> None:
    """Fold all that is pending, and meanwhile seal what is ready by the delays of production."""
    business.worker.seals.timing = Timing()
    folding = asyncio.create_task(_fold(business))
    while not folding.done():
        await _seal(business)
        await asyncio.sleep(1.0)
    await folding
    business.worker.seals.timing = AT_ONCE


@click.command(context_settings={"max_content_width": 110})
@click.option("--events", default=10_000, show_default=True, help="Events that each step folds and seals.")
def main(events: int) -> None:
    """Measure the fold alone, sealing alone, and both at once, over 48 hours, five types, three sources, two currencies.

    The last rows seal one hour of few and of many events, with the most memory that Python used.

    \b
    Example:
      python -m bench.sealing --events 20000
    """
    asyncio.run(_run(events))


async def _run(events: int) -> None:
    console, table = Console(width=120), Table()
    for heading in (
        "step",
        "events",
        "seconds",
        "events/s",
        "worker CPU µs/event",
        "store CPU µs/event",
        "MiB at most",
    ):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    with tempfile.TemporaryDirectory(prefix="punchcard-sealing-") as name:
        async with running_servers(Path(name)) as servers, open_resources(servers.settings) as opened:
            console.print(f"Store: {mongo_server(Path(name)).engine}")
            processes = Processes()
            processes.watch("store", servers.mongo.pid)
            processes.watch("bench", None)
            clock = FixedClock(NOW)
            business = await open_business(replace(opened, clock=clock), clock)
            business.worker.seals.timing = AT_ONCE

            async def measure(
                step: str, count: int, run: Callable[[Business], Awaitable[None]], memory: str = ""
            ) -> None:
                cpu, began = processes.cpu(), time.perf_counter()
                await run(business)
                seconds = time.perf_counter() - began
                used = {each: 1e6 * (after - cpu[each]) / count for each, after in processes.cpu().items()}
                row = f"{count:,}", f"{seconds:.1f}", f"{count / seconds:,.0f}"
                table.add_row(step, *row, f"{used['bench']:.0f}", f"{used['store']:.0f}", memory)

            await _record(business, 0, events)
            await measure("fold", events, _fold)
            await measure("seal, 48 hours and their days", events, _seal)
            await _record(business, events, events)
            await measure("fold, with sealing beside it", events, _fold_and_seal)
            # The passes have more events by now, which makes their fold a little dearer.
            await _record(business, 2 * events, events)
            await measure("fold, alone again", events, _fold)
            await _seal(business)
            for count in (events, 4 * events):
                memory = await _seal_one_hour(business, count)
                table.add_row("seal one hour", f"{count:,}", "", "", "", "", f"{memory:.1f}")
    console.print(table)


async def _seal_one_hour(business: Business, count: int) -> float:
    """Store this number of events in an hour of its own, seal it, and return the most memory in MiB that Python took."""
    resources, workspace_id = business.ctx.resources, business.ctx.workspace.id
    hour = NOW - timedelta(days=100, minutes=count)
    begin = datetime(hour.year, hour.month, hour.day, hour.hour, tzinfo=UTC)
    [doc] = await resources.db["events"].find({"workspace": workspace_id, "type": "purchase"}).limit(1).to_list(None)
    docs: list[Doc] = [
        {**doc, "_id": f"event_{count}_{number}", "occurred_at": begin + timedelta(milliseconds=number)}
        for number in range(count)
    ]
    for start in range(0, count, RECORD_BATCH_SIZE):
        await resources.db["events"].insert_many(docs[start : start + RECORD_BATCH_SIZE])
    del docs
    await business.worker.rollup_marks.mark_hours([(workspace_id, Level.HOUR.start_ms(to_ms(begin)))])
    gc.collect()
    tracemalloc.start()
    await _seal(business)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 2**20


if __name__ == "__main__":
    main()
