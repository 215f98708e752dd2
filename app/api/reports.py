"""Job reports as CSV files, streamed from the store: a line for each problem of a failed row, or for each difference."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from app.commands.jobs.imports import REPORT_COLUMNS
from app.domain.actors import READ, Actor
from app.domain.files.csv_writer import write_csv
from app.domain.files.row_splitter import BOM
from app.domain.insights.verification import DIFFERENCE_COLUMNS
from app.domain.jobs import JobKind
from app.store.workspace.workspace import Workspace


async def read_report(workspace: Workspace, actor: Actor, job_id: str) -> AsyncIterator[bytes] | None:
    """Return the report of a job in parts, the column names first, or None if the workspace has no such job.

    The file is UTF-8 with a byte order mark, by which spreadsheet programs recognize UTF-8.
    Raises Denied if the actor lacks the scope `read`; Unavailable.
    """
    actor.require(READ)
    job = await workspace.jobs.get(job_id)
    if job is None:
        return None
    columns = DIFFERENCE_COLUMNS if job.kind is JobKind.VERIFY_PROJECTION else REPORT_COLUMNS
    return _write_parts(columns, workspace.jobs.report(job_id))


async def _write_parts(columns: Sequence[str], parts: AsyncIterator[list[list[str]]]) -> AsyncIterator[bytes]:
    yield BOM + write_csv([columns])
    async for lines in parts:
        yield write_csv(lines)
