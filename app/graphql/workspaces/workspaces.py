"""The types Workspace and Viewer, and the query viewer."""

from __future__ import annotations

from datetime import datetime

import strawberry

from app.commands.events.event_types import allows_negative_balance, event_types
from app.commands.workspaces.searchable import read_searchable
from app.commands.workspaces.settings import WEEKDAYS
from app.domain.values.periods import Weekday
from app.graphql.context import Info, RequestContext
from app.graphql.events.event_types import Acceptance
from app.graphql.types.ids import to_global_id
from app.graphql.types.node import Node, fetch_node, fetcher

from .keys import ApiKey


@strawberry.type
class Workspace(Node):
    """One business with its passes, events, segments and API keys, separate from all other workspaces."""

    name: str = strawberry.field(description="Name of the workspace.")
    currency: str = strawberry.field(
        description='Currency of amounts that are sent without one: a code of ISO 4217, for example "EUR".'
    )
    timezone: str = strawberry.field(
        description="IANA name of the workspace's time zone, for example `Europe/Berlin`. Calendar "
        "periods, imports and new segments use it by default."
    )
    week_start: Weekday = strawberry.field(description="Day on which weeks begin.")
    created_at: datetime = strawberry.field(description="Time of creation.")

    @strawberry.field
    async def event_types(self, info: Info) -> Acceptance:
        """Rule for the event types that the workspace accepts."""
        return (await event_types(info.context.commands)).acceptance

    @strawberry.field
    async def searchable_fields(self, info: Info) -> list[str]:
        """Paths within the fields of a pass whose values `search` in the filter of `passes` reads."""
        found = await read_searchable(info.context.commands)
        return [] if found is None else list(found.paths)

    @strawberry.field
    async def allow_negative_balance(self, info: Info) -> bool:
        """Whether a `redemption` or `point_sub` with negative points may take more points than the pass has.

        If not, such an event is declined: see `Event.outcome`. False for new workspaces, true for those of version 0.1.0.
        """
        ctx = info.context.commands
        return await allows_negative_balance(ctx, await event_types(ctx))


@strawberry.type
class Viewer:
    """API key of the request and its workspace."""

    @strawberry.field
    async def workspace(self, info: Info) -> Workspace:
        """Workspace of the API key. All operations of the key see only this workspace."""
        return await own_workspace(info.context)

    @strawberry.field
    async def api_key(self, info: Info) -> ApiKey:
        """API key of the request."""
        return await fetch_node(info.context, "ApiKey", info.context.actor.key_id)  # type: ignore[no-any-return]


async def own_workspace(context: RequestContext) -> Workspace:
    """Return the GraphQL object of the workspace of the request's API key."""
    profile = await context.commands.profile()
    return Workspace(
        id=strawberry.ID(to_global_id("Workspace", profile.id)),
        name=profile.name,
        currency=profile.currency,
        timezone=profile.timezone,
        week_start=WEEKDAYS[profile.week_start],
        created_at=profile.created_at,
    )


@fetcher("Workspace")
async def fetch_workspace(context: RequestContext, workspace_id: str) -> Workspace | None:
    """Return the workspace if it is that of the request's API key, else None."""
    return await own_workspace(context) if workspace_id == context.workspace.id else None


def find_viewer() -> Viewer:
    """Return the API key of the request and its workspace. Needs the scope `read`."""
    return Viewer()
