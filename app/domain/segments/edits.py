"""Scheduled edits of segments: stored apart from the versions until their time has come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.domain.errors import Code, InvalidInput
from app.domain.values.instants import parse_instant

from .criteria import Criteria

MAX_SCHEDULED_AHEAD = timedelta(days=366)
"""How far ahead an edit may be scheduled."""


@dataclass(frozen=True, slots=True)
class ScheduledEdit:
    """Edit of a segment that a worker makes at the instant `at`, or as soon after it as one runs. A segment has at most one.

    `criteria` and `timezone` that are None stay as they are then. `created_by` is the id of an API key. `problem` is the
    code and message for which the edit was refused when its time had come; it then stays until it is replaced or
    withdrawn.
    """

    id: str
    segment_id: str
    at: datetime
    criteria: Criteria | None
    timezone: str | None
    notify: str
    fires_rules: bool
    created_at: datetime
    created_by: str
    problem: tuple[str, str] | None = None


def parse_scheduled_at(raw: object, now: datetime) -> datetime:
    """Return the instant of a scheduled edit: later than now, and at most 366 days ahead. Raises InvalidInput."""
    at = parse_instant(raw, "scheduledAt")
    if not now < at <= now + MAX_SCHEDULED_AHEAD:
        message = f"Give an instant of the next {MAX_SCHEDULED_AHEAD.days} days, or leave `scheduledAt` out for now."
        raise InvalidInput(Code.OUT_OF_RANGE, message, "scheduledAt")
    return at
