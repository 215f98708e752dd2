"""mergePasses at the edge."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.passes import merges
from app.domain.actors import ADMIN
from app.domain.errors import Refused
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import UserError, user_errors

from .passes import Pass, pass_of


@strawberry.input
class MergePassesInput:
    """Two passes of one customer."""

    survivor_id: strawberry.ID = strawberry.field(description="The pass that answers for both from then on.")
    merged_id: strawberry.ID = strawberry.field(description="The pass that becomes another name of it.")


@strawberry.type
class MergePassesPayload:
    """The pass that answers for both."""

    card: Pass | None = strawberry.field(
        default=None,
        name="pass",
        description="The pass that answers for both. Its totals, memberships and balance follow as soon as a worker has "
        "counted the events of the other one.",
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def merge_passes(
    info: Info, input: Annotated[MergePassesInput, strawberry.argument(description="The two passes.")]
) -> MergePassesPayload:
    """Makes one pass another name of a second one of the same customer: the survivor answers for both ids and external
    ids, and counts the events of both. Needs the scope `admin`. Safe to repeat; not to be undone.
    """
    info.context.actor.require(ADMIN)
    try:
        card = await merges.merge_passes(
            info.context.commands,
            parse_text(given_id(input.survivor_id, "Pass"), "survivorId"),
            parse_text(given_id(input.merged_id, "Pass"), "mergedId"),
        )
    except Refused as refused:
        return MergePassesPayload(user_errors=user_errors(refused.problems))
    return MergePassesPayload(card=pass_of(card))
