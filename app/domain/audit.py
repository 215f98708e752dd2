"""Entries of the audit log, which lists administrative acts in a workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One administrative act: its time by the system clock, the actor, and the IP address of the request.

    `key_id` is that of an API key, or of an operator (see `app.domain.actors`). `subject` is the (type, id) of the changed
    object. `details` holds a few texts about the act.
    """

    id: str
    at: datetime
    action: str
    key_id: str
    subject: tuple[str, str]
    ip_address: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)
