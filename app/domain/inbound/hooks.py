"""Inbound hooks: addresses at which foreign systems tell what happened, in their own words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from app.domain.signatures import Verification

from .mappings import EventMapping

MAX_HOOKS = 200
"""How many a workspace may have that are not archived."""
MAX_SECRETS = 5
"""How many secrets of one hook may work at a time."""


@dataclass(frozen=True, slots=True)
class HookSecret:
    """A secret by which a sender signs, and when it stops working, in system time; None for never."""

    text: str = field(repr=False)
    expires_at: datetime | None = None

    def usable_at(self, now: datetime) -> bool:
        """Whether signatures by it are good then."""
        return self.expires_at is None or now < self.expires_at


def rotate_secrets(text: str, older: Iterable[HookSecret], now: datetime, grace: timedelta) -> tuple[HookSecret, ...]:
    """A new secret, and those of the older ones that are good now, for `grace` more at most; 5 in all, the newest first."""
    usable = [secret for secret in older if secret.usable_at(now) and grace]
    kept = (replace(each, expires_at=min(now + grace, each.expires_at or now + grace)) for each in usable)
    return (HookSecret(text), *kept)[:MAX_SECRETS]


@dataclass(frozen=True, slots=True)
class InboundHook:
    """One address: how its requests are verified, and how their bodies become events of `source`.

    Its secrets are never part of it. `version` counts its changes.
    """

    id: str
    workspace_id: str
    name: str
    source: str
    verification: Verification
    mapping: EventMapping
    create_missing_passes: bool
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None = None
    version: int = 0

    @property
    def path(self) -> str:
        """Where it is reached, relative to the address of the API."""
        return f"/hooks/{self.id}"
