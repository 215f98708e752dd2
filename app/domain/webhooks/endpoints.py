"""Webhook endpoints: URLs that receive the activities of a workspace that their filter matches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.domain.activity_queries import ActivityQuery

MAX_ENDPOINTS = 50
"""Endpoints that a workspace may have. For each of them, a worker reads the activity log separately."""


class EndpointStatus(StrEnum):
    """Whether Punchcard sends messages to a webhook endpoint."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class DisabledReason(StrEnum):
    """Why a webhook endpoint is disabled."""

    MANUAL = "MANUAL"
    GONE = "GONE"
    FAILING = "FAILING"


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """One URL with the filter of the activities that it receives, without its secrets.

    The endpoint is DISABLED if it has a `reason`, else ENABLED. It receives activities behind position `begin_position`
    of the log. `version` counts the changes of the endpoint. Instants are system time.
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
        """ENABLED, or DISABLED if there is a reason."""
        return EndpointStatus.ENABLED if self.reason is None else EndpointStatus.DISABLED
