"""The mutation updateWorkspace. It needs the scope `admin`."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.events.event_types import set_event_rules
from app.domain.actors import ADMIN
from app.graphql.context import Info
from app.graphql.events.event_types import Acceptance
from app.graphql.types.payloads import UserError

from .workspaces import Workspace, own_workspace


@strawberry.input
class UpdateWorkspaceInput:
    """Changes to the workspace. Omitted values stay unchanged."""

    event_types: Acceptance | None = strawberry.field(
        default=None, description="Rule for the event types that the workspace accepts."
    )
    allow_negative_balance: bool | None = strawberry.field(
        default=None,
        description="Whether a `redemption` or `point_sub` with negative points may take more points than the pass has. "
        "If not, such an event is declined: see `Event.outcome`.",
    )


@strawberry.type
class UpdateWorkspacePayload:
    """Result of `updateWorkspace`."""

    workspace: Workspace | None = strawberry.field(default=None, description="Workspace after the change.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def update_workspace(
    info: Info, input: Annotated[UpdateWorkspaceInput, strawberry.argument(description="Changes to the workspace.")]
) -> UpdateWorkspacePayload:
    """Change the rules for the events that the workspace accepts. Needs the scope `admin`. Safe to repeat."""
    info.context.actor.require(ADMIN)
    await set_event_rules(info.context.commands, input.event_types, allow_negative_balance=input.allow_negative_balance)
    return UpdateWorkspacePayload(workspace=await own_workspace(info.context))
