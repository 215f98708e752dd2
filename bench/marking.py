"""The command `python -m bench.marking`: what the fold pays for the marks by which sealing finds what has changed.

The fold marks the hours of its events in the heads of rollups, and the months of its events in their passes. The sides take
turns: the fold as it is, without the one, without the other, and without both. A side without marks is for this measurement
only: what it folds is never sealed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import itertools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import click
from rich.console import Console
from rich.table import Table

from app.commands.events.record import record_events
from app.domain.fold.derived import Derived
from app.flow import SLOT_RANGES
from app.local.servers import mongo_server
from app.resources import open_resources
from tests.servers import running_servers
from workers.stages import clearing
from workers.stages.fold import fold
from workers.worker import Worker

from .recording import generate_items, to_inputs
from .stock import Stock, create_stock
from .timing import Processes, Run, Side, timed

PASSES = 1_000
STORED = 5_000
HOURS = 10_000
"""Hours over which the events of an import are spread, one for each event."""
_numbers = itertools.count()


@dataclass(frozen=True)
class Input:
    """What one run folds: events on so many passes, of the present or each in an hour of its own.

    The passes are sealed before each run, or are dirty already.
    """

    name: str
    passes: int
    is_import: bool = False
    is_sealed: bool = True


INPUTS = (
    Input("live, 1,000 passes", 1_000),
    Input("live, 1,000 passes that are dirty", 1_000, is_sealed=False),
    Input("live, 100 passes", 100),
    Input("import, 1,000 passes", 1_000, is_import=True),
    Input("import, 100 passes", 100, is_import=True),
)


@contextlib.contextmanager
def without_marks(worker: Worker, *, hours: bool, months: bool) -> Iterator[None]:
    """Fold without marks of hours, of months, or of both while the block runs."""

    async def find_none(*_: Any) -> list[Any]:
        return []

    async def mark_none(_: Any) -> None:
        pass

    def note_none(*_: Any) -> None:
        pass

    with contextlib.ExitStack() as stack:
        if hours:
            stack.enter_context(mock.patch.object(clearing, "find_hours", find_none))
            stack.enter_context(mock.patch.object(worker.rollup_marks, "mark_hours", mark_none))
        if months:
            unchanged = property(lambda derived: derived._card.dirty_months)
            stack.enter_context(mock.patch.object(Derived, "dirty_months", unchanged))
            stack.enter_context(mock.patch.object(Derived, "_note_months", note_none))
        yield


@click.command(context_settings={"max_content_width": 110})
@click.option("--rounds", default=8, show_default=True, help="Measured runs of each side.")
@click.option("--events", default=1_000, show_default=True, help="Events of a run.")
def main(rounds: int, events: int) -> None:
    """Measure the CPU time of the fold with and without the marks of hours and of months, of worker and store.

    \b
    Example:
      python -m bench.marking --rounds 20
    """
    asyncio.run(_run(rounds, events))


async def _run(rounds: int, events: int) -> None:
    console, table = Console(width=120), Table()
    for heading in ("input", "side", "worker ms", "store ms", "both", "more than without"):
        table.add_column(heading, justify="left" if heading in ("input", "side") else "right")
    with tempfile.TemporaryDirectory(prefix="punchcard-marking-") as name:
        async with running_servers(Path(name), durable=True) as servers:
            settings = dataclasses.replace(servers.settings, database="marking", budget_points=0, log_level="WARNING")
            async with open_resources(settings) as resources:
                console.print(
                    f"Store: {mongo_server(Path(name)).engine}. CPU ms of {events:,} events, {rounds} runs each."
                )
                processes = Processes()
                processes.watch("worker", os.getpid())
                processes.watch("store", servers.mongo.pid)
                stock = await create_stock(resources, STORED, PASSES, None, lambda done: None)
                for each in INPUTS:
                    _add_rows(table, each, await _measure(stock, processes, each, events=events, rounds=rounds))
    console.print(table)


async def _measure(stock: Stock, processes: Processes, kind: Input, *, events: int, rounds: int) -> list[Side]:
    worker = Worker.on(stock.ctx.resources)
    marks = {"as it is": (False, False), "without hours": (True, False), "without months": (False, True)}
    marks["without both"] = (True, True)
    sides = [Side(name, units=events) for name in marks]
    for number in range(-1, rounds):
        # Each side is first as often as the others.
        for side in (*sides[number % 4 :], *sides[: number % 4]):
            hours, months = marks[side.name]
            with without_marks(worker, hours=hours, months=months):
                run = await _prepare(stock, worker, kind, events)
                await (timed(side, processes, run) if number >= 0 else run())
            await _clean(stock, is_sealed=kind.is_sealed)
            gc.collect()
    return sides


async def _prepare(stock: Stock, worker: Worker, kind: Input, events: int) -> Run:
    """Record the events of one run, and return the run, which folds them."""
    items = generate_items(stock, events, kind.passes)
    if kind.is_import:
        start = datetime.now(UTC) - timedelta(hours=HOURS + 1)
        for item, number in zip(items, _numbers, strict=False):
            item["occurredAt"] = (start + timedelta(hours=number % HOURS)).isoformat()
    await record_events(stock.ctx, to_inputs(items))

    async def run() -> None:
        await asyncio.gather(*(fold(worker, key) for key in SLOT_RANGES))

    return run


async def _clean(stock: Stock, *, is_sealed: bool) -> None:
    """Empty the outboxes, as publish does. With `is_sealed`, take the marks of months away, as sealing does."""
    passes = stock.ctx.resources.db["passes"]
    await passes.update_many({"pub": {"$gte": 0}}, {"$set": {"out": []}, "$unset": {"pub": "", "made_at": ""}})
    if is_sealed:
        change = {"$unset": {"dirty_months": "", "dirty_from": ""}}
        await passes.update_many({"workspace": stock.ctx.workspace.id, "dirty_from": {"$gte": 0}}, change)


def _add_rows(table: Table, kind: Input, sides: list[Side]) -> None:
    totals = {side.name: 1e3 * sum(side.cpu.values()) / len(side.seconds) for side in sides}
    for side in sides:
        worker, store = (side.units * side.cpu_ms_per_unit(name) for name in ("worker", "store"))
        more = 100 * (totals[side.name] / totals["without both"] - 1)
        table.add_row(kind.name, side.name, f"{worker:.0f}", f"{store:.0f}", f"{worker + store:.0f}", f"{more:+.1f} %")


if __name__ == "__main__":
    main()
