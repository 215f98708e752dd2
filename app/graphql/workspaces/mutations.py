"""The mutation updateWorkspace. It needs the scope `admin`."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.events.event_types import set_event_rules
from app.commands.workspaces.searchable import set_searchable
from app.commands.workspaces.settings import set_local_time
from app.domain.actors import ADMIN
from app.domain.errors import Refused
from app.domain.passes.searchable import MAX_SEARCHABLE_FIELDS
from app.domain.values.periods import Weekday
from app.graphql.context import Info
from app.graphql.events.event_types import Acceptance
from app.graphql.types.payloads import UserError, user_errors

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
    searchable_fields: list[str] | None = strawberry.field(
        default=None,
        description='Paths within the fields of a pass, for example "car.plate": `search` in the filter of `passes` finds '
        f"passes by the texts and numbers there, too. At most {MAX_SEARCHABLE_FIELDS}. After a change, workers write the "
        "words of all passes anew.",
    )
    timezone: str | None = strawberry.field(
        default=None,
        description='IANA time zone, for example "Europe/Berlin". Definitions that have no zone of their own follow it: '
        "all passes are evaluated again, and the entries and exits that this causes are silent.",
    )
    week_start: Weekday | None = strawberry.field(
        default=None, description="Day on which weeks begin. Calendar windows of weeks follow it in the same way."
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
    """Change what the workspace accepts, what a search reads, or its local time. Needs the scope `admin`.

    Safe to repeat. Other processes use a new time zone as a default within 10 seconds.
    """
    info.context.actor.require(ADMIN)
    try:
        if input.searchable_fields is not None:
            await set_searchable(info.context.commands, input.searchable_fields, "searchableFields")
        week_start = None if input.week_start is None else input.week_start.value
        await set_local_time(info.context.commands, input.timezone, week_start)
    except Refused as refused:
        return UpdateWorkspacePayload(user_errors=user_errors(refused.problems))
    await set_event_rules(info.context.commands, input.event_types, allow_negative_balance=input.allow_negative_balance)
    return UpdateWorkspacePayload(workspace=await own_workspace(info.context))
