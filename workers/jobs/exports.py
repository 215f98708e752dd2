"""Exports: write the events or activities of a query to a file, part by part.

A part holds the lines behind the job's position. The worker stores the part together with the position behind it, then
commits this position to the job. A part is never replaced (`app/store/workspace/exports.py`). So if the worker crashes
in between, or another worker overtakes it, the job continues from the stored part. An export ends although new events
are recorded meanwhile: its query has a bound that was fixed when the job was created.
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
from app.domain.activity_queries import ActivityQuery
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import INTERNAL_TYPES
from app.domain.files.csv_writer import write_csv
from app.domain.files.exports import (
    ACTIVITY_COLUMNS,
    EVENT_COLUMNS,
    FILE_TTL_SECONDS,
    ExportFormat,
    render_activity_line,
    render_event_line,
)
from app.domain.files.row_splitter import BOM
from app.domain.jobs import JobKind, Tally
from app.domain.values.instants import HOUR_MS
from app.store.codecs.jobs import ExportOrder
from app.store.mongo.paging import PageRequest
from app.store.workspace.exports import Part

from .lease import JobLease

PART_BYTES = 1_000_000
"""The size at which a part ends: the line that reaches this size is its last."""
EXPORT_BATCH_SIZE = 1_000
POSITIONS_PER_QUERY = 5_000
"""Positions of the log that one query examines."""
COUNT_TIMEOUT_SECONDS = 10.0
"""The longest time for counting the expected events."""
DOWNLOAD_MARGIN_SECONDS = 600
"""The time that a file is kept beyond its promised end, so that a download that began in time can finish."""

LinesWithPosition = AsyncGenerator[tuple[dict[str, object] | None, Any], None]
"""Lines, each with the position behind it. A position without a line shows that the scan has advanced."""


async def run_export(lease: JobLease) -> bool:
    """Write parts for one slice of time and return whether the file is complete."""
    if lease.run.step == 0 and not await lease.commit(lease.run.position, lease.run.tally, await _count_lines(lease)):
        return False
    exports, job_id = lease.workspace.exports, lease.run.job_id
    while not lease.run.position["whole"]:
        if not await lease.can_continue():
            return False
        data, part = await _build_part(lease)
        # A part that is stored stays, also if this slice ends before its commit.
        lease.require_current_reads()
        part = await exports.put(job_id, lease.run.step - 1, data, part, await SystemClock().now())
        if not await lease.commit(part.position, lease.run.tally.plus(Tally(part.rows))):
            return False
    if lease.run.is_cancelling:
        # An erasure may have cancelled the job after the last part was read. The part must not outlive the erasure.
        return False
    until = await SystemClock().now() + timedelta(seconds=FILE_TTL_SECONDS + DOWNLOAD_MARGIN_SECONDS)
    await exports.keep(job_id, until)
    lease.result |= {"rows": lease.run.tally.done, "bytes": lease.run.position["bytes"]}
    if lease.run.kind is JobKind.EXPORT_ACTIVITIES:
        lease.result["cursor"] = await lease.workspace.cursor_at(_order(lease).upto)
    return True


async def _count_lines(lease: JobLease) -> int:
    """Return the expected size of the export for the progress: matching events, or positions of the log to examine.

    Returns 0 if counting takes too long.
    """
    order = _order(lease)
    if not isinstance(order.query, EventQuery):
        return max(0, order.upto - int(lease.run.position["at"]))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(COUNT_TIMEOUT_SECONDS):
            return await lease.workspace.events.count(order.query)
    return 0


async def _build_part(lease: JobLease) -> tuple[bytes, Part]:
    """Return the part that begins at the job's position: its bytes, number of rows, and the position behind it."""
    order, position = _order(lease), lease.run.position
    if isinstance(order.query, EventQuery):
        lines = _read_events(lease, order.query, position["at"])
        columns: Sequence[str] = EVENT_COLUMNS
    else:
        lines = _read_activities(lease, order.query, position["at"])
        columns = ACTIVITY_COLUMNS
    is_csv = order.format is ExportFormat.CSV
    # A CSV file begins with the header. Step 0 only counts, so step 1 writes the first part.
    data = bytearray(BOM + write_csv([columns]) if is_csv and lease.run.step == 1 else b"")
    rows, at, is_complete = 0, position["at"], True
    async with contextlib.aclosing(lines):
        async for line, position_behind in lines:
            at = position_behind
            if line is not None:
                rows += 1
                data += _render_row(line, columns) if is_csv else orjson.dumps(line) + b"\n"
            if len(data) >= PART_BYTES or lease.worker.stopping or time.monotonic() > lease.deadline:
                is_complete = False
                break
    return bytes(data), Part(rows, {"at": at, "bytes": position["bytes"] + len(data), "whole": is_complete})


def _render_row(line: dict[str, object], columns: Iterable[str]) -> bytes:
    cells = (line.get(column) for column in columns)
    return write_csv([[_render_cell(cell) for cell in cells]])


def _render_cell(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return orjson.dumps(value).decode()


async def _read_events(lease: JobLease, query: EventQuery, start: Sequence[Any] | None) -> LinesWithPosition:
    """Yield the lines of the matching events, the oldest first.

    Internal events, which Punchcard records itself, and those that rules made are left out unless the query names their
    type.
    """
    workspace = lease.workspace
    while True:
        events, next_start = await workspace.events.scan(query, start, EXPORT_BATCH_SIZE)
        if start is not None:
            # A query for external ids returns all its events, also those before the start.
            events = [event for event in events if (event.occurred_ms, event.id) > (start[0], start[1])]
        if not query.types:
            events = [event for event in events if event.type not in INTERNAL_TYPES and not event.is_made]
        external_ids = await workspace.passes.external_ids({event.pass_id for event in events})
        corrected = await workspace.events.get_many({e.correction_of for e in events if e.correction_of is not None})
        widths = [HOUR_MS] if next_start is None else next_start[2:]
        for event in events:
            external_id = external_ids.get(event.pass_id)
            if external_id is not None:
                position = [event.occurred_ms, event.id, *widths]
                yield render_event_line(event, external_id, corrected.get(event.correction_of or "")), position
        if next_start is None:
            return
        start = list(next_start)
        yield None, start


async def _read_activities(lease: JobLease, query: ActivityQuery, position: int) -> LinesWithPosition:
    """Yield the lines of the matching activities behind a position, in order of the log."""
    workspace, upto = lease.workspace, _order(lease).upto
    while position < upto:
        stop = min(position + POSITIONS_PER_QUERY, upto)
        page = await workspace.activities.page(query, PageRequest(EXPORT_BATCH_SIZE, (position,), (stop + 1,)))
        external_ids = await workspace.passes.external_ids({activity.pass_id for activity in page.items})
        for activity in page.items:
            yield render_activity_line(activity, external_ids.get(activity.pass_id)), activity.position
        position = page.items[-1].position if page.has_more else stop
        yield None, position


def _order(lease: JobLease) -> ExportOrder:
    order = lease.run.order
    assert isinstance(order, ExportOrder)
    return order
