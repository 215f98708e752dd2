"""Reports of jobs as files: a CSV with a line for each problem of a row that failed, streamed from the store."""

from __future__ import annotations

from collections.abc import AsyncIterator

from app.commands.jobs.imports import REPORT_COLUMNS
from app.domain.actors import READ, Actor
from app.domain.files.csv_table import write_csv
from app.domain.files.row_splitter import BOM
from app.store.workspace.workspace import Workspace


async def report(workspace: Workspace, actor: Actor, job_id: str) -> AsyncIterator[bytes] | None:
    """The report of a job in parts, the names of the columns first; None where the workspace has no such job.

    In UTF-8 with a byte order mark, by which spreadsheets know it. Raises Denied without the scope `read`, Unavailable.
    """
    actor.require(READ)
    if await workspace.jobs.get(job_id) is None:
        return None
    return _written(workspace.jobs.report(job_id))


async def _written(parts: AsyncIterator[list[list[str]]]) -> AsyncIterator[bytes]:
    yield BOM + write_csv([REPORT_COLUMNS])
    async for lines in parts:
        yield write_csv(lines)
