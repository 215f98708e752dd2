"""Exports: what a query finds becomes the lines of a file, part by part, whatever dies in between.

A part holds what follows the job's position, and is stored with the position behind it before the job is moved on to that.
The first to write part n writes it for good (`store/workspace/exports.py`): who does it again, or comes late, goes on from what is
there. A bound fixed when the export was asked for makes it end, whatever is recorded meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import timedelta
from typing import Any

import orjson

from app.clock import SystemClock
from app.domain.activities import ActivityQuery
from app.domain.events.events import INTERNAL_TYPES, EventQuery
from app.domain.files.csv_table import write_csv
from app.domain.files.exports import (
    ACTIVITY_COLUMNS,
    EVENT_COLUMNS,
    FILE_TTL_SECONDS,
    ExportFormat,
    activity_line,
    event_line,
)
from app.domain.files.row_splitter import BOM
from app.domain.jobs import JobKind, Tally
from app.domain.values.cursors import activity_cursor
from app.domain.values.instants import HOUR_MS
from app.store.codecs.jobs import ExportOrder
from app.store.mongo.paging import PageRequest
from app.store.workspace.exports import Part

from .lease import JobLease

PART_BYTES = 1_000_000
"""About how large a part is: the line with which it reaches that is its last."""
EXPORT_BATCH_SIZE = 1_000
POSITIONS_PER_QUERY = 5_000
"""How many positions of the log one question looks through."""
COUNT_TIMEOUT_SECONDS = 10.0
DOWNLOAD_MARGIN_SECONDS = 600
"""A file outlives by so much what is promised: a download that began in time ends."""

Found = AsyncGenerator[tuple[dict[str, object] | None, Any], None]
"""Lines, each with the place behind it; None where there is a place without a line. At its end, everything was found."""


async def run_export(turn: JobLease) -> bool:
    """Writes parts while the turn goes on; whether the file is whole."""
    if turn.run.step == 0 and not await turn.commit(turn.run.position, turn.run.tally, await _total(turn)):
        return False
    exports, job_id = turn.workspace.exports, turn.run.job_id
    while not turn.run.position["whole"]:
        if not await turn.can_continue():
            return False
        data, part = await _part(turn)
        part = await exports.put(job_id, turn.run.step - 1, data, part, await SystemClock().now())
        if not await turn.commit(part.position, turn.run.tally.plus(Tally(part.rows))):
            return False
    until = await SystemClock().now() + timedelta(seconds=FILE_TTL_SECONDS + DOWNLOAD_MARGIN_SECONDS)
    await exports.keep(job_id, until)
    turn.outcome |= {"rows": turn.run.tally.done, "bytes": turn.run.position["bytes"]}
    if turn.run.kind is JobKind.EXPORT_ACTIVITIES:
        turn.outcome["cursor"] = activity_cursor(_order(turn).upto)
    return True


async def _total(turn: JobLease) -> int:
    """How many lines are expected: of events what matches now, of activities the positions that are looked through.

    0 where counting takes too long: nothing depends on it.
    """
    order = _order(turn)
    if not isinstance(order.query, EventQuery):
        return max(0, order.upto - int(turn.run.position["at"]))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(COUNT_TIMEOUT_SECONDS):
            return await turn.workspace.events.count(order.query)
    return 0


async def _part(turn: JobLease) -> tuple[bytes, Part]:
    """The part that begins at the job's position."""
    order, position = _order(turn), turn.run.position
    if isinstance(order.query, EventQuery):
        found = _events(turn, order.query, position["at"])
        columns: Sequence[str] = EVENT_COLUMNS
    else:
        found = _activities(turn, order.query, position["at"])
        columns = ACTIVITY_COLUMNS
    as_table = order.format is ExportFormat.CSV
    # A table begins with the names of its columns.
    data = bytearray(BOM + write_csv([columns]) if as_table and turn.run.step == 1 else b"")
    rows, at, whole = 0, position["at"], True
    async with contextlib.aclosing(found):
        async for line, behind in found:
            at = behind
            if line is not None:
                rows += 1
                data += _row(line, columns) if as_table else orjson.dumps(line) + b"\n"
            if len(data) >= PART_BYTES or turn.worker.stopping or time.monotonic() > turn.until:
                whole = False
                break
    return bytes(data), Part(rows, {"at": at, "bytes": position["bytes"] + len(data), "whole": whole})


def _row(line: dict[str, object], columns: Iterable[str]) -> bytes:
    cells = (line.get(column) for column in columns)
    return write_csv([[_cell(cell) for cell in cells]])


def _cell(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return orjson.dumps(value).decode()


async def _events(turn: JobLease, query: EventQuery, place: Sequence[Any] | None) -> Found:
    """The lines of the events that match, the oldest first. What Punchcard records itself is told where it is asked for."""
    workspace = turn.workspace
    while True:
        events, onward = await workspace.events.walk(query, place, EXPORT_BATCH_SIZE)
        if place is not None:
            # Those whose ids are known come all at once, whatever the place.
            events = [event for event in events if (event.occurred_ms, event.id) > (place[0], place[1])]
        if not query.types:
            events = [event for event in events if event.type not in INTERNAL_TYPES]
        names = await workspace.passes.external_ids({event.pass_id for event in events})
        corrected = await workspace.events.get_many({e.correction_of for e in events if e.correction_of is not None})
        width_ms = HOUR_MS if onward is None else onward.width_ms
        for event in events:
            name = names.get(event.pass_id)
            if name is not None:
                behind = [event.occurred_ms, event.id, width_ms]
                yield event_line(event, name, corrected.get(event.correction_of or "")), behind
        if onward is None:
            return
        place = list(onward)
        yield None, place


async def _activities(turn: JobLease, query: ActivityQuery, pos: int) -> Found:
    """The lines of the activities that match, in order of the log."""
    workspace, upto = turn.workspace, _order(turn).upto
    while pos < upto:
        stop = min(pos + POSITIONS_PER_QUERY, upto)
        page = await workspace.activities.page(query, PageRequest(EXPORT_BATCH_SIZE, (pos,), (stop + 1,)))
        names = await workspace.passes.external_ids({activity.pass_id for activity in page.items})
        for activity in page.items:
            yield activity_line(activity, names.get(activity.pass_id)), activity.position
        pos = page.items[-1].position if page.has_more else stop
        yield None, pos


def _order(turn: JobLease) -> ExportOrder:
    order = turn.run.order
    assert isinstance(order, ExportOrder)
    return order
