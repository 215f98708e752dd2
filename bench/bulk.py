"""`python -m bench.bulk`: a large file imported while its worker is killed again and again, exported, and counted.

What is proved is that every row is there once; what is measured is the time, and the most memory that the API and each
worker ever held.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from app.cli.client import Client
from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import Settings
from app.local.processes import Child
from app.local.servers import free_port, mongo_server
from app.resources import open_resources
from tests.servers import api, running_servers, worker

START = datetime(2023, 1, 1, tzinfo=UTC)
IMPORT = """mutation ($input: ImportEventsInput!) {
  importEvents(input: $input) { job { id } userErrors { field message } } }"""
EXPORT = "mutation { exportEvents(input: {}) { job { id } userErrors { field message } } }"
JOB = "query ($id: ID!) { job(id: $id) { status progress { done total failed } result downloadUrl error finishedAt } }"
POLL_SECONDS = 1.0


@click.command(context_settings={"max_content_width": 110})
@click.option("--rows", default=1_000_000, show_default=True, help="How many rows the file has.")
@click.option(
    "--kills", default=5, show_default=True, help="How often the worker is killed (-9), and again in the export."
)
@click.option("--passes", default=20_000, show_default=True, help="How many customers the rows are of.")
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
def main(rows: int, kills: int, passes: int, kind: str) -> None:
    """Import a file of many rows with a worker that dies, export what came of it in the same way, and count.

    \b
    Examples:
      python -m bench.bulk --rows 50000 --kills 3
      nice python -m bench.bulk                      a million rows: half an hour on a small machine
    """
    asyncio.run(_run(rows, kills, passes, kind))


async def _run(rows: int, kills: int, passes: int, kind: str) -> None:
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="punchcard-bulk-") as name:
        folder = Path(name)
        async with running_servers(folder, durable=True) as servers:
            console.print(f"Store: {mongo_server(folder).engine}")
            settings = dataclasses.replace(
                servers.settings, budget_points=0, port=free_port(), database="bulk", upload_bytes=4 * 2**30
            )
            async with open_resources(settings) as resources:
                _, secret = await create_workspace(resources, "Bulk")
                async with _processes(settings) as running:
                    file = folder / f"rows.{kind}"
                    await asyncio.to_thread(_write, file, rows, passes, kind)
                    console.print(
                        f"{rows:,} rows of {passes:,} customers, {file.stat().st_size / 1e6:,.0f} MB of {kind}"
                    )
                    client = Client(f"http://{settings.host}:{settings.port}/graphql", secret)
                    await _imported(console, client, running, file, rows, kills, kind)
                    stored = await resources.db["events"].count_documents({})
                    console.print(f"Events stored: {stored:,}")
                    assert stored == rows
                    await _exported(console, client, running, folder / "out.jsonl", rows, kills)


class _Running:
    """The API and the worker that runs now; `peaks` are the most MB that each ever held, by name."""

    def __init__(self, server: Child, stage: Child) -> None:
        self.server, self.stage = server, stage
        self.peaks: dict[str, float] = {}

    def look(self) -> None:
        """Notes how much memory they have held."""
        for name, child in (("api", self.server), ("worker", self.stage)):
            self.peaks[name] = max(self.peaks.get(name, 0.0), _peak_mb(child.pid))

    def told(self) -> str:
        """The most memory of each."""
        return ", ".join(f"{name} {peak:,.0f} MB" for name, peak in self.peaks.items())


@contextlib.asynccontextmanager
async def _processes(settings: Settings) -> AsyncIterator[_Running]:
    server, stage = api(settings), worker(settings)
    await server.start()
    await stage.start()
    try:
        yield _Running(server, stage)
    finally:
        await stage.kill()
        await server.kill()


async def _imported(
    console: Console, client: Client, running: _Running, file: Path, rows: int, kills: int, kind: str
) -> None:
    started = time.monotonic()
    sent = {"file": None, "format": kind.upper(), "source": "bulk"}
    payload = await asyncio.to_thread(
        client.upload, IMPORT, {"input": sent}, "variables.input.file", file, lambda _size: None
    )
    assert not payload["importEvents"]["userErrors"], payload
    console.print(f"Sent in {time.monotonic() - started:,.1f} s; {running.told() or 'nothing measured yet'}")
    job_id = payload["importEvents"]["job"]["id"]
    begun = time.monotonic()
    job = await _carried(console, client, running, job_id, rows, kills)
    seconds = time.monotonic() - begun
    console.print(f"Import: {job['status']}, {job['result']}, {seconds:,.0f} s, {rows / seconds:,.0f} rows a second")
    console.print(f"Most memory during the import: {running.told()}")
    assert (job["status"], job["result"]["created"], job["progress"]["failed"]) == ("SUCCEEDED", rows, 0), job


async def _carried(
    console: Console, client: Client, running: _Running, job_id: str, rows: int, kills: int
) -> dict[str, Any]:
    """The job when it has ended, its worker killed so many times on the way, evenly."""
    due = [rows * (each + 1) // (kills + 1) for each in range(kills)]
    begun = time.monotonic()
    while (job := await _looked_at(client, running, job_id))["finishedAt"] is None:
        if due and job["progress"]["done"] >= due[0]:
            due.pop(0)
            await running.stage.kill()
            await running.stage.start()
            console.print(f"Killed the worker at {job['progress']['done']:,} rows, {time.monotonic() - begun:,.0f} s")
    if due:
        console.print(f"It was over before its worker had died {len(due)} times more.")
    return job


async def _exported(console: Console, client: Client, running: _Running, out: Path, rows: int, kills: int) -> None:
    begun = time.monotonic()
    payload = (await asyncio.to_thread(client.ask, EXPORT))["exportEvents"]
    job_id = payload["job"]["id"]
    job = await _carried(console, client, running, job_id, rows, kills)
    seconds = time.monotonic() - begun
    console.print(f"Export: {job['status']}, {job['result']}, {seconds:,.0f} s, {rows / seconds:,.0f} lines a second")
    assert job["status"] == "SUCCEEDED", job
    begun = time.monotonic()
    lines = await asyncio.to_thread(_fetched, client, job["downloadUrl"], out)
    running.look()
    console.print(f"Fetched {lines:,} lines in {time.monotonic() - begun:,.1f} s; most memory: {running.told()}")
    assert lines == rows


def _fetched(client: Client, address: str, out: Path) -> int:
    with out.open("wb") as file:
        for part in client.download(address):
            file.write(part)
    with out.open("rb") as file:
        return len({line[: line.index(b",")] for line in file})


async def _looked_at(client: Client, running: _Running, job_id: str) -> dict[str, Any]:
    await asyncio.sleep(POLL_SECONDS)
    running.look()
    job: dict[str, Any] = (await asyncio.to_thread(client.ask, JOB, id=job_id))["job"]
    return job


def _write(file: Path, rows: int, passes: int, kind: str) -> None:
    with file.open("w") as out:
        out.writelines(_csv(rows, passes) if kind == "csv" else _jsonl(rows, passes))


def _csv(rows: int, passes: int) -> Iterator[str]:
    yield "customer_id,date,amount,store,note\n"
    for n in range(rows):
        yield f"c{n * 7919 % passes},{_at(n)},{n % 90}.50,store-{n % 12},a note on row {n}\n"


def _jsonl(rows: int, passes: int) -> Iterator[str]:
    for n in range(rows):
        yield (
            f'{{"passExternalId":"c{n * 7919 % passes}","type":"purchase","amount":"{n % 90}.50","occurredAt":"{_at(n)}",'
            f'"metadata":{{"store":"store-{n % 12}"}}}}\n'
        )


def _at(n: int) -> str:
    return (START + timedelta(seconds=n * 61 % 90_000_000)).isoformat().replace("+00:00", "Z")


def _peak_mb(pid: int | None) -> float:
    """The most memory that a process ever held (VmHWM); 0 where there is none of this number."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
