"""Uploads: files that are copied into the store, part by part, and the reports of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.commands.context import Context
from app.domain.errors import Problem
from app.domain.files.csv_table import EncodingDetector
from app.domain.files.csv_writer import unmark_cell
from app.domain.files.row_splitter import Row
from app.domain.jobs import MAX_OPEN_JOBS, Job, check_kept_bytes, too_many_jobs
from app.domain.values.name_hashes import hash_names
from app.store.codecs.jobs import Order
from app.store.workspace.jobs import PART_BYTES

LEGACY_ENCODING_WARNING = "The file is not UTF-8; it was read as Windows-1252."
HEAD_BYTES = 262_144
"""Bytes at the beginning of a file from which the plan is guessed."""


class Upload(Protocol):
    """File that is read in parts."""

    filename: str | None

    async def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size`; empty at the end."""


def hash_row(key: bytes, row: Row, constants: Sequence[str] = ()) -> tuple[str, ...] | None:
    """Return the hashes of the names in a row, by which an erasure finds its line in a report."""
    unmarked = [unmark_cell(cell) for cell in row.cells if "'" in cell]
    return hash_names(key, list(row.cells), unmarked, row.values or {}, list(constants))


def report_line(number: int, problem: Problem, row: Row) -> tuple[str, ...]:
    """Return the line of a report for one problem of a row."""
    return (str(number), problem.code.value, ".".join(problem.field), problem.message, row.text)


@dataclass(slots=True)
class CopiedUpload:
    """Size, number of lines and encoding of an upload."""

    size: int = 0
    lines: int = 0
    encoding: str = "utf-8"


async def check_room(ctx: Context, now: datetime) -> None:
    """Raise LimitExceeded, at `file`, if the workspace has no room for another upload. Raises Unavailable."""
    if await ctx.workspace.jobs.count_open() >= MAX_OPEN_JOBS:
        raise too_many_jobs("file")
    check_kept_bytes(await ctx.workspace.jobs.kept_bytes(now), "file")


async def enqueue_upload(ctx: Context, job: Job, order: Order, start: int) -> None:
    """Create the job of an upload that was copied, and wake it. `start` is the byte at which its rows begin.

    If too many jobs are open, delete the copy. Raises LimitExceeded then, and Unavailable.
    """
    if not await ctx.workspace.jobs.insert(job, order, ctx.actor.key_id, start):
        await ctx.workspace.jobs.drop_input(job.id)
        raise too_many_jobs("file")
    ctx.resources.bus.wake("jobs", job.id)


async def copy_upload(
    ctx: Context, job_id: str, head: bytes, file: Upload, at: datetime, newline: bytes
) -> CopiedUpload:
    """Copy the file into the store, part by part, and return its size, number of lines and encoding.

    If the copy fails, its parts are deleted. After a crash, they expire a day later.
    """
    copied, detector = CopiedUpload(), EncodingDetector()
    part, number, last_byte = head, 0, newline
    try:
        while part := part + await read_upload(file, PART_BYTES - len(part)):
            detector.take(part)
            await ctx.workspace.jobs.put_input(job_id, number, part, at)
            copied.size += len(part)
            copied.lines += part.count(newline)
            part, number, last_byte = b"", number + 1, part[-1:]
    except BaseException:
        await ctx.workspace.jobs.drop_input(job_id)
        raise
    copied.lines += last_byte != newline
    copied.encoding = detector.encoding
    return copied


async def read_upload(file: Upload, size: int) -> bytes:
    """Return the next bytes of an upload, as many as `size` unless it ends before."""
    parts: list[bytes] = []
    while size and (part := await file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
