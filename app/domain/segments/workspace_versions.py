"""Versions of what a workspace sets for all of its definitions: its time zone and the start of its weeks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.domain.backfilled import BackfilledVersion
from app.domain.state.calendars import Calendar

WORKSPACE_SETTINGS = "workspace"
"""The id of these settings among the definitions of a workspace."""


@dataclass(frozen=True)
class WorkspaceVersion(BackfilledVersion):
    """Version of a workspace's settings, created at the instant `at`. It is in force from its revision on.

    `week_start` is a weekday from 0 (Monday) to 6 (Sunday). `tzdata` is the version of the time zone data by which local
    periods are computed.
    """

    revision: int
    version: int
    at: datetime
    timezone: str
    week_start: int
    tzdata: str

    @property
    def subject_id(self) -> str:
        """The id of the settings, which is the same in every workspace."""
        return WORKSPACE_SETTINGS

    @property
    def is_silent(self) -> bool:
        """Whether the changes that the version causes are hidden by default: always."""
        return True

    @property
    def digest(self) -> str:
        """A text that is equal exactly for equal settings."""
        return f"{self.timezone} {self.week_start} {self.tzdata}"


def calendar_of(zone: str | None, settings: WorkspaceVersion | None, fallback: str) -> Calendar:
    """Return the calendar of a definition: in its own zone or, if it has none, in that of the workspace's settings.

    `fallback` is the zone of a definition without one, in a workspace whose settings have no version.
    """
    if settings is None:
        return Calendar(zone or fallback)
    return Calendar(zone or settings.timezone, settings.week_start, settings.tzdata)
