"""Mutations that create, update and archive inbound hooks and rotate their secrets. All need the scope `admin`."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.inbound import hooks as commands
from app.domain.actors import ADMIN
from app.domain.errors import Refused
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import JSON

from .hooks import MAPPING, InboundHook, InboundScheme, SignatureEncoding, hook_of

SECRET = (
    "Secret that the sender dictates: `whsec_` and base64 of 24 to 64 bytes for STANDARD, else 16 to 255 characters. "
    "Default: Punchcard generates a secret."
)
MAPPING_REFERENCE = "Rules that turn a message into events, as described at `CreateInboundHookInput.mapping`."
NAME = "Name of the hook, for people, up to 255 characters."
CREATE_MISSING_PASSES = (
    "Whether an event for an unknown `passExternalId` creates the pass. If false, the event is rejected."
)


@strawberry.input
class InboundVerificationInput:
    """How a hook verifies that a request comes from its sender."""

    scheme: InboundScheme = strawberry.field(
        default=InboundScheme.STANDARD, description="Signature scheme of the sender. Default: STANDARD."
    )
    header: str | None = strawberry.field(
        default=None,
        description='Name of the header with the signature, for example "X-Hub-Signature-256". Required for '
        'HMAC_SHA256. Default for TIMESTAMPED_HMAC_SHA256: "Stripe-Signature". Not allowed for STANDARD.',
    )
    encoding: SignatureEncoding | None = strawberry.field(
        default=None, description="Encoding of the signature; allowed for HMAC_SHA256 only. Default: HEX."
    )
    prefix: str | None = strawberry.field(
        default=None,
        description='Text before the signature in the header, for example "sha256=", up to 50 characters; allowed for '
        "HMAC_SHA256 only. Default: none.",
    )


@strawberry.input
class CreateInboundHookInput:
    """Settings of a new inbound hook."""

    name: str = strawberry.field(description=NAME)
    source: str = strawberry.field(
        description="Source of the hook's events, up to 100 characters. It is part of the identity of each event and "
        "cannot be changed later."
    )
    mapping: JSON = strawberry.field(description=MAPPING)
    verification: InboundVerificationInput | None = strawberry.field(
        default=None, description="How the hook verifies requests. Default: by the scheme STANDARD."
    )
    secret: str | None = strawberry.field(default=None, description=SECRET)
    create_missing_passes: bool = strawberry.field(
        default=False, description=f"{CREATE_MISSING_PASSES} Default: false."
    )


@strawberry.input
class UpdateInboundHookInput:
    """Changes to an inbound hook. Omitted values stay unchanged."""

    id: strawberry.ID = strawberry.field(description="Id of the hook.")
    name: str | None = strawberry.field(default=None, description=NAME)
    mapping: JSON | None = strawberry.field(
        default=None, description=f"{MAPPING_REFERENCE} It replaces the old mapping completely."
    )
    verification: InboundVerificationInput | None = strawberry.field(
        default=None,
        description="How the hook verifies requests; it replaces the old setting completely. The stored secrets must "
        "fit a new scheme.",
    )
    create_missing_passes: bool | None = strawberry.field(default=None, description=CREATE_MISSING_PASSES)


@strawberry.input
class RotateInboundHookSecretInput:
    """Inbound hook that gets a new secret."""

    id: strawberry.ID = strawberry.field(description="Id of the hook.")
    grace_seconds: int = strawberry.field(
        default=0,
        description="Seconds for which the older secrets stay valid beside the new one: 0 to 2,592,000 (30 days). "
        "Default: 0, which ends them at once.",
    )
    secret: str | None = strawberry.field(default=None, description=SECRET)


@strawberry.input
class ArchiveInboundHookInput:
    """Inbound hook to archive."""

    id: strawberry.ID = strawberry.field(description="Id of the hook.")


@strawberry.type
class CreateInboundHookPayload:
    """Result of `createInboundHook`."""

    hook: InboundHook | None = strawberry.field(default=None, description="New hook; null if the call failed.")
    secret: str | None = strawberry.field(
        default=None,
        description="Secret with which the sender signs; null if the call failed. Punchcard shows it only once.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class UpdateInboundHookPayload:
    """Result of `updateInboundHook`."""

    hook: InboundHook | None = strawberry.field(
        default=None, description="Hook after the change; null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class RotateInboundHookSecretPayload:
    """Result of `rotateInboundHookSecret`."""

    hook: InboundHook | None = strawberry.field(default=None, description="Hook; null if the call failed.")
    secret: str | None = strawberry.field(
        default=None,
        description="New secret with which the sender signs; null if the call failed. Punchcard shows it only once.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class ArchiveInboundHookPayload:
    """Result of `archiveInboundHook`."""

    hook: InboundHook | None = strawberry.field(default=None, description="Archived hook; null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def create_inbound_hook(
    info: Info, input: Annotated[CreateInboundHookInput, strawberry.argument(description="Settings of the new hook.")]
) -> CreateInboundHookPayload:
    """Create an inbound hook: an address at which another system posts its webhooks. Needs the scope `admin`.

    A workspace may have up to 200 hooks that are not archived. Not safe to repeat: each call creates another hook.
    """
    info.context.actor.require(ADMIN)
    try:
        hook, secret = await commands.create_inbound_hook(
            info.context.commands,
            input.name,
            input.source,
            input.mapping,
            _parse_verification(input.verification),
            secret=input.secret,
            create_missing_passes=input.create_missing_passes,
        )
    except Refused as refused:
        return CreateInboundHookPayload(user_errors=user_errors(refused.problems))
    return CreateInboundHookPayload(hook=hook_of(hook), secret=secret)


async def update_inbound_hook(
    info: Info, input: Annotated[UpdateInboundHookInput, strawberry.argument(description="Hook and its changes.")]
) -> UpdateInboundHookPayload:
    """Change an inbound hook. Needs the scope `admin`. Safe to repeat.

    Messages that arrive later use the new settings. An archived hook cannot be changed.
    """
    info.context.actor.require(ADMIN)
    try:
        hook = await commands.update_inbound_hook(
            info.context.commands,
            _parse_hook_id(input.id),
            name=input.name,
            mapping=input.mapping,
            verification=_parse_verification(input.verification),
            create_missing_passes=input.create_missing_passes,
        )
    except Refused as refused:
        return UpdateInboundHookPayload(user_errors=user_errors(refused.problems))
    return UpdateInboundHookPayload(hook=hook_of(hook))


async def rotate_inbound_hook_secret(
    info: Info,
    input: Annotated[RotateInboundHookSecretInput, strawberry.argument(description="Hook and grace period.")],
) -> RotateInboundHookSecretPayload:
    """Replace the secret of an inbound hook. Needs the scope `admin`.

    Older secrets stay valid for `graceSeconds`. At most five secrets are valid at a time; the oldest ones end first.
    Not safe to repeat without `secret`: each call generates another secret.
    """
    info.context.actor.require(ADMIN)
    try:
        hook, secret = await commands.rotate_inbound_hook_secret(
            info.context.commands, _parse_hook_id(input.id), input.grace_seconds, input.secret
        )
    except Refused as refused:
        return RotateInboundHookSecretPayload(user_errors=user_errors(refused.problems))
    return RotateInboundHookSecretPayload(hook=hook_of(hook), secret=secret)


async def archive_inbound_hook(
    info: Info, input: Annotated[ArchiveInboundHookInput, strawberry.argument(description="Hook to archive.")]
) -> ArchiveInboundHookPayload:
    """Archive an inbound hook for good. Needs the scope `admin`. Safe to repeat.

    Requests to an archived hook get HTTP status 401. Its failed deliveries stay listed until they expire, but cannot be
    run again.
    """
    info.context.actor.require(ADMIN)
    try:
        hook = await commands.archive_inbound_hook(info.context.commands, _parse_hook_id(input.id))
    except Refused as refused:
        return ArchiveInboundHookPayload(user_errors=user_errors(refused.problems))
    return ArchiveInboundHookPayload(hook=hook_of(hook))


def _parse_hook_id(id: strawberry.ID) -> str:
    return parse_text(given_id(id, "InboundHook"), "id")


def _parse_verification(sent: InboundVerificationInput | None) -> commands.VerificationInput | None:
    if sent is None:
        return None
    return commands.VerificationInput(
        scheme=sent.scheme, header=sent.header, encoding=sent.encoding, prefix=sent.prefix
    )
