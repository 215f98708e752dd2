"""Workspaces: one business each, with its currency, its zone and its week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class WorkspaceProfile:
    """What a workspace says of itself. `currency` is ISO 4217, `timezone` IANA, `week_start` 0 (Monday) to 6."""

    id: str
    name: str
    currency: str
    timezone: str
    week_start: int
    created_at: datetime
