"""`python -m bench`: see `python -m bench --help`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from app.embedded import mongo_server
from app.resources import Resources, open_resources
from tests.servers import running_servers

from .folding import folding
from .recording import history, recording
from .stock import Stock, stocked
from .tables import Report
from .timing import Processes
from .windows import windows

PARTS = ("record", "history", "fold", "window")


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "--events",
    "sizes",
    multiple=True,
    type=int,
    help="Stored events to measure at; may be repeated.  [default: 10000 and 500000]",
)
@click.option("--quick", is_flag=True, help="Only at 10,000 stored events, and fewer rounds: about a minute.")
@click.option("--only", "parts", multiple=True, type=click.Choice(PARTS), help="Measure only this; may be repeated.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Also write the figures there.")
def main(sizes: tuple[int, ...], quick: bool, parts: tuple[str, ...], file: Path | None) -> None:
    """Measure Punchcard beside the bare writes and reads it cannot avoid, in turns, against the same store.

    \b
    record   a batch of 1,000 events and a single one: bare inserts of the same documents with the same indexes, the
             command called in process
    history  the newest 50 events of a pass: a bare find, the query in process
    fold     1,000 events over 1,000 passes and over 50: the writes it cannot avoid sent bare in bulk, the fold
    window   one event more for a pass with 20 and with 20,000 events inside the window of a segment

    A ratio is a side's speed over the first side's. The store is the one `punchcard up` would take: a server on PATH, else
    the embedded one.

    \b
    Examples:
      python -m bench --quick
      python -m bench --events 10000 --only fold --json figures.json
    """
    chosen = (10_000,) if quick and not sizes else sizes or (10_000, 500_000)
    asyncio.run(_run(chosen, parts or PARTS, 5 if quick else 15, file))


async def _run(sizes: tuple[int, ...], parts: tuple[str, ...], rounds: int, file: Path | None) -> None:
    console = Console(width=max(120, Console().width))
    with tempfile.TemporaryDirectory(prefix="punchcard-bench-") as folder:
        async with running_servers(Path(folder), durable=True) as servers:
            engine = mongo_server(Path(folder)).engine
            assert servers.mongo.pid is not None
            processes = Processes({"bench": os.getpid(), "store": servers.mongo.pid})
            report = Report(console, processes)
            console.print(f"Store: {engine}; {os.cpu_count()} processors; Python {sys.version.split()[0]}\n")
            if "window" in parts:
                async with open_resources(servers.settings) as resources:
                    sides = await windows(resources, processes, (20, 20_000), 6)
                report.add("One event more for a pass, recorded and folded", sides, "event", 1 / 3)
            for size in sizes if set(parts) - {"window"} else ():
                settings = dataclasses.replace(servers.settings, database=f"bench{size}")
                async with open_resources(settings) as resources:
                    await _measured(report, resources, size, parts, rounds)
    if file is not None:
        file.write_text(json.dumps(report.rows, indent=2) + "\n")


async def _measured(report: Report, resources: Resources, size: int, parts: tuple[str, ...], rounds: int) -> None:
    label = f"at {size:,} stored events"
    stock = await _stocked(report.console, resources, size)
    processes = report.processes
    report.memory(f"Memory {label}")
    if "record" in parts:
        report.add(f"A batch of 1,000 {label}", await recording(stock, processes, None, 1_000, rounds), "event", 0.5)
        report.add(f"A single event {label}", await recording(stock, processes, None, 1, rounds), "event", 0.5)
    if "history" in parts:
        report.add(f"A page of 50 events {label}", await history(stock, processes, None, rounds), "page", 0.5)
    if "fold" in parts:
        for passes in (1_000, 50):
            sides = await folding(stock, processes, passes, rounds)
            report.add(f"The fold of 1,000 events over {passes:,} passes {label}", sides, "event", 0.7)


async def _stocked(console: Console, resources: Resources, size: int) -> Stock:
    bare = resources.db.client[f"{resources.settings.database}-bare"]
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"Storing {size:,} events", total=size)
        return await stocked(resources, size, bare, lambda done: progress.update(task, completed=done))


if __name__ == "__main__":
    main()
