"""The viewer: which workspace, by which key."""

from __future__ import annotations

from datetime import datetime

import strawberry

from app.commands.events.event_types import event_types
from app.graphql.context import Info, RequestContext
from app.graphql.events.event_types import Acceptance
from app.graphql.types.ids import to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher

from .keys import ApiKey


@strawberry.type
class Workspace(Node):
    """One business: its passes, its events, its segments."""

    name: str = strawberry.field(description="Its name.")
    currency: str = strawberry.field(description="The currency of amounts that name none, ISO 4217.")
    timezone: str = strawberry.field(description="Its IANA time zone.")
    created_at: datetime = strawberry.field(description="When it was created.")

    @strawberry.field
    async def event_types(self, info: Info) -> Acceptance:
        """Which types of events it takes."""
        return (await event_types(info.context.commands)).acceptance


@strawberry.type
class Viewer:
    """Who is asking."""

    @strawberry.field
    async def workspace(self, info: Info) -> Workspace:
        """The workspace that the key belongs to."""
        return await own_workspace(info.context)

    @strawberry.field
    async def api_key(self, info: Info) -> ApiKey:
        """The key."""
        return await fetch_node(info.context, "ApiKey", info.context.actor.key_id)  # type: ignore[no-any-return]


async def own_workspace(context: RequestContext) -> Workspace:
    """The workspace of the key."""
    profile = await context.commands.profile()
    return Workspace(
        id=strawberry.ID(to_global_id("Workspace", profile.id)),
        name=profile.name,
        currency=profile.currency,
        timezone=profile.timezone,
        created_at=profile.created_at,
    )


@fetcher("Workspace")
async def fetch_workspace(context: RequestContext, workspace_id: str) -> Workspace | None:
    """The caller's own workspace; None for any other."""
    return await own_workspace(context) if workspace_id == context.workspace.id else None


def find_viewer() -> Viewer:
    """Who is asking."""
    return Viewer()
