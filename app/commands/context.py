"""What a command is given: the workspace, who is acting, and the resources of the process."""

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
    """One request of one actor. `channel` says by which door it came; see `Origin`."""

    workspace: Workspace
    actor: Actor
    resources: Resources
    channel: str = "API"
    ip_address: str | None = None
    user_agent: str | None = None
    batch: str | None = None

    @property
    def origin(self) -> Origin:
        """The origin that events of this request carry."""
        return Origin(self.channel, self.actor.key_id, self.ip_address, self.user_agent, self.batch)

    async def now(self) -> datetime:
        """The business time."""
        return await self.resources.clock.now()

    async def profile(self) -> WorkspaceProfile:
        """What the workspace says of itself; remembered by the process."""
        return (await self._known())[0]

    async def secret(self) -> bytes:
        """The key of the workspace's fingerprints; remembered by the process."""
        return (await self._known())[1]

    async def _known(self) -> tuple[WorkspaceProfile, bytes]:
        profiles = self.resources.cache.profiles
        found = profiles.get(self.workspace.id)
        if found is None:
            found = profiles[self.workspace.id] = await self.workspace.profile(), await self.workspace.secret()
        return found
