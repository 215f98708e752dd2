"""The mutation mergePasses."""

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

    survivor_id: strawberry.ID = strawberry.field(description="Id of the pass that remains.")
    merged_id: strawberry.ID = strawberry.field(description="Id of the pass that is merged into the other.")


@strawberry.type
class MergePassesPayload:
    """Result of `mergePasses`."""

    card: Pass | None = strawberry.field(
        default=None,
        name="pass",
        description="Pass that remains. Its statistics, memberships and balance include the events of the merged pass "
        "when a worker has counted them. Null if the call failed.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def merge_passes(
    info: Info, input: Annotated[MergePassesInput, strawberry.argument(description="Passes to merge.")]
) -> MergePassesPayload:
    """Merge a pass into another pass of the same customer. Needs the scope `admin`.

    The remaining pass gets the events of both and is found by both ids and external ids. The feed shows
    `customer.deleted` for the merged pass, and no event a second time. A merge cannot be undone. A pass can absorb at
    most 100 others. Fails with `CONFLICT` if one of the two is being erased, or the merged one is being merged
    elsewhere. Safe to repeat.
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
