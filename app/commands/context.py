"""Context of a command: the workspace, the actor, and the resources of the process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.domain.actors import Actor
from app.domain.events.events import Origin
from app.domain.workspaces import WorkspaceProfile
from app.resources import Resources
from app.store.workspace.workspace import Workspace


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
        """Return the profile of the workspace, cached by the process."""
        return (await self._cached())[0]

    async def secret(self) -> bytes:
        """Return the key of the workspace's fingerprints, cached by the process."""
        return (await self._cached())[1]

    async def _cached(self) -> tuple[WorkspaceProfile, bytes]:
        profiles = self.resources.cache.profiles
        cached = profiles.get(self.workspace.id)
        if cached is None:
            cached = profiles[self.workspace.id] = await self.workspace.profile(), await self.workspace.secret()
        return cached
