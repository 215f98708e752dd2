"""What the commands do with a job: they follow it to its end, which it reaches without them."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from .client import RETRY_TIMEOUT_SECONDS, Client

POLL_INTERVAL_SECONDS = 0.25

_JOB = """query ($id: ID!) { job(id: $id) {
  status progress { done total failed } result reportUrl downloadUrl error finishedAt } }"""


def progress_on(console: Console) -> Progress:
    """Bars on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)


def follow_job(client: Client, job_id: str, progress: Progress, task: TaskID) -> dict[str, Any]:
    """The job when it has ended; how far it is is shown meanwhile."""
    while True:
        job = _looked_at(client, job_id)
        progress.update(task, completed=job["progress"]["done"], total=job["progress"]["total"] or None)
        if job["finishedAt"] is not None:
            return {**job, "id": job_id}
        try:
            time.sleep(POLL_INTERVAL_SECONDS)
        except KeyboardInterrupt:
            progress.stop()
            raise click.ClickException(
                f"It goes on without this command. It is the job {job_id}: query it with `job`, stop it with `cancelJob`."
            ) from None


def _looked_at(client: Client, job_id: str) -> dict[str, Any]:
    """The job as it is now; an API that is away for a moment is waited for, since the worker goes on without it."""
    deadline = time.monotonic() + RETRY_TIMEOUT_SECONDS
    while True:
        try:
            job: dict[str, Any] = client.ask(_JOB, id=job_id)["job"]
        except click.ClickException:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_INTERVAL_SECONDS)
        else:
            return job
