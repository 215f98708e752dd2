"""The audit log: who changed what about the workspace itself, and from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One administrative act, by the machine's clock. `subject` is (type, id); `details` are a few plain values."""

    id: str
    at: datetime
    action: str
    key_id: str
    subject: tuple[str, str]
    ip_address: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)
