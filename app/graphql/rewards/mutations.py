"""Mutations of rewards: createReward, updateReward, archiveReward, redeemReward and rollbackRedemption."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import strawberry
from strawberry.types.base import get_object_definition
from strawberry.utils.str_converters import to_camel_case

from app.commands.events.receipts import RecordedCall, receipt_of
from app.commands.passes.tokens import find_own_name
from app.commands.rewards import availability, redemptions
from app.commands.rewards import rewards as commands
from app.domain.errors import Code, Problem, Refused
from app.domain.events.events import TOKEN_CHANNEL, TOKEN_SOURCE
from app.domain.rewards.redemptions import RedemptionStatus
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.events import receipts
from app.graphql.events.receipts import IngestReceipt
from app.graphql.segments.criteria import to_mapping
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import InputWarning, UserError, user_errors, warnings_of

from .inputs import (
    ArchiveRewardInput,
    CreateRewardInput,
    RedeemRewardInput,
    RollbackRedemptionInput,
    UpdateRewardInput,
)
from .redemptions import Redemption, redemption_object
from .rewards import Reward, reward_of

WARNINGS = (
    "Remarks about a reward that was accepted and looks like a mistake, such as an event type that is neither defined nor "
    "recorded."
)
ERRORS = "Problems with the input; empty if the call succeeded."


@strawberry.type
class CreateRewardPayload:
    """Result of `createReward`."""

    reward: Reward | None = strawberry.field(default=None, description="Created reward. Null if the call failed.")
    warnings: list[InputWarning] = strawberry.field(default_factory=list, description=WARNINGS)
    user_errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type
class UpdateRewardPayload:
    """Result of `updateReward`."""

    reward: Reward | None = strawberry.field(default=None, description="Changed reward. Null if the call failed.")
    warnings: list[InputWarning] = strawberry.field(default_factory=list, description=WARNINGS)
    user_errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type
class ArchiveRewardPayload:
    """Result of `archiveReward`."""

    reward: Reward | None = strawberry.field(default=None, description="Archived reward. Null if the call failed.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type
class RedeemRewardPayload:
    """Result of `redeemReward`."""

    redemption: Redemption | None = strawberry.field(
        default=None,
        description="The redemption, also one that failed. With `validateOnly`: what it would be now. Null if the input has "
        "problems.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list,
        description="Problems with the input, such as a reward that does not exist. Why a redemption failed is in its "
        "`reasons`.",
    )
    call: strawberry.Private[RecordedCall | None] = None

    @strawberry.field
    async def receipt(self, info: Info) -> IngestReceipt | None:
        """Receipt of the call, for queries that wait until the redemption is decided.

        Null if nothing was recorded.
        """
        return None if self.call is None else receipts.receipt_of(await receipt_of(info.context.commands, self.call))


@strawberry.type
class RollbackRedemptionPayload:
    """Result of `rollbackRedemption`."""

    redemption: Redemption | None = strawberry.field(
        default=None, description="The redemption. Null if it does not exist."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input, such as a redemption that failed."
    )


async def create_reward(
    info: Info, input: Annotated[CreateRewardInput, strawberry.argument(description="Reward to create.")]
) -> CreateRewardPayload:
    """Create a reward. Needs the scope `write`.

    A workspace has at most 200 rewards that are not archived. Not safe to repeat: if the first call succeeded, a second
    one fails with `TAKEN`. A retry completes a call that was interrupted.
    """
    try:
        created = await commands.create_reward(info.context.commands, to_mapping(input))
    except Refused as refused:
        return CreateRewardPayload(user_errors=user_errors(refused.problems))
    warnings = warnings_of(await commands.warn_about_reward(info.context.commands, created.latest))
    return CreateRewardPayload(reward=reward_of(created), warnings=warnings)


async def update_reward(
    info: Info, input: Annotated[UpdateRewardInput, strawberry.argument(description="Changes to make.")]
) -> UpdateRewardPayload:
    """Change a reward. Needs the scope `write`.

    Every change but that of name and description makes the next version. Recorded redemptions keep their cost and their
    code. An archived reward cannot be changed. Safe to repeat: a call that changes nothing makes no version.
    """
    try:
        reward_id = parse_text(given_id(input.id, "Reward"), "id")
        changed = await commands.update_reward(info.context.commands, reward_id, _sent_values(input))
    except Refused as refused:
        return UpdateRewardPayload(user_errors=user_errors(refused.problems))
    warnings = warnings_of(await commands.warn_about_reward(info.context.commands, changed.latest))
    return UpdateRewardPayload(reward=reward_of(changed), warnings=warnings)


async def archive_reward(
    info: Info, input: Annotated[ArchiveRewardInput, strawberry.argument(description="Reward to archive.")]
) -> ArchiveRewardPayload:
    """Archive a reward: it cannot be redeemed any more. Needs the scope `write`. Safe to repeat.

    Redemptions stay, and can be rolled back. Archiving cannot be undone.
    """
    try:
        archived = await commands.archive_reward(info.context.commands, parse_text(given_id(input.id, "Reward"), "id"))
    except Refused as refused:
        return ArchiveRewardPayload(user_errors=user_errors(refused.problems))
    return ArchiveRewardPayload(reward=reward_of(archived))


async def redeem_reward(
    info: Info, input: Annotated[RedeemRewardInput, strawberry.argument(description="Reward to redeem.")]
) -> RedeemRewardPayload:
    """Redeem a reward for a pass. Needs the scope `write`.

    The redemption is an event of the type `redemption`. Workers decide it in order with everything else that happens on the
    pass: of two tills at once, the points go to the first one. The answer has the outcome, or `PENDING` after
    `waitSeconds`. A redemption that is declined is recorded, too, and counts nowhere. Safe to repeat with an `externalId`:
    a repeat gets the same redemption, and never spends points twice. With a token for one pass, leave the pass out.
    """
    # Earlier mutations of the same operation may have read the pass before this redemption.
    info.context.reset_loaders()
    sent = redemptions.RedemptionInput(
        reward_key=input.reward_key,
        pass_id=given_id(input.pass_id, "Pass"),
        pass_external_id=input.pass_external_id,
        quantity=input.quantity,
        external_id=input.external_id,
        source=input.source,
        metadata=input.metadata,
    )
    ctx = info.context.commands
    try:
        if (grant := ctx.actor.grant) is not None:
            ctx = replace(ctx, channel=TOKEN_CHANNEL)
            name = None
            if input.external_id is not None:
                name = await find_own_name(ctx, parse_text(input.external_id, "externalId"))
            sent = replace(sent, pass_id=grant.pass_id, external_id=name, source=TOKEN_SOURCE)
        if input.validate_only:
            found = await availability.validate_redemption(ctx, sent)
            return RedeemRewardPayload(redemption=redemption_object(found))
        # The rest of the operation needs some of its time, too.
        limit = info.context.time_limit
        remaining_seconds = None if limit is None else limit.remaining_seconds()
        max_seconds = None if remaining_seconds is None else remaining_seconds / 2
        redeemed = await redemptions.redeem_reward(ctx, sent, wait_seconds=input.wait_seconds, max_seconds=max_seconds)
    except Refused as refused:
        return RedeemRewardPayload(user_errors=user_errors(refused.problems))
    return RedeemRewardPayload(redemption=redemption_object(redeemed.redemption, is_own=True), call=redeemed.call)


async def rollback_redemption(
    info: Info, input: Annotated[RollbackRedemptionInput, strawberry.argument(description="Redemption to roll back.")]
) -> RollbackRedemptionPayload:
    """Roll a redemption back: its points and its units in stock come back. Needs the scope `write`. Safe to repeat.

    Points return to the lots that they came from. Those whose end has passed end at the rollback. Limits for each pass do
    not count the redemption any more. The answer waits up to 5 seconds until the rollback counts.
    """
    info.context.reset_loaders()
    try:
        found = await redemptions.rollback_redemption(
            info.context.commands, parse_text(given_id(input.id, "Redemption"), "id"), input.reason
        )
    except Refused as refused:
        return RollbackRedemptionPayload(user_errors=user_errors(refused.problems))
    problems: list[Problem] = []
    if found.status is RedemptionStatus.FAILED:
        message = "This redemption failed, so there is nothing to roll back."
        problems.append(Problem(Code.CONFLICT, message, ("id",)))
    return RollbackRedemptionPayload(redemption=redemption_object(found), user_errors=user_errors(problems))


def _sent_values(input: UpdateRewardInput) -> dict[str, Any]:
    """Return the values that the client sent, nulls included, as `to_mapping` writes them."""
    sent: dict[str, Any] = {}
    for field in get_object_definition(UpdateRewardInput, strict=True).fields:
        value = getattr(input, field.python_name)
        if field.python_name != "id" and value is not strawberry.UNSET:
            sent[to_camel_case(field.python_name)] = to_mapping(value)
    return sent
