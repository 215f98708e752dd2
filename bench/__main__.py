"""`python -m bench`: see `python -m bench --help`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from app.config.settings import Settings
from app.local.servers import free_port, mongo_server
from app.resources import Resources, open_resources
from app.store.mongo.queries import Database
from tests.servers import api, running_servers, worker

from .edge import bare_endpoint, edge
from .folding import folding
from .http import Client
from .idle import event_stream, idle, socket
from .latency import latency
from .recording import history, recording
from .stock import Stock, stocked
from .tables import Report
from .timing import Processes
from .webhooks import webhooks
from .windows import windows

PARTS = ("record", "history", "fold", "window", "latency", "webhooks", "edge", "idle")
MANY_PASSES = 100_000
FOLLOWERS = 1_000


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "--events", "sizes", multiple=True, type=int, help="Stored events to measure at; repeatable.  [10000 and 500000]"
)
@click.option("--quick", is_flag=True, help="Only at 10,000 stored events, fewer rounds: about two minutes.")
@click.option("--only", "parts", multiple=True, type=click.Choice(PARTS), help="Measure only this; may be repeated.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Also write the figures there.")
def main(sizes: tuple[int, ...], quick: bool, parts: tuple[str, ...], file: Path | None) -> None:
    """Measure Punchcard beside the bare writes and reads it cannot avoid, in turns, against the same store.

    \b
    record   a batch of 1,000 events and a single one: bare inserts of the same documents with the same indexes, the
             command called in process, the mutation by HTTP
    history  the newest 50 events of a pass: a bare find, the query in process, the query by HTTP
    fold     1,000 events over 1,000 passes and over 50: the writes it cannot avoid sent bare in bulk, the fold
    window   one event more for a pass with 20 and with 20,000 events inside the window of a segment
    latency  from a mutation by HTTP to a subscriber over WebSocket, also with 100,000 stored passes
    webhooks 1,000 activities sent to one endpoint: bare posts of the same bodies, the delivery
    edge     a small query over eight connections: Strawberry's bare endpoint, the API with every limit and budget on
    idle     the memory that 1,000 subscriptions cost the API while nothing happens, by WebSocket and as event streams

    A ratio is a side's speed over the first side's, by medians. CPU is told by process: `bench` is the client, and for
    what is called in process also the product. The store is the one `punchcard up` would take: a server on PATH, else
    the embedded one.

    \b
    Examples:
      python -m bench --quick
      python -m bench --events 10000 --only fold --json figures.json
    """
    chosen = (10_000,) if quick and not sizes else sizes or (10_000, 500_000)
    asyncio.run(_run(chosen, parts or PARTS, 5 if quick else 15, file))


async def _run(sizes: tuple[int, ...], parts: tuple[str, ...], rounds: int, file: Path | None) -> None:
    console = Console(width=max(130, Console().width))
    with tempfile.TemporaryDirectory(prefix="punchcard-bench-") as folder:
        async with running_servers(Path(folder), durable=True) as servers:
            engine = mongo_server(Path(folder)).engine
            processes = Processes()
            processes.watch("bench", os.getpid())
            processes.watch("store", servers.mongo.pid)
            report = Report(console, processes)
            console.print(f"Store: {engine}; {os.cpu_count()} processors; Python {sys.version.split()[0]}\n")
            # Keys have no budget here: what is measured is the work, not how it is rationed.
            settings = dataclasses.replace(servers.settings, budget_points=0, log_level="WARNING")
            if "window" in parts:
                async with open_resources(settings) as resources:
                    sides = await windows(resources, processes, (20, 20_000), 6)
                report.add("One event more for a pass, recorded and folded", sides, "event", 1 / 3)
            for size in sizes if {"record", "history", "fold"} & set(parts) else ():
                await _at(report, _named(settings, f"bench{size}"), size, parts, rounds)
            if "latency" in parts:
                for passes in (1_000,) if rounds < 10 else (1_000, MANY_PASSES):
                    await _latency(report, _named(settings, f"latency{passes}"), passes, 20 * rounds)
            if "webhooks" in parts:
                await _webhooks(report, _named(settings, "webhooks"), rounds)
            if "edge" in parts:
                await _edge(report, _named(servers.settings, "edge"), Path(folder), rounds)
            if "idle" in parts:
                await _idle(report, _named(settings, "idle"))
    if file is not None:
        file.write_text(json.dumps(report.rows, indent=2) + "\n")


def _named(settings: Settings, database: str) -> Settings:
    return dataclasses.replace(settings, database=database, port=free_port())


async def _at(report: Report, settings: Settings, size: int, parts: tuple[str, ...], rounds: int) -> None:
    label, processes = f"at {size:,} stored events", report.processes
    async with open_resources(settings) as resources:
        bare = resources.db.client[f"{settings.database}-bare"]
        stock = await _stocked(report, resources, size, max(1_000, size // 50), bare)
        async with _api(processes, settings, stock) as client:
            if "record" in parts:
                for count, what in ((1_000, "A batch of 1,000"), (1, "A single event")):
                    sides = await recording(stock, processes, client, count, rounds)
                    report.add(f"{what} {label}", sides, "event", 0.5)
            if "history" in parts:
                sides = await history(stock, processes, client, rounds)
                report.add(f"A page of 50 events {label}", sides, "page", 0.5)
            report.memory(f"Memory {label}")
        if "fold" in parts:
            for passes in (1_000, 50):
                sides = await folding(stock, processes, passes, rounds)
                report.add(f"The fold of 1,000 events over {passes:,} passes {label}", sides, "event", 0.7)


async def _latency(report: Report, settings: Settings, passes: int, times: int) -> None:
    async with open_resources(settings) as resources:
        stock = await _stocked(report, resources, passes, passes, None)
        stage = worker(settings)
        async with _api(report.processes, settings, stock) as client:
            await stage.start()
            report.processes.watch("worker", stage.pid)
            try:
                side = await latency(stock, client, settings.host, settings.port, times)
                report.spread(f"From mutation to subscriber, {passes:,} stored passes", side, (50, 250))
                report.memory(f"Memory with {passes:,} passes")
            finally:
                report.processes.forget("worker")
                await stage.stop()


async def _webhooks(report: Report, settings: Settings, rounds: int) -> None:
    async with open_resources(settings) as resources:
        stock = await _stocked(report, resources, 1_000, 1_000, None)
        sides = await webhooks(stock, report.processes, rounds)
    report.add("1,000 messages to one webhook endpoint", sides, "message")


async def _edge(report: Report, settings: Settings, folder: Path, rounds: int) -> None:
    quiet = dataclasses.replace(settings, log_level="WARNING")
    async with open_resources(quiet) as resources, bare_endpoint(folder) as (bare, port):
        stock = await _stocked(report, resources, 1_000, 1_000, None)
        async with _api(report.processes, quiet, stock):
            report.processes.watch("bare", bare.pid)
            sides = await edge(report.processes, port, quiet.port, stock.secret, rounds)
            report.add("A small query, asked again and again", sides, "request", 3)
            report.processes.forget("bare")


async def _idle(report: Report, settings: Settings) -> None:
    async with open_resources(settings) as resources:
        stock = await _stocked(report, resources, 1_000, 1_000, None)
        for what, follower in (("WebSockets", socket), ("event streams", event_stream)):
            async with _api(report.processes, settings, stock):
                cost = await idle(report.processes, follower, settings.host, settings.port, stock.secret, FOLLOWERS)
            report.megabytes(f"{FOLLOWERS:,} idle subscriptions, {what}", cost, 100)


@contextlib.asynccontextmanager
async def _api(processes: Processes, settings: Settings, stock: Stock) -> AsyncIterator[Client]:
    process = api(settings)
    await process.start()
    processes.watch("api", process.pid)
    try:
        client = await Client.connected(settings.host, settings.port, stock.secret)
        yield client
        await client.aclose()
    finally:
        processes.forget("api")
        await process.stop()


async def _stocked(report: Report, resources: Resources, size: int, passes: int, bare: Database | None) -> Stock:
    with Progress(console=report.console, transient=True) as progress:
        task = progress.add_task(f"Storing {size:,} events", total=size)
        return await stocked(resources, size, passes, bare, lambda done: progress.update(task, completed=done))


if __name__ == "__main__":
    main()
