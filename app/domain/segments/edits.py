"""Scheduled edits of segments: stored apart from the versions until their time has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.errors import Code, InvalidInput
from app.domain.values.instants import parse_instant

from .criteria import Criteria

MAX_SCHEDULED_AHEAD = timedelta(days=366)
"""How far ahead an edit may be scheduled."""
RETRY_AFTER = timedelta(hours=1)
"""Time after which an edit is made again that would have exceeded the limit of changes in 24 hours."""


@dataclass(frozen=True, slots=True)
class ScheduledEdit:
    """Edit of a segment that a worker makes at the instant `at`, or as soon after it as one runs. A segment has at most one.

    What is None stays as it is then. An empty `timezone` or `zone_field` removes what the segment has then.
    `created_by` is the id of an API key. `problem` is the code and message for which the edit was refused when its time had
    come; it then stays until it is replaced or withdrawn. With `retry_at`, it is made again at that instant.
    """

    id: str
    segment_id: str
    at: datetime
    criteria: Criteria | None
    timezone: str | None
    zone_field: str | None
    labels: Mapping[str, object]
    """`name`, `description` and `visible_to_passes`, as far as they change."""
    notify: str
    fires_rules: bool
    created_at: datetime
    created_by: str
    problem: tuple[str, str] | None = None
    retry_at: datetime | None = None

    @property
    def due_at(self) -> datetime | None:
        """The instant from which a worker makes the edit; None if it was refused for good."""
        return self.at if self.problem is None else self.retry_at


def parse_scheduled_at(raw: object, now: datetime) -> datetime:
    """Return the instant of a scheduled edit: later than now, and at most 366 days ahead. Raises InvalidInput."""
    at = parse_instant(raw, "scheduledAt")
    if not now < at <= now + MAX_SCHEDULED_AHEAD:
        message = f"Give an instant of the next {MAX_SCHEDULED_AHEAD.days} days, or leave `scheduledAt` out for now."
        raise InvalidInput(Code.OUT_OF_RANGE, message, "scheduledAt")
    return at
