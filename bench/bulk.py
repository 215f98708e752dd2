"""The command `python -m bench.bulk`: imports and exports a large file while it kills the worker several times.

It checks that every row is stored and exported exactly once. It measures the time, and the peak memory of the API and
of the workers.
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
POLL_INTERVAL_SECONDS = 1.0


@click.command(context_settings={"max_content_width": 110})
@click.option("--rows", default=1_000_000, show_default=True, help="Number of rows of the file.")
@click.option(
    "--kills",
    default=5,
    show_default=True,
    help="Number of times that the worker is killed (-9) during the import, and again during the export.",
)
@click.option("--passes", default=20_000, show_default=True, help="Number of customers in the rows.")
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
def main(rows: int, kills: int, passes: int, kind: str) -> None:
    """Import a large file while killing the worker several times, export the events in the same way, and count them.

    The command fails if a row is missing or counted twice.

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
                async with _start_processes(settings) as running:
                    file = folder / f"rows.{kind}"
                    await asyncio.to_thread(_write_file, file, rows, passes, kind)
                    console.print(
                        f"{rows:,} rows of {passes:,} customers, {file.stat().st_size / 1e6:,.0f} MB of {kind}"
                    )
                    client = Client(f"http://{settings.host}:{settings.port}/graphql", secret)
                    await _measure_import(console, client, running, file, rows, kills, kind)
                    stored = await resources.db["events"].count_documents({})
                    console.print(f"Events stored: {stored:,}")
                    assert stored == rows
                    await _measure_export(console, client, running, folder / "out.jsonl", rows, kills)


class _Running:
    """The API and the worker. `peaks_mb` is the peak memory of each so far, by name."""

    def __init__(self, api: Child, worker: Child) -> None:
        self.api, self.worker = api, worker
        self.peaks_mb: dict[str, float] = {}

    def sample(self) -> None:
        """Update the peak memory of both processes."""
        for name, child in (("api", self.api), ("worker", self.worker)):
            self.peaks_mb[name] = max(self.peaks_mb.get(name, 0.0), _peak_mb(child.pid))

    def describe(self) -> str:
        """Return the peak memory of each process as text."""
        return ", ".join(f"{name} {peak:,.0f} MB" for name, peak in self.peaks_mb.items())


@contextlib.asynccontextmanager
async def _start_processes(settings: Settings) -> AsyncIterator[_Running]:
    running = _Running(api(settings), worker(settings))
    await running.api.start()
    await running.worker.start()
    try:
        yield running
    finally:
        await running.worker.kill()
        await running.api.kill()


async def _measure_import(
    console: Console, client: Client, running: _Running, file: Path, rows: int, kills: int, kind: str
) -> None:
    started = time.monotonic()
    import_input = {"file": None, "format": kind.upper(), "source": "bulk"}
    payload = await asyncio.to_thread(
        client.upload, IMPORT, {"input": import_input}, "variables.input.file", file, lambda _size: None
    )
    assert not payload["importEvents"]["userErrors"], payload
    console.print(f"Uploaded in {time.monotonic() - started:,.1f} s; {running.describe() or 'no memory measured yet'}")
    job_id = payload["importEvents"]["job"]["id"]
    started = time.monotonic()
    job = await _wait_for_job(console, client, running, job_id, rows, kills)
    seconds = time.monotonic() - started
    console.print(f"Import: {job['status']}, {job['result']}, {seconds:,.0f} s, {rows / seconds:,.0f} rows a second")
    console.print(f"Peak memory during the import: {running.describe()}")
    assert (job["status"], job["result"]["created"], job["progress"]["failed"]) == ("SUCCEEDED", rows, 0), job


async def _wait_for_job(
    console: Console, client: Client, running: _Running, job_id: str, rows: int, kills: int
) -> dict[str, Any]:
    """Wait until the job has ended and return it. Kill and restart the worker several times at even distances."""
    kill_at_rows = [rows * (each + 1) // (kills + 1) for each in range(kills)]
    started = time.monotonic()
    while (job := await _poll_job(client, running, job_id))["finishedAt"] is None:
        if kill_at_rows and job["progress"]["done"] >= kill_at_rows[0]:
            kill_at_rows.pop(0)
            await running.worker.kill()
            await running.worker.start()
            console.print(f"Killed the worker at {job['progress']['done']:,} rows, {time.monotonic() - started:,.0f} s")
    if kill_at_rows:
        console.print(f"The job ended before the last {len(kill_at_rows)} kills.")
    return job


async def _measure_export(
    console: Console, client: Client, running: _Running, out: Path, rows: int, kills: int
) -> None:
    started = time.monotonic()
    payload = (await asyncio.to_thread(client.ask, EXPORT))["exportEvents"]
    job_id = payload["job"]["id"]
    job = await _wait_for_job(console, client, running, job_id, rows, kills)
    seconds = time.monotonic() - started
    console.print(f"Export: {job['status']}, {job['result']}, {seconds:,.0f} s, {rows / seconds:,.0f} lines a second")
    assert job["status"] == "SUCCEEDED", job
    started = time.monotonic()
    lines = await asyncio.to_thread(_download_lines, client, job["downloadUrl"], out)
    running.sample()
    console.print(
        f"Downloaded {lines:,} lines in {time.monotonic() - started:,.1f} s; peak memory: {running.describe()}"
    )
    assert lines == rows


def _download_lines(client: Client, address: str, out: Path) -> int:
    with out.open("wb") as file:
        for part in client.download(address):
            file.write(part)
    with out.open("rb") as file:
        return len({line[: line.index(b",")] for line in file})


async def _poll_job(client: Client, running: _Running, job_id: str) -> dict[str, Any]:
    await asyncio.sleep(POLL_INTERVAL_SECONDS)
    running.sample()
    job: dict[str, Any] = (await asyncio.to_thread(client.ask, JOB, id=job_id))["job"]
    return job


def _write_file(file: Path, rows: int, passes: int, kind: str) -> None:
    with file.open("w") as out:
        out.writelines(_csv_lines(rows, passes) if kind == "csv" else _jsonl_lines(rows, passes))


def _csv_lines(rows: int, passes: int) -> Iterator[str]:
    yield "customer_id,date,amount,store,note\n"
    for n in range(rows):
        yield f"c{n * 7919 % passes},{_at(n)},{n % 90}.50,store-{n % 12},a note on row {n}\n"


def _jsonl_lines(rows: int, passes: int) -> Iterator[str]:
    for n in range(rows):
        yield (
            f'{{"passExternalId":"c{n * 7919 % passes}","type":"purchase","amount":"{n % 90}.50","occurredAt":"{_at(n)}",'
            f'"metadata":{{"store":"store-{n % 12}"}}}}\n'
        )


def _at(n: int) -> str:
    return (START + timedelta(seconds=n * 61 % 90_000_000)).isoformat().replace("+00:00", "Z")


def _peak_mb(pid: int | None) -> float:
    """Return the peak memory of a process (VmHWM) in MB, or 0 if the process does not exist."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
