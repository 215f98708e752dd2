"""The part `backfill`: an edit of a segment over many passes, backfilled by workers, beside bare writers.

An edit moves a twentieth of the passes, and the next edit moves them back. A backfill in this process records the updates
of both. Then bare writers, processes of their own, send these updates to the bare database in equal parts, in bulk writes as
large as those of a worker. Worker processes do the same edits in the other database. Their CPU times include other looks,
and what they publish meanwhile. Those of the backfill in this process do not.

The store takes most of the processor time on both sides. So on two processors, compare the CPU times, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from pymongo import UpdateOne

from app.commands.segments import create_segment, update_segment
from app.config.settings import Settings
from app.resources import open_resources
from app.store.mongo.queries import Database, Doc
from tests.business import spent
from workers.stages.backfill import backfill
from workers.worker import Worker

from .folding import RecordingFoldQueries
from .sharing import PUBLISHED_INTERVAL_SECONDS, add_up, run_workers
from .stock import SHAPES, Stock
from .timing import Processes, Side, timed

COPY_BATCH_SIZE = 2_000
POLL_INTERVAL_SECONDS = 0.05
Part = Sequence[tuple[Mapping[str, Any], Any]]
"""Updates of one writer: a filter and a change for each pass."""


@dataclass(frozen=True)
class Edits:
    """A segment, and the two criteria between which edits change it."""

    segment_id: str
    criteria: tuple[dict[str, object], dict[str, object]]


async def measure_backfill(
    stock: Stock, settings: Settings, processes: Processes, folder: Path, rounds: int
) -> list[Side]:
    """Measure the edits with two bare writers, two workers, one of each, and in process. One run makes one edit.

    `stock.bare` is another database than that of the stock, whose passes are replaced by copies.
    """
    edits = await _create_edits(stock)
    alone = Side("backfill in process", units=len(stock.passes))
    recorded = [await _record_edit(stock, edits, number, side=alone, processes=processes) for number in (0, 1)]
    await _empty_outboxes(stock.ctx.resources.db)
    await _copy_passes(stock.ctx.resources.db, stock.bare)
    units = len(stock.passes)
    sides = []
    for count in (2, 1):
        writers = Side(f"{count} bare writer{'s' if count > 1 else ''}", units=units)
        workers = Side(f"{count} worker{'s' if count > 1 else ''}", units=units)
        await _measure_writers(
            stock, settings, processes, folder, side=writers, recorded=recorded, count=count, rounds=rounds
        )
        await _measure_workers(stock, settings, processes, side=workers, edits=edits, count=count, rounds=rounds)
        sides += [writers, workers]
    return [*sides, alone]


async def _create_edits(stock: Stock) -> Edits:
    """Create the segment, and evaluate all passes. The two thresholds lie on both sides of what one shape has spent."""
    short = [events for (_, events), _ in stock.shapes[SHAPES:]]
    totals = sorted(sum((event.amount or Decimal(0) for event in events), Decimal(0)) for events in short)
    middle = totals[len(totals) // 2]
    low, high = spent(middle), spent(middle + Decimal("0.01"))
    created = await create_segment(stock.ctx, "spent", "spent", low)
    await _backfill(stock, Worker.on(stock.ctx.resources))
    return Edits(created.id, (high, low))


async def _backfill(stock: Stock, worker: Worker) -> None:
    await backfill(worker, stock.ctx.workspace.id)
    assert not await worker.fold_queries.workspaces_behind()


async def _copy_passes(source: Database, target: Database) -> None:
    await target["passes"].delete_many({})
    batch: list[Doc] = []
    async for doc in source["passes"].find({}):
        batch.append(doc)
        if len(batch) == COPY_BATCH_SIZE:
            await target["passes"].insert_many(batch, ordered=False)
            batch = []
    if batch:
        await target["passes"].insert_many(batch, ordered=False)


async def _empty_outboxes(db: Database) -> None:
    await db["passes"].update_many({"pub": {"$gte": 0}}, {"$set": {"out": []}, "$unset": {"pub": ""}})


async def _record_edit(stock: Stock, edits: Edits, number: int, *, side: Side, processes: Processes) -> list[UpdateOne]:
    """Make an edit, measure its backfill in this process, and return the updates of the passes."""
    queries = RecordingFoldQueries(stock.ctx.resources)
    worker = Worker.on(stock.ctx.resources)
    worker.fold_queries = queries
    await update_segment(stock.ctx, edits.segment_id, criteria=edits.criteria[number])
    await timed(side, processes, lambda: _backfill(stock, worker))
    assert len(queries.recorded_passes.updates) == len(stock.passes)
    return queries.recorded_passes.updates


async def _measure_writers(
    stock: Stock,
    settings: Settings,
    processes: Processes,
    folder: Path,
    *,
    side: Side,
    recorded: Sequence[Sequence[UpdateOne]],
    count: int,
    rounds: int,
) -> None:
    """Send the updates of both edits in turns. The first two runs are not measured."""
    in_chunk = stock.ctx.resources.in_chunk
    with _start_writers(
        settings, stock.bare.name, folder, count=count, recorded=recorded, in_chunk=in_chunk
    ) as writers:
        names = [f"writer {number}" for number in range(count)]
        for run in range(2 * rounds + 2):
            if run == 2:
                for name, (process, _) in zip(names, writers, strict=True):
                    processes.watch(name, process.pid)

            async def send(number: int = run % 2) -> None:
                for _, pipe in writers:
                    pipe.send(number)
                matched = sum([await asyncio.to_thread(pipe.recv) for _, pipe in writers])
                assert matched == len(recorded[number]), (matched, len(recorded[number]))

            if run < 2:
                await send()
            else:
                await timed(side, processes, send)
            await _empty_outboxes(stock.bare)
        add_up(side, processes, names, "writer")


@contextlib.contextmanager
def _start_writers(
    settings: Settings,
    database: str,
    folder: Path,
    *,
    count: int,
    recorded: Sequence[Sequence[UpdateOne]],
    in_chunk: int,
) -> Iterator[list[tuple[SpawnProcess, Connection]]]:
    context = multiprocessing.get_context("spawn")
    writers: list[tuple[SpawnProcess, Connection]] = []
    for number in range(count):
        parts: list[Part] = [[(each._filter, each._doc) for each in updates[number::count]] for updates in recorded]
        # The updates of the first edit follow those of the second one, which have set other versions and write ids.
        after = {where["_id"]: change["$set"] for where, change in parts[1]}
        parts[0] = [
            ({**where, "v": after[where["_id"]]["v"], "fid": after[where["_id"]]["fid"]}, change)
            for where, change in parts[0]
        ]
        file = folder / f"updates-{count}-{number}"
        file.write_bytes(pickle.dumps(parts))
        own, other = context.Pipe()
        process = context.Process(target=_write, args=(settings, database, file, in_chunk, other), daemon=True)
        process.start()
        writers.append((process, own))
    try:
        yield writers
    finally:
        for process, pipe in writers:
            pipe.send(None)
            process.join()


def _write(settings: Settings, database: str, file: Path, in_chunk: int, pipe: Connection) -> None:
    """Run one bare writer: send the updates of each edit that the pipe names, and answer how many passes matched."""
    asyncio.run(_write_parts(settings, database, pickle.loads(file.read_bytes()), in_chunk, pipe))


async def _write_parts(
    settings: Settings, database: str, parts: Sequence[Part], in_chunk: int, pipe: Connection
) -> None:
    operations = [[UpdateOne(where, change) for where, change in part] for part in parts]
    async with open_resources(settings) as resources:
        passes = resources.db.client[database]["passes"]
        while (number := await asyncio.to_thread(pipe.recv)) is not None:
            matched = 0
            for start in range(0, len(operations[number]), in_chunk):
                batch = operations[number][start : start + in_chunk]
                matched += (await passes.bulk_write(batch, ordered=False)).matched_count
            pipe.send(matched)


async def _measure_workers(
    stock: Stock, settings: Settings, processes: Processes, *, side: Side, edits: Edits, count: int, rounds: int
) -> None:
    """Make both edits in turns, and measure each until no pass is behind. The rest of publishing is not measured."""
    db = stock.ctx.resources.db
    async with run_workers(stock, settings, count) as workers:
        names = [f"worker {number}" for number in range(count)]
        for name, child in zip(names, workers, strict=True):
            processes.watch(name, child.pid)
        # The first workers seal the months of all passes, which the stock leaves unsealed.
        while await db["passes"].find_one({"dirty_from": {"$gte": 0}}, {"_id": 1}) is not None:
            await asyncio.sleep(PUBLISHED_INTERVAL_SECONDS)
        for run in range(2 * rounds):

            async def edit(number: int = run % 2) -> None:
                await update_segment(stock.ctx, edits.segment_id, criteria=edits.criteria[number])
                while await db["workspaces"].find_one({"stale": {"$gte": 0}}, {"_id": 1}) is not None:
                    await asyncio.sleep(POLL_INTERVAL_SECONDS)

            await timed(side, processes, edit)
            while await db["passes"].find_one({"pub": {"$gte": 0}}, {"_id": 1}) is not None:
                await asyncio.sleep(PUBLISHED_INTERVAL_SECONDS)
        add_up(side, processes, names, "worker")
