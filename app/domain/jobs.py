"""Jobs: long work that a worker carries on with, whatever dies, until it is finished or cancelled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class JobKind(StrEnum):
    """What a job does."""

    IMPORT = "IMPORT"


class JobStatus(StrEnum):
    """How far a job is; the last three are final."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the rows seen so far: recorded now, recorded before with the same content, or not recorded."""

    created: int = 0
    duplicate: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """How many rows that is."""
        return self.created + self.duplicate + self.failed

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.created + other.created, self.duplicate + other.duplicate, self.failed + other.failed
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is listed. `total` is what is expected, exact once it is finished; instants are system time.

    A job without `finished_at` goes on; `cancelling` says that it was told to stop. `error` is for FAILED.
    """

    id: str
    kind: JobKind
    status: JobStatus
    source: str
    tally: Tally
    total: int
    dry_run: bool
    warnings: tuple[str, ...]
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancelling: bool = False
    error: str | None = None

    @property
    def result(self) -> dict[str, object]:
        """The counts, the source and the warnings, as they are answered."""
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
