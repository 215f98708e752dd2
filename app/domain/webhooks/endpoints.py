"""Webhook endpoints: addresses of others that are told of the activities which their filter shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.domain.activities import ActivityQuery

MAX_ENDPOINTS = 50
"""How many a workspace may have: each reads the log for itself."""


class EndpointStatus(StrEnum):
    """Whether a webhook endpoint is told of anything."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class DisabledReason(StrEnum):
    """Why a webhook endpoint is disabled."""

    MANUAL = "MANUAL"
    GONE = "GONE"
    FAILING = "FAILING"


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """One address, and which activities it is told of. It is ENABLED while there is no `reason` for it not to be.

    It is told of what lies behind position `begin` of the log. Its secrets are never part of it. `version` counts its
    changes. Instants are system time.
    """

    id: str
    workspace_id: str
    url: str
    description: str | None
    filter: ActivityQuery
    created_at: datetime
    updated_at: datetime
    begin_position: int = 0
    reason: DisabledReason | None = None
    version: int = 0

    @property
    def status(self) -> EndpointStatus:
        """Whether it is told of anything."""
        return EndpointStatus.ENABLED if self.reason is None else EndpointStatus.DISABLED
