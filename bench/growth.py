"""The command `python -m bench.growth`: whether an import and a backfill grow linearly with the number of passes.

Each row of the import creates a pass. Then a new segment makes the worker evaluate all passes again, and nearly all of them
enter the segment. API, worker and store run as processes of their own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from app.cli.client import Client
from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import Settings
from app.domain.ids import SLOTS
from app.local.servers import free_port, mongo_server
from app.resources import Resources, open_resources
from app.store.operations import indexes
from tests.servers import api, running_servers, worker

from .bulk import IMPORT, JOB
from .timing import Processes, Side, timed

CREATE_SEGMENT = """mutation ($input: CreateSegmentInput!) {
  createSegment(input: $input) { segment { id } userErrors { field message } } }"""
FIRST_SEGMENT = {"event": {"types": ["purchase"], "metric": "COUNT", "operator": "GTE", "value": 1}}
LATER_SEGMENT = {"event": {"types": ["purchase"], "metric": "SUM", "operator": "GTE", "value": "0.5"}}
POLL_INTERVAL_SECONDS = 0.5
QUIET_INTERVAL_SECONDS = 5.0
"""The time between two looks for waiting work: on the embedded servers, a look reads all that waits."""


@click.command(context_settings={"max_content_width": 110})
@click.option(
    "--rows", "sizes", multiple=True, type=int, help="Rows of a file; may be repeated.  [default: 5000 and 15000]"
)
def main(sizes: tuple[int, ...]) -> None:
    """Measure what one row of an import and one pass of a backfill cost, for files of several lengths.

    A ratio is the CPU time of worker and store for one row or pass, divided by that of the first file. It should be at
    most 1.2.

    \b
    Examples:
      python -m bench.growth
      python -m bench.growth --rows 20000 --rows 60000
    """
    asyncio.run(_run(sizes or (5_000, 15_000)))


async def _run(sizes: tuple[int, ...]) -> None:
    console = Console(width=130)
    sides: list[Side] = []
    for rows in sizes:
        with tempfile.TemporaryDirectory(prefix="punchcard-growth-") as folder:
            async with running_servers(Path(folder), durable=True) as servers:
                if not sides:
                    console.print(f"Store: {mongo_server(Path(folder)).engine}")
                processes = Processes()
                processes.watch("store", servers.mongo.pid)
                settings = dataclasses.replace(
                    servers.settings, budget_points=0, port=free_port(), database="growth", log_level="WARNING"
                )
                async with open_resources(settings) as resources:
                    sides += await _measure(console, resources, settings, processes, Path(folder), rows)
    console.print(_build_table(sides))


async def _measure(
    console: Console, resources: Resources, settings: Settings, processes: Processes, folder: Path, rows: int
) -> list[Side]:
    """Import a file and backfill its passes, and return a side for each."""
    await indexes.ensure_indexes(resources.db)
    _, secret = await create_workspace(resources, "Growth")
    children = [("api", api(settings)), ("worker", worker(settings))]
    sides = [Side("import", units=rows), Side("backfill", units=rows)]
    try:
        for name, child in children:
            await child.start()
            processes.watch(name, child.pid)
        client = Client(f"http://{settings.host}:{settings.port}/graphql", secret)
        await _create_segment(client, "bought", FIRST_SEGMENT)
        file = folder / "rows.csv"
        with file.open("w") as out:
            out.write("customer_id,date,amount,store\n")
            out.writelines(
                f"c{n},2025-03-{n % 28 + 1:02}T10:00:00Z,{n % 90 + 1}.50,store-{n % 12}\n" for n in range(rows)
            )

        async def import_file() -> None:
            job_id = await _start_import(client, file)
            job = (await asyncio.to_thread(client.ask, JOB, id=job_id))["job"]
            while job["finishedAt"] is None:
                await asyncio.sleep(POLL_INTERVAL_SECONDS)
                job = (await asyncio.to_thread(client.ask, JOB, id=job_id))["job"]
            assert (job["status"], job["result"]["created"], job["progress"]["failed"]) == ("SUCCEEDED", rows, 0), job
            await _wait_until_quiet(resources)

        async def backfill() -> None:
            await _create_segment(client, "spent", LATER_SEGMENT)
            await _wait_until_quiet(resources)

        steps: list[tuple[Side, Callable[[], Awaitable[None]]]] = [(sides[0], import_file), (sides[1], backfill)]
        for side, step in steps:
            await timed(side, processes, step)
            costs = ", ".join(f"{name} {side.cpu_ms_per_unit(name):.2f}" for name in side.cpu)
            console.print(f"{side.name} of {rows:,}: {side.mean:,.1f} s; CPU ms: {costs}")
        assert await resources.db["passes"].count_documents({"memberships.1": {"$exists": True}}) == rows
        return sides
    finally:
        for _, child in reversed(children):
            await child.stop()


async def _create_segment(client: Client, key: str, criteria: Mapping[str, object]) -> None:
    segment = {"key": key, "name": key, "criteria": criteria}
    payload = await asyncio.to_thread(client.ask, CREATE_SEGMENT, input=segment)
    assert not payload["createSegment"]["userErrors"], payload


async def _start_import(client: Client, file: Path) -> str:
    variables = {"input": {"file": None, "format": "CSV", "source": "growth"}}
    payload = await asyncio.to_thread(
        client.upload, IMPORT, variables, "variables.input.file", file, lambda _size: None
    )
    assert not payload["importEvents"]["userErrors"], payload
    job_id: str = payload["importEvents"]["job"]["id"]
    return job_id


async def _wait_until_quiet(resources: Resources) -> None:
    """Return when no event is pending, no pass is behind the definitions or unpublished."""
    db, slot = resources.db, 0
    # Ask one slot after the other: for all at once, the embedded servers read all that waits.
    while slot < SLOTS:
        if await db["events"].find_one({"pend": slot}, {"_id": 1}) is None:
            slot += 1
        else:
            await asyncio.sleep(QUIET_INTERVAL_SECONDS)
    for collection, name in (("workspaces", "stale"), ("passes", "pub")):
        while await db[collection].find_one({name: {"$gte": 0}}, {"_id": 1}) is not None:
            await asyncio.sleep(QUIET_INTERVAL_SECONDS)


def _build_table(sides: list[Side]) -> Table:
    table = Table()
    for heading in ("work", "rows", "seconds", "rows/s", "api ms", "worker ms", "store ms", "ratio"):
        table.add_column(heading, justify="left" if heading == "work" else "right")
    for name in ("import", "backfill"):
        first = 0.0
        for side in (each for each in sides if each.name == name):
            costs = {process: side.cpu_ms_per_unit(process) for process in ("api", "worker", "store")}
            cost = costs["worker"] + costs["store"]
            first = first or cost
            figures = [f"{each:.2f}" for each in (*costs.values(), cost / first)]
            table.add_row(name, f"{side.units:,}", f"{side.mean:,.1f}", f"{side.per_second:,.0f}", *figures)
    return table


if __name__ == "__main__":
    main()
