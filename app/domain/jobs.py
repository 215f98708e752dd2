"""Jobs: long work that workers do in batches. If a worker crashes, another one continues from the stored progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.domain.errors import LimitExceeded
from app.domain.files.exports import ExportFormat

MAX_OPEN_JOBS = 20
"""Unfinished jobs of one workspace."""
MAX_RUNNING_JOBS = 2
"""Jobs of one workspace that run at the same time, while others wait."""
MAX_KEPT_BYTES = 5_368_709_120
"""Files that the exports and the open imports of one workspace keep."""


class JobKind(StrEnum):
    """Kind of work that a job does."""

    IMPORT = "IMPORT"
    EXPORT_EVENTS = "EXPORT_EVENTS"
    EXPORT_ACTIVITIES = "EXPORT_ACTIVITIES"
    DELETE_EVENTS = "DELETE_EVENTS"
    REPLAY_WEBHOOKS = "REPLAY_WEBHOOKS"
    SIMULATE_RULE = "SIMULATE_RULE"
    INCLUDE_MEMBERS = "INCLUDE_MEMBERS"
    MEASURE_CONVERSION = "MEASURE_CONVERSION"
    IMPORT_SEGMENT_MEMBERS = "IMPORT_SEGMENT_MEMBERS"
    BROADCAST = "BROADCAST"
    PREVIEW_SEGMENT = "PREVIEW_SEGMENT"
    VERIFY_PROJECTION = "VERIFY_PROJECTION"
    PREPARE_DIMENSIONS = "PREPARE_DIMENSIONS"


EXPORTS = frozenset({JobKind.EXPORT_EVENTS, JobKind.EXPORT_ACTIVITIES})
"""Kinds of jobs that write a file for download."""


UPLOADS = frozenset({JobKind.IMPORT, JobKind.IMPORT_SEGMENT_MEMBERS})
"""Kinds of jobs that read a file that a client uploaded."""


class JobStatus(StrEnum):
    """State of a job. SUCCEEDED, FAILED and CANCELLED are final."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


def too_many_jobs(*field: str) -> LimitExceeded:
    """Return the refusal of one more job."""
    message = f"A workspace has at most {MAX_OPEN_JOBS} unfinished jobs; wait until one ends, or cancel one."
    return LimitExceeded(message, *field)


def check_kept_bytes(kept: int, *field: str) -> None:
    """Raise LimitExceeded if the workspace keeps too many bytes of files."""
    if kept >= MAX_KEPT_BYTES:
        message = (
            f"The files of this workspace's jobs take {kept:,} bytes; at most {MAX_KEPT_BYTES:,} are allowed. Exports are "
            "deleted after a day, and uploads when their import ends; try again then."
        )
        raise LimitExceeded(message, *field)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of the items that a job has processed so far: done by the job, done before it, failed, or left out.

    The items of an import are rows: recorded by the job, recorded before with the same content, or not recorded. Rows of
    events that rules made are left out.
    """

    created: int = 0
    duplicate: int = 0
    failed: int = 0
    left_out: int = 0

    @property
    def done(self) -> int:
        """The number of all items processed so far."""
        return self.created + self.duplicate + self.failed + self.left_out

    def plus(self, other: Tally) -> Tally:
        """Return the sum of both tallies."""
        return Tally(
            self.created + other.created,
            self.duplicate + other.duplicate,
            self.failed + other.failed,
            left_out=self.left_out + other.left_out,
        )


@dataclass(frozen=True, slots=True)
class File:
    """File that an export has written: its format, its number of parts, its bytes, and when it is deleted."""

    format: ExportFormat
    parts: int
    size: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """Job with its progress. Instants are system time.

    - `total`: expected number of items; exact once the job is finished.
    - `source`: source of the events, for imports.
    - `finished_at`: None until the job ends.
    - `is_cancelling`: a client cancelled the job, and it has not stopped yet.
    - `error`: reason, for FAILED jobs.
    - `outcome`: result at the end, beside the counts. Its keys depend on the kind.
    - `file`: file of a finished export.
    """

    id: str
    kind: JobKind
    status: JobStatus
    tally: Tally
    total: int
    created_at: datetime
    source: str | None = None
    dry_run: bool = False
    warnings: tuple[str, ...] = ()
    started_at: datetime | None = None
    finished_at: datetime | None = None
    is_cancelling: bool = False
    error: str | None = None
    outcome: Mapping[str, object] = field(default_factory=dict)
    file: File | None = None

    @property
    def result(self) -> dict[str, object]:
        """The result and the warnings, as the API returns them. The result of an import is its counts and source."""
        if self.kind is not JobKind.IMPORT:
            return {**self.outcome, "warnings": list(self.warnings)}
        return {
            "created": self.tally.created,
            "duplicate": self.tally.duplicate,
            "failed": self.tally.failed,
            "leftOut": self.tally.left_out,
            "source": self.source,
            "warnings": list(self.warnings),
        }

    @property
    def report_path(self) -> str | None:
        """Path at which the API serves the report of failed rows; None if no row failed."""
        return f"/jobs/{self.id}/report.csv" if self.tally.failed else None
