"""The command `python -m bench`, which runs the benchmarks and prints their tables."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from app.config.settings import Settings
from app.local.servers import free_port, mongo_server
from app.resources import Resources, open_resources
from app.store.mongo.queries import Database
from tests.servers import api, running_servers, worker

from .backfilling import measure_backfill
from .edge import bare_endpoint, measure_edge
from .explaining import PREVIEW_SECONDS, PREVIEWED_PASSES, measure_explaining, measure_previews
from .finding import measure_finding, store_customers
from .folding import measure_fold
from .http import Client
from .idle import measure_idle, open_event_stream, open_socket
from .insights import Asked, measure_insights, seal_stock
from .latency import measure_latency
from .recording import measure_history, measure_recording
from .redeeming import measure_redeeming
from .rules import EVENTS, measure_firing_rule, measure_silent_rules
from .sharing import measure_sharing
from .stock import SHAPES, Stock, create_stock
from .tables import Report
from .timing import Processes
from .webhooks import measure_webhooks
from .windows import measure_kinds, measure_windows

PARTS = (
    "record",
    "history",
    "fold",
    "window",
    "latency",
    "redeem",
    "find",
    "explain",
    "webhooks",
    "edge",
    "idle",
    "workers",
    "backfill",
    "rules",
    "insights",
)
MANY_PASSES = 100_000
FOLLOWERS = 1_000
EVENTS_PER_CUSTOMER = 500
"""Events on each pass in the part `insights`."""
INSIGHT_SHAPES = 400
"""Shapes of the passes in the part `insights`."""
BACKLOG = 6_000
"""Events, each on a pass of its own, that wait when the workers begin."""


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "--events",
    "sizes",
    multiple=True,
    type=int,
    help="Number of stored events to measure at; may be repeated.  [default: 10000 and 500000]",
)
@click.option(
    "--passes",
    type=int,
    help="Number of customers in the parts `find` and `backfill`.  [default: 100000, with --quick 10000]",
)
@click.option(
    "--quick", is_flag=True, help="Measure only at 10,000 stored events and in fewer rounds, in about two minutes."
)
@click.option(
    "--only", "parts", multiple=True, type=click.Choice(PARTS), help="Measure only this part; may be repeated."
)
@click.option(
    "--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures to this file, too."
)
def main(sizes: tuple[int, ...], passes: int | None, quick: bool, parts: tuple[str, ...], file: Path | None) -> None:
    """Measure Punchcard beside the bare writes and reads that it cannot avoid, on the same store.

    Each part prints a table. A table compares several sides, which run in turns:

    \b
    - record: a batch of 1,000 events and a single event, by bare inserts, by the command in
      process and by the mutation over HTTP.
    - history: the newest 50 events of a pass, by a bare find, by the query in process and over HTTP.
    - fold: 1,000 events over 1,000 passes and over 50 passes, by the same writes sent bare in bulk and by the fold.
    - window: one more event for a pass with 20 and with 20,000 events inside the window of a segment, and the same with a
      rolling and a calendar window.
    - latency: the time from a mutation over HTTP to a subscriber over WebSocket, also with 100,000 stored passes.
    - redeem: the time of redeemReward over HTTP until it answers with the outcome.
    - find: the time of the list `passes` over HTTP, by searches and filters among 100,000 customers.
    - explain: the time of explainMembership, and of segmentPreview for 19,000 passes with 96,000 events, over HTTP.
    - webhooks: 1,000 activities sent to one endpoint, by bare posts of the same bodies and by the delivery.
    - edge: a small query over eight connections, at a bare Strawberry endpoint and at the API with every limit on.
    - workers: a backlog of 6,000 events, worked off by one worker process and by two.
    - backfill: an edit of a segment over 100,000 passes, backfilled by two workers, by one and in process, and the same
      updates sent by two bare writers and by one.
    - rules: the fold without rules and with 20 that do not fire; all the work for an event without and with one that fires.
    - insights: questions about all customers of a year, over HTTP with each number of events in turns, and by a bare $group
      up to 1,000,000 events.
    - idle: the memory that 1,000 idle subscriptions cost the API, over WebSocket and as event streams.

    A ratio is the speed of a side divided by the speed of the first side, by their medians. The CPU time of the process
    `bench` is that of the client; for sides in process it includes Punchcard. The store is the one that `punchcard up`
    would start. docs/benchmarks.md explains the tables and has results.

    \b
    Examples:
      python -m bench --quick
      python -m bench --events 10000 --only fold --json figures.json
    """
    event_counts = (10_000,) if quick and not sizes else sizes or (10_000, 500_000)
    customers = passes or (MANY_PASSES // 10 if quick else MANY_PASSES)
    asyncio.run(_run(event_counts, customers, parts or PARTS, rounds=5 if quick else 15, file=file))


async def _run(sizes: tuple[int, ...], passes: int, parts: tuple[str, ...], *, rounds: int, file: Path | None) -> None:
    console = Console(width=max(130, Console().width))
    with tempfile.TemporaryDirectory(prefix="punchcard-bench-") as folder:
        async with running_servers(Path(folder), durable=True) as servers:
            engine = mongo_server(Path(folder)).engine
            processes = Processes()
            processes.watch("bench", os.getpid())
            processes.watch("store", servers.mongo.pid)
            report = Report(console, processes)
            console.print(f"Store: {engine}; {os.cpu_count()} processors; Python {sys.version.split()[0]}\n")
            # Turn budgets off: a budget would limit the rate of the client, and the tables measure the work.
            settings = dataclasses.replace(servers.settings, budget_points=0, log_level="WARNING")
            if "window" in parts:
                async with open_resources(settings) as resources:
                    sides = await measure_windows(resources, processes, (20, 20_000), 6)
                    kinds = await measure_kinds(resources, processes, 1_000, 6)
                report.add("One more event for a pass, recorded and folded", sides, "event", 1 / 3)
                report.add("The same for a pass with 1,000 events", kinds, "event", 0.9)
                report.add_cpu_cost("A calendar window, compared with a rolling one", kinds, 1.1)
            for size in sizes if {"record", "history", "fold"} & set(parts) else ():
                await _measure_at(report, _with_database(settings, f"bench{size}"), size, parts, rounds)
            if "latency" in parts:
                for passes in (1_000,) if rounds < 10 else (1_000, MANY_PASSES):
                    await _report_latency(report, _with_database(settings, f"latency{passes}"), passes, 20 * rounds)
            if "redeem" in parts:
                await _report_redeeming(report, _with_database(settings, "redeem"), 10 * rounds)
            if "find" in parts:
                await _report_finding(report, _with_database(settings, "find"), passes, 5 * rounds)
            if "explain" in parts:
                await _report_explaining(report, _with_database(settings, "explain"), 10 * rounds)
            if "webhooks" in parts:
                await _report_webhooks(report, _with_database(settings, "webhooks"), rounds)
            if "edge" in parts:
                await _report_edge(report, _with_database(servers.settings, "edge"), Path(folder), rounds)
            if "workers" in parts:
                await _report_sharing(report, _with_database(settings, "workers"), max(2, rounds // 3))
            if "backfill" in parts:
                await _report_backfill(report, _with_database(settings, "backfill"), passes, Path(folder))
            if "rules" in parts:
                await _report_rules(report, _with_database(settings, "rules"), rounds)
            if "insights" in parts:
                await _report_insights(report, settings, sizes, 2 * rounds)
            if "idle" in parts:
                await _report_idle(report, _with_database(settings, "idle"))
    if file is not None:
        file.write_text(json.dumps(report.rows, indent=2) + "\n")


def _with_database(settings: Settings, database: str) -> Settings:
    return dataclasses.replace(settings, database=database, port=free_port())


async def _measure_at(report: Report, settings: Settings, size: int, parts: tuple[str, ...], rounds: int) -> None:
    label, processes = f"at {size:,} stored events", report.processes
    async with open_resources(settings) as resources:
        bare = resources.db.client[f"{settings.database}-bare"]
        stock = await _create_stock(report, resources, size, max(1_000, size // 50), bare)
        async with _start_api(processes, settings, stock) as client:
            if "record" in parts:
                for count, subject in ((1_000, "A batch of 1,000"), (1, "A single event")):
                    sides = await measure_recording(stock, processes, client, count, rounds)
                    report.add(f"{subject} {label}", sides, "event", 0.5)
            if "history" in parts:
                sides = await measure_history(stock, processes, client, rounds)
                report.add(f"A page of 50 events {label}", sides, "page", 0.5)
            report.add_memory(f"Memory {label}")
        if "fold" in parts:
            for passes in (1_000, 50):
                sides = await measure_fold(stock, processes, passes, rounds)
                report.add(f"The fold of 1,000 events over {passes:,} passes {label}", sides, "event", 0.7)


async def _report_latency(report: Report, settings: Settings, passes: int, times: int) -> None:
    async with open_resources(settings) as resources:
        stock = await _create_stock(report, resources, passes, passes, None)
        worker_process = worker(settings)
        async with _start_api(report.processes, settings, stock) as client:
            await worker_process.start()
            report.processes.watch("worker", worker_process.pid)
            try:
                side = await measure_latency(stock, client, settings.host, settings.port, times)
                report.add_latency(f"From mutation to subscriber, {passes:,} stored passes", side, (50, 250))
                report.add_memory(f"Memory with {passes:,} passes")
            finally:
                report.processes.forget("worker")
                await worker_process.stop()


async def _report_redeeming(report: Report, settings: Settings, times: int) -> None:
    async with open_resources(settings) as resources:
        stock = await _create_stock(report, resources, 1_000, 1_000, None)
        worker_process = worker(settings)
        async with _start_api(report.processes, settings, stock) as client:
            await worker_process.start()
            report.processes.watch("worker", worker_process.pid)
            try:
                for side in await measure_redeeming(stock, client, times):
                    report.add_latency(side.name, side, (60, 250))
            finally:
                report.processes.forget("worker")
                await worker_process.stop()


async def _report_finding(report: Report, settings: Settings, passes: int, times: int) -> None:
    async with open_resources(settings) as resources:
        stock = await _create_stock(report, resources, 1_000, 1_000, None)
        # The API closes a connection that is idle while the customers are stored.
        customers = await store_customers(stock, passes)
        async with _start_api(report.processes, settings, stock) as client:
            for side in await measure_finding(customers, client, report.processes, times):
                report.add_latency(side.name, side, (20, 50), percent=95, unit="answers")


async def _report_explaining(report: Report, settings: Settings, times: int) -> None:
    passes = PREVIEWED_PASSES if times > 50 else PREVIEWED_PASSES // 10
    async with open_resources(settings) as resources:
        stock = await _create_stock(report, resources, 5 * passes, passes, None)
        async with _start_api(report.processes, settings, stock) as client:
            side = await measure_explaining(stock, client, times)
            report.add_latency(side.name, side, (20, 50), percent=95, unit="answers")
            connect = partial(Client.connect, settings.host, settings.port, stock.secret)
            for side, beside in await measure_previews(client, connect, report.processes, 5):
                target_ms = 1_000 * PREVIEW_SECONDS[side.name] * passes / PREVIEWED_PASSES
                title = f"segmentPreview of {passes:,} passes: {side.name}"
                report.add_latency(title, side, (target_ms, target_ms), percent=95, unit="answers")
                report.add_latency(f"{beside.name} during it", beside, (10, 100), percent=95, unit="answers")


async def _report_webhooks(report: Report, settings: Settings, rounds: int) -> None:
    async with open_resources(settings) as resources:
        stock = await _create_stock(report, resources, 1_000, 1_000, None)
        sides = await measure_webhooks(stock, report.processes, rounds)
    report.add("1,000 messages to one webhook endpoint", sides, "message")


async def _report_edge(report: Report, settings: Settings, folder: Path, rounds: int) -> None:
    settings = dataclasses.replace(settings, log_level="WARNING")
    async with open_resources(settings) as resources, bare_endpoint(folder) as (bare, port):
        stock = await _create_stock(report, resources, 1_000, 1_000, None)
        async with _start_api(report.processes, settings, stock):
            report.processes.watch("bare", bare.pid)
            sides = await measure_edge(report.processes, port, settings.port, stock.secret, rounds)
            report.add("A small query, repeated", sides, "request", 3)
            report.processes.forget("bare")


async def _report_idle(report: Report, settings: Settings) -> None:
    async with open_resources(settings) as resources:
        stock = await _create_stock(report, resources, 1_000, 1_000, None)
        for transport, follower in (("WebSockets", open_socket), ("event streams", open_event_stream)):
            async with _start_api(report.processes, settings, stock):
                cost = await measure_idle(
                    report.processes, follower, settings.host, settings.port, stock.secret, FOLLOWERS
                )
            report.add_memory_cost(f"{FOLLOWERS:,} idle subscriptions, {transport}", cost, 100)


async def _report_insights(report: Report, settings: Settings, sizes: tuple[int, ...], times: int) -> None:
    async with contextlib.AsyncExitStack() as opened:
        stocks = []
        for size in sizes:
            own = _with_database(settings, f"insights{size}")
            # Writing so many events can make the store busy for longer than the usual limit of a call.
            resources = await opened.enter_async_context(open_resources(own, has_socket_timeout=False))
            passes = max(200, size // EVENTS_PER_CUSTOMER)
            # As many shapes as fill nearly each quarter of an hour, as the events of so many customers would.
            shapes = min(passes, INSIGHT_SHAPES)
            stock = await _create_stock(report, resources, size, passes, None, shapes=shapes)
            await seal_stock(stock)
            stocks.append((size, own, stock))
        # Each stock has an API of its own. They start after the writes, because they close a connection that is idle.
        asked = []
        for size, own, stock in stocks:
            client = await opened.enter_async_context(_start_api(report.processes, own, stock, f"api {size:,}"))
            asked.append(Asked(size, stock, client))
        for title, sides in (await measure_insights(asked, report.processes, times)).items():
            report.add(title, sides, "answer")
            if len(asked) > 1:
                report.add_growth(
                    f"{title}, from {sizes[0]:,} to {sizes[-1]:,} events", sides[0], sides[len(asked) - 1], 1.2
                )
        report.add_memory("Memory after the questions")


async def _report_sharing(report: Report, settings: Settings, rounds: int) -> None:
    async with open_resources(settings) as resources:
        stock = await _create_stock(report, resources, BACKLOG, BACKLOG, None)
        sides = await measure_sharing(stock, settings, report.processes, BACKLOG, (1, 2), rounds)
    report.add(f"A backlog of {BACKLOG:,} events, folded and published", sides, "event")


async def _report_backfill(report: Report, settings: Settings, passes: int, folder: Path) -> None:
    async with open_resources(settings) as resources:
        bare = resources.db.client[f"{settings.database}-bare"]
        stock = await _create_stock(report, resources, 2 * passes, passes, bare)
        sides = await measure_backfill(stock, settings, report.processes, folder, 1)
    report.add(f"An edit of a segment over {passes:,} passes", sides, "pass", 0.6)


async def _report_rules(report: Report, settings: Settings, rounds: int) -> None:
    for measure, title, most in (
        (measure_silent_rules, "The fold of 1,000 events over 1,000 passes, with rules", 1.15),
        (measure_firing_rule, "1,000 events from the call to the published activities", 2.0),
    ):
        database = f"{settings.database}-{measure.__name__.rpartition('_')[2]}"
        async with open_resources(dataclasses.replace(settings, database=database)) as resources:
            stocks = [await _create_stock(report, resources, 10_000, EVENTS, None) for _ in range(2)]
            sides = await measure(stocks, report.processes, rounds)
        report.add(title, sides, "event")
        report.add_cpu_cost(title, sides, most)


@contextlib.asynccontextmanager
async def _start_api(
    processes: Processes, settings: Settings, stock: Stock, name: str = "api"
) -> AsyncIterator[Client]:
    process = api(settings)
    await process.start()
    processes.watch(name, process.pid)
    try:
        client = await Client.connect(settings.host, settings.port, stock.secret)
        yield client
        await client.aclose()
    finally:
        processes.forget(name)
        await process.stop()


async def _create_stock(
    report: Report, resources: Resources, size: int, passes: int, bare: Database | None, *, shapes: int = SHAPES
) -> Stock:
    with Progress(console=report.console, transient=True) as progress:
        task = progress.add_task(f"Storing {size:,} events", total=size)
        return await create_stock(
            resources, size, passes, bare, lambda done: progress.update(task, completed=done), shapes=shapes
        )


if __name__ == "__main__":
    main()
