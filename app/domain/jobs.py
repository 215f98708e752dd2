"""Jobs: long work that a worker carries on with, whatever dies, until it is finished or cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.domain.files.exports import ExportFormat


class JobKind(StrEnum):
    """What a job does."""

    IMPORT = "IMPORT"
    EXPORT_EVENTS = "EXPORT_EVENTS"
    EXPORT_ACTIVITIES = "EXPORT_ACTIVITIES"
    DELETE_EVENTS = "DELETE_EVENTS"
    REPLAY_WEBHOOKS = "REPLAY_WEBHOOKS"


EXPORTS = frozenset({JobKind.EXPORT_EVENTS, JobKind.EXPORT_ACTIVITIES})
"""Kinds whose result is a file to fetch."""


class JobStatus(StrEnum):
    """How far a job is."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the items seen so far: done now, found done before, or not done.

    An import's items are rows: recorded now, recorded before with the same content, or not recorded.
    """

    created: int = 0
    duplicate: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """How many items that is."""
        return self.created + self.duplicate + self.failed

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.created + other.created, self.duplicate + other.duplicate, self.failed + other.failed
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class File:
    """The file that an export has written: how, in how many parts, how many bytes, and until when it is kept."""

    format: ExportFormat
    parts: int
    size: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is listed. `total` is what is expected, exact once it is finished; instants are system time.

    A job without `finished_at` goes on; `cancelling` says that it was told to stop. `error` is for FAILED, `outcome` is
    what its kind tells at the end beside the counts. `source` is for imports, `file` for exports that are finished.
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
        """What came of it, and the warnings, as they are answered: of an import the counts, else what the kind tells."""
        if self.kind is not JobKind.IMPORT:
            return {**self.outcome, "warnings": list(self.warnings)}
        return {
            "created": self.tally.created,
            "duplicate": self.tally.duplicate,
            "failed": self.tally.failed,
            "source": self.source,
            "warnings": list(self.warnings),
        }

    @property
    def report_path(self) -> str | None:
        """Where the API answers the report of the rows that failed; None where none did."""
        return f"/jobs/{self.id}/report.csv" if self.tally.failed else None
