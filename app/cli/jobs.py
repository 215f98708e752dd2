"""Shared parts of the commands that start a job: they show its progress and wait for its end."""

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


def create_progress(console: Console) -> Progress:
    """Return progress bars for a terminal. If the output is no terminal, they print nothing."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)


def follow_job(client: Client, job_id: str, progress: Progress, task: TaskID) -> dict[str, Any]:
    """Show the progress of a job, wait until it has ended, and return it.

    The worker continues the job if the command ends.
    """
    while True:
        job = _read_job(client, job_id)
        progress.update(task, completed=job["progress"]["done"], total=job["progress"]["total"] or None)
        if job["finishedAt"] is not None:
            return {**job, "id": job_id}
        try:
            time.sleep(POLL_INTERVAL_SECONDS)
        except KeyboardInterrupt:
            progress.stop()
            raise click.ClickException(
                f"The job {job_id} continues without this command. Read it with the query `job`, or stop it with the"
                " mutation `cancelJob`."
            ) from None


def _read_job(client: Client, job_id: str) -> dict[str, Any]:
    """Return the current state of the job. If the API does not answer, retry for up to 30 seconds."""
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
