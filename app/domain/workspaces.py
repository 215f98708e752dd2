"""Profile of a workspace: one business, with its currency, time zone and first day of the week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class WorkspaceProfile:
    """Name and defaults of a workspace.

    `currency` is a code of ISO 4217, `timezone` an IANA name, `week_start` a weekday from 0 (Monday) to 6 (Sunday).
    `allow_negative_balance` is the rule for deductions of points until updateWorkspace sets another one.
    """

    id: str
    name: str
    currency: str
    timezone: str
    week_start: int
    created_at: datetime
    allow_negative_balance: bool = True
