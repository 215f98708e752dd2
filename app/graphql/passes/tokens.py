"""Mutations of tokens for one pass: createPassToken, revokePassTokens and rotatePassTokenKey."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from app.commands.passes import tokens as commands
from app.domain.actors import ADMIN
from app.domain.errors import Refused
from app.domain.pass_tokens import DEFAULT_LIFE_SECONDS, MAX_LIFE_SECONDS, MAX_RECORD_TYPES, PassTokenScope
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.types.enums import describe_enum
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import UserError, user_errors

from .passes import Pass, pass_of

describe_enum(
    PassTokenScope,
    "PassTokenScope",
    {
        "READ": "Query the pass: its events, activities, visible segments, rewards, redemptions and points.",
        "SUBSCRIBE": "Follow the activities of the pass.",
        "RECORD": "Record events of the types in `recordTypes` on the pass, that happen now.",
        "REDEEM": "Redeem rewards for the pass with `redeemReward`.",
    },
)
ERRORS = "Problems with the input; empty if the call succeeded."


@strawberry.input
class CreatePassTokenInput:
    """Token to make. Name its pass by exactly one of `passId` and `passExternalId`."""

    pass_id: strawberry.ID | None = strawberry.field(default=None, description="Id of the pass.")
    pass_external_id: str | None = strawberry.field(default=None, description="External id of the pass.")
    scopes: list[PassTokenScope] = strawberry.field(
        description="What the holder may do; at least one. The API key needs `read` to give READ, `subscribe` to give "
        "SUBSCRIBE, and `write` for every token."
    )
    record_types: list[str] | None = strawberry.field(
        default=None,
        description=f"Types of events that the holder may record: 1 to {MAX_RECORD_TYPES} with RECORD, none without it.",
    )
    expires_in_seconds: int = strawberry.field(
        default=DEFAULT_LIFE_SECONDS,
        description=f"Seconds for which the token is valid: 1 to {MAX_LIFE_SECONDS:,}. Default: "
        f"{DEFAULT_LIFE_SECONDS:,}.",
    )


@strawberry.input
class RevokePassTokensInput:
    """Pass whose tokens end."""

    pass_id: strawberry.ID = strawberry.field(description="Id of the pass.")


@strawberry.input
class RotatePassTokenKeyInput:
    """Change of the key that signs tokens."""

    grace_seconds: int = strawberry.field(
        default=0,
        description="Seconds for which tokens of the former keys stay valid: 0 to 2,592,000 (30 days). Default: 0, which "
        f"ends all tokens of the workspace at once. With {MAX_LIFE_SECONDS:,}, every token reaches its own end.",
    )


@strawberry.type
class CreatePassTokenPayload:
    """Result of `createPassToken`."""

    token: str | None = strawberry.field(
        default=None,
        description="Token for the header `Authorization: Bearer <token>`; null if the call failed. Punchcard does not "
        "store it.",
    )
    expires_at: datetime | None = strawberry.field(
        default=None, description="Instant at which the token stops working, in system time; null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type
class RevokePassTokensPayload:
    """Result of `revokePassTokens`."""

    card: Pass | None = strawberry.field(
        default=None, name="pass", description="Pass whose tokens ended; null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


@strawberry.type
class RotatePassTokenKeyPayload:
    """Result of `rotatePassTokenKey`."""

    former_end_at: datetime | None = strawberry.field(
        default=None,
        description="Instant at which tokens of the former keys stop working, in system time; null if the call failed.",
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description=ERRORS)


async def create_pass_token(
    info: Info, input: Annotated[CreatePassTokenInput, strawberry.argument(description="Token to make.")]
) -> CreatePassTokenPayload:
    """Make a token with which one customer reaches one pass, for a browser or an app. Needs the scope `write`.

    The token is signed and not stored. It names the pass that answers now; after a merge, the survivor answers. It ends
    with `expiresInSeconds`, `revokePassTokens`, a rotation of the key, or the erasure of the pass. Not safe to repeat:
    each call makes another token.
    """
    try:
        token, expires_at = await commands.create_pass_token(
            info.context.commands,
            commands.TokenInput(
                pass_id=given_id(input.pass_id, "Pass"),
                pass_external_id=input.pass_external_id,
                scopes=input.scopes,
                record_types=input.record_types,
                expires_in_seconds=input.expires_in_seconds,
            ),
        )
    except Refused as refused:
        return CreatePassTokenPayload(user_errors=user_errors(refused.problems))
    return CreatePassTokenPayload(token=token, expires_at=expires_at)


async def revoke_pass_tokens(
    info: Info, input: Annotated[RevokePassTokensInput, strawberry.argument(description="Pass whose tokens end.")]
) -> RevokePassTokensPayload:
    """End all tokens of a pass, and of the passes that were merged into it. Needs the scope `write`. Safe to repeat.

    Requests with the tokens fail after at most about 250 ms. Open streams end with their next message.
    """
    try:
        pass_id = parse_text(given_id(input.pass_id, "Pass"), "passId")
        card = await commands.revoke_pass_tokens(info.context.commands, pass_id)
    except Refused as refused:
        return RevokePassTokensPayload(user_errors=user_errors(refused.problems))
    return RevokePassTokensPayload(card=pass_of(card))


async def rotate_pass_token_key(
    info: Info, input: Annotated[RotatePassTokenKeyInput, strawberry.argument(description="Grace period.")]
) -> RotatePassTokenKeyPayload:
    """Let a new key sign the tokens of the workspace, and end the former keys after a grace period.

    Needs the scope `admin`. Processes refuse tokens of a former key at most a second after its end. Not safe to repeat:
    each call makes another key, and a later call with a shorter grace period ends the former keys earlier.
    """
    info.context.actor.require(ADMIN)
    try:
        ends_at = await commands.rotate_pass_token_key(info.context.commands, input.grace_seconds)
    except Refused as refused:
        return RotatePassTokenKeyPayload(user_errors=user_errors(refused.problems))
    return RotatePassTokenKeyPayload(former_end_at=ends_at)


@strawberry.type
class PassTokenMutations:
    """Fields of Mutation for tokens that reach one pass."""

    create_pass_token: CreatePassTokenPayload = strawberry.mutation(resolver=create_pass_token)
    revoke_pass_tokens: RevokePassTokensPayload = strawberry.mutation(resolver=revoke_pass_tokens)
    rotate_pass_token_key: RotatePassTokenKeyPayload = strawberry.mutation(resolver=rotate_pass_token_key)
