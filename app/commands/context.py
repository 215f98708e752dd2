"""Context of a command: the workspace, the actor, and the resources of the process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from app.domain.actors import Actor
from app.domain.events.events import Origin
from app.domain.workspaces import WorkspaceProfile
from app.resources import Resources
from app.store.workspace.workspace import Workspace

PROFILE_TTL_SECONDS = 10.0
"""How long a process uses a profile after another process has changed it."""


@dataclass(frozen=True, slots=True)
class Context:
    """One request of one actor. `channel` is the channel of its events; see `Origin`."""

    workspace: Workspace
    actor: Actor
    resources: Resources
    channel: str = "API"
    ip_address: str | None = None
    user_agent: str | None = None
    batch: str | None = None

    @property
    def origin(self) -> Origin:
        """Origin of the events that this request records."""
        return Origin(
            channel=self.channel,
            actor=self.actor.key_id,
            ip_address=self.ip_address,
            user_agent=self.user_agent,
            batch=self.batch,
        )

    async def now(self) -> datetime:
        """Return the business time."""
        return await self.resources.clock.now()

    async def profile(self) -> WorkspaceProfile:
        """Return the profile of the workspace, cached by the process for up to PROFILE_TTL_SECONDS."""
        profiles, now = self.resources.cache.profiles, time.monotonic()
        cached = profiles.get(self.workspace.id)
        if cached is None or cached[1] <= now:
            cached = profiles[self.workspace.id] = await self.workspace.profile(), now + PROFILE_TTL_SECONDS
        return cached[0]

    def forget_profile(self) -> None:
        """Read the profile again when it is needed next, because this process has changed it."""
        self.resources.cache.profiles.pop(self.workspace.id, None)

    async def secret(self) -> bytes:
        """Return the key of the workspace's fingerprints, cached by the process."""
        secrets = self.resources.cache.secrets
        if self.workspace.id not in secrets:
            secrets[self.workspace.id] = await self.workspace.secret()
        return secrets[self.workspace.id]
