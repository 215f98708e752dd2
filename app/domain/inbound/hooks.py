"""Inbound hooks: URLs at which other systems post events in their own format, and the secrets of these hooks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from app.domain.signatures import Verification

from .mappings import EventMapping

MAX_HOOKS = 200
"""Hooks of a workspace that are not archived."""
MAX_SECRETS = 5
"""Secrets of one hook that are valid at the same time."""


@dataclass(frozen=True, slots=True)
class HookSecret:
    """A secret for signatures. It is valid until `expires_at`, in system time, or for good if that is None."""

    text: str = field(repr=False)
    expires_at: datetime | None = None

    def is_usable_at(self, now: datetime) -> bool:
        """Return whether signatures with the secret are valid at this instant."""
        return self.expires_at is None or now < self.expires_at


def rotate_secrets(text: str, older: Iterable[HookSecret], now: datetime, grace: timedelta) -> tuple[HookSecret, ...]:
    """Return a new secret and the older ones, newest first, 5 at most.

    Older secrets that are valid now stay valid for `grace`, or until they expire if that is sooner. Without `grace`,
    they are left out.
    """
    usable = [secret for secret in older if secret.is_usable_at(now) and grace]
    kept = (replace(each, expires_at=min(now + grace, each.expires_at or now + grace)) for each in usable)
    return (HookSecret(text), *kept)[:MAX_SECRETS]


@dataclass(frozen=True, slots=True)
class InboundHook:
    """One hook, without its secrets: how it verifies requests, and how it maps their bodies to events of `source`.

    `version` counts the changes of the hook.
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
        """The path of the hook's URL, relative to the base URL of the API."""
        return f"/hooks/{self.id}"
