"""Context of one operation, which resolvers find in `info.context`: the API key, its workspace, and the loaders."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, TypeVar

import strawberry
from graphql import OperationType

from app.commands.context import Context
from app.domain.actors import READ, Actor
from app.domain.errors import PassesChanged, Unavailable
from app.feed.tailer import Feed
from app.rate_limits import Allowance
from app.store.workspace.workspace import Workspace

from .loaders import Loaders
from .time_limit import TimeLimit

T = TypeVar("T")


class RequestContext:
    """Context of one operation. An operation sees only the workspace of its API key.

    - `can_read`: whether the key has the scope `read`.
    - `load`: loaders, which batch and cache reads for the duration of the operation.
    - `allowance`: what is left of the key's budget; None if keys have no budgets.
    - `spent_points`: points that were spent for the operation so far.
    - `plans`: what was read for each aggregation so far, for `extensions.plan`.
    - `time_limit`: time limit of the operation; None before the engine runs the operation.
    - `cursor`: position of a stream after its last response; None before the first one.
    - `resume_after`: cursor at which a reconnected client continues; it takes precedence over the arguments.
    """

    def __init__(
        self,
        commands: Context,
        feed: Feed,
        heartbeat_seconds: float,
        authenticate: Callable[[], Awaitable[Actor]] | None = None,
    ) -> None:
        self.commands = commands
        self.can_read = commands.actor.has_scope(READ)
        self._authenticate = authenticate
        self._passes_changed = False
        self.feed = feed
        self.heartbeat_seconds = heartbeat_seconds
        self.load = Loaders(commands.workspace)
        self.allowance: Allowance | None = None
        self.spent_points = 0
        self.plans: list[dict[str, object]] = []
        self.time_limit: TimeLimit | None = None
        self.cursor: str | None = None
        self.resume_after: str | None = None

    @property
    def actor(self) -> Actor:
        """The API key of the request."""
        return self.commands.actor

    @property
    def workspace(self) -> Workspace:
        """The store's queries for the workspace of the API key."""
        return self.commands.workspace

    async def check_key(self) -> None:
        """Raise Unauthenticated if the key or token that started the operation is revoked or expired.

        Raises PassesChanged if the pass of a token was merged meanwhile: the stream would miss what happens to the survivor.

        While the store is unavailable, the key counts as valid: a stream should survive a short outage of the store.
        """
        if self._authenticate is not None:
            with contextlib.suppress(Unavailable):
                current = await self._authenticate()
                self._passes_changed = current.grant != self.actor.grant
        if self._passes_changed:
            raise PassesChanged

    async def read_once(
        self, info: strawberry.Info[Any, Any], key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Return the result of a read, which all fields with an equal key share. In a mutation, each field reads anew.

        A mutation with several fields must see what its earlier fields have written.
        """
        if info.operation.operation is OperationType.MUTATION:
            return await read()
        return await self.load.read_once(key, read)

    def reset_loaders(self) -> None:
        """Drop everything loaded so far, so that the next message of a subscription reads current data."""
        self.load = Loaders(self.commands.workspace)


Info = strawberry.Info[RequestContext, Any]
