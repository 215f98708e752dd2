"""What resolvers find in `info.context`: who asks, the workspace, and loaders that live as long as one operation."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import strawberry

from app.commands.context import Context
from app.domain.actors import Actor
from app.domain.errors import Unavailable
from app.feed.tailer import Feed
from app.rate_limits import Allowance
from app.store.workspace.workspace import Workspace

from .loaders import Loaders


class RequestContext:
    """One operation of one actor. The workspace is the actor's own: there is no way to name another."""

    def __init__(
        self,
        commands: Context,
        feed: Feed,
        heartbeat_seconds: float,
        authenticated: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.commands = commands
        self._authenticated = authenticated
        self.feed = feed
        self.heartbeat_seconds = heartbeat_seconds
        self.load = Loaders(commands.workspace)
        self.allowance: Allowance | None = None
        self.cursor: str | None = None
        self.resume_after: str | None = None

    @property
    def actor(self) -> Actor:
        """Who asks."""
        return self.commands.actor

    @property
    def workspace(self) -> Workspace:
        """The named queries of the actor's workspace."""
        return self.commands.workspace

    async def check_key(self) -> None:
        """Nothing; raises Unauthenticated where the key that began the operation works no more.

        While the store is away nobody can say, and nothing new can be told: the key counts as good.
        """
        if self._authenticated is not None:
            with contextlib.suppress(Unavailable):
                await self._authenticated()

    def renew(self) -> None:
        """Forgets what was loaded: each event of a subscription reads for itself."""
        self.load = Loaders(self.commands.workspace)


Info = strawberry.Info[RequestContext, Any]
