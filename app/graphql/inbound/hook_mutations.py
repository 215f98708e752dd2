"""createInboundHook, updateInboundHook, rotateInboundHookSecret and archiveInboundHook at the edge."""

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
    "The sender's own secret, where it cannot be told another: `whsec_` and base64 for STANDARD, else 16 characters or "
    "more; omitted: one is made."
)


@strawberry.input
class InboundVerificationInput:
    """How the requests of a sender are told from anybody's."""

    scheme: InboundScheme = strawberry.field(default=InboundScheme.STANDARD, description="How it signs.")
    header: str | None = strawberry.field(
        default=None,
        description='The header of the signature, for example "X-Hub-Signature-256": needed for HMAC_SHA256; '
        '"Stripe-Signature" if omitted for TIMESTAMPED_HMAC_SHA256.',
    )
    encoding: SignatureEncoding | None = strawberry.field(
        default=None, description="How it is written, for HMAC_SHA256; HEX if omitted."
    )
    prefix: str | None = strawberry.field(
        default=None, description='What stands before it, for example "sha256="; for HMAC_SHA256.'
    )


@strawberry.input
class CreateInboundHookInput:
    """A new hook."""

    name: str = strawberry.field(description="What it is for.")
    source: str = strawberry.field(description="The source of its events, part of their identity; it stays for good.")
    mapping: JSON = strawberry.field(description=MAPPING)
    verification: InboundVerificationInput | None = strawberry.field(
        default=None, description="How requests are verified; by Standard Webhooks, if omitted."
    )
    secret: str | None = strawberry.field(default=None, description=SECRET)
    create_missing_passes: bool = strawberry.field(
        default=False, description="Create the passes that events name and that are not there."
    )


@strawberry.input
class UpdateInboundHookInput:
    """Changes to a hook; what is omitted stays."""

    id: strawberry.ID = strawberry.field(description="The hook.")
    name: str | None = strawberry.field(default=None, description="What it is for.")
    mapping: JSON | None = strawberry.field(default=None, description=MAPPING)
    verification: InboundVerificationInput | None = strawberry.field(
        default=None, description="How requests are verified."
    )
    create_missing_passes: bool | None = strawberry.field(
        default=None, description="Whether passes that are not there are created."
    )


@strawberry.input
class RotateInboundHookSecretInput:
    """A hook whose secret is to be replaced."""

    id: strawberry.ID = strawberry.field(description="The hook.")
    grace_seconds: int = strawberry.field(
        default=0, description="How long older secrets still work beside the new one: up to 30 days."
    )
    secret: str | None = strawberry.field(default=None, description=SECRET)


@strawberry.input
class ArchiveInboundHookInput:
    """A hook to put away."""

    id: strawberry.ID = strawberry.field(description="The hook.")


@strawberry.type
class CreateInboundHookPayload:
    """The new hook."""

    hook: InboundHook | None = strawberry.field(default=None, description="The hook; absent if it was refused.")
    secret: str | None = strawberry.field(default=None, description="What to sign with; it is never shown again.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class UpdateInboundHookPayload:
    """The changed hook."""

    hook: InboundHook | None = strawberry.field(default=None, description="The hook; absent if it was refused.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class RotateInboundHookSecretPayload:
    """The hook and its new secret."""

    hook: InboundHook | None = strawberry.field(default=None, description="The hook; absent if it was refused.")
    secret: str | None = strawberry.field(default=None, description="What to sign with; it is never shown again.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class ArchiveInboundHookPayload:
    """The archived hook."""

    hook: InboundHook | None = strawberry.field(default=None, description="The hook; absent if it was refused.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def create_inbound_hook(
    info: Info, input: Annotated[CreateInboundHookInput, strawberry.argument(description="The hook.")]
) -> CreateInboundHookPayload:
    """Makes an address at which a foreign system tells what happened. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    try:
        hook, secret = await commands.create_inbound_hook(
            info.context.commands,
            input.name,
            input.source,
            input.mapping,
            _verification(input.verification),
            secret=input.secret,
            create_missing_passes=input.create_missing_passes,
        )
    except Refused as refused:
        return CreateInboundHookPayload(user_errors=user_errors(refused.problems))
    return CreateInboundHookPayload(hook=hook_of(hook), secret=secret)


async def update_inbound_hook(
    info: Info, input: Annotated[UpdateInboundHookInput, strawberry.argument(description="The changes.")]
) -> UpdateInboundHookPayload:
    """Changes an inbound hook. Needs the scope `admin`. Safe to repeat."""
    info.context.actor.require(ADMIN)
    try:
        hook = await commands.update_inbound_hook(
            info.context.commands,
            _named(input.id),
            name=input.name,
            mapping=input.mapping,
            verification=_verification(input.verification),
            create_missing_passes=input.create_missing_passes,
        )
    except Refused as refused:
        return UpdateInboundHookPayload(user_errors=user_errors(refused.problems))
    return UpdateInboundHookPayload(hook=hook_of(hook))


async def rotate_inbound_hook_secret(
    info: Info, input: Annotated[RotateInboundHookSecretInput, strawberry.argument(description="The hook.")]
) -> RotateInboundHookSecretPayload:
    """Replaces the secret of an inbound hook; older ones work for a while longer, if wanted.

    Needs the scope `admin`.
    """
    info.context.actor.require(ADMIN)
    try:
        hook, secret = await commands.rotate_inbound_hook_secret(
            info.context.commands, _named(input.id), input.grace_seconds, input.secret
        )
    except Refused as refused:
        return RotateInboundHookSecretPayload(user_errors=user_errors(refused.problems))
    return RotateInboundHookSecretPayload(hook=hook_of(hook), secret=secret)


async def archive_inbound_hook(
    info: Info, input: Annotated[ArchiveInboundHookInput, strawberry.argument(description="The hook.")]
) -> ArchiveInboundHookPayload:
    """Puts an inbound hook away: what is sent there is refused. Needs the scope `admin`. Safe to repeat."""
    info.context.actor.require(ADMIN)
    try:
        hook = await commands.archive_inbound_hook(info.context.commands, _named(input.id))
    except Refused as refused:
        return ArchiveInboundHookPayload(user_errors=user_errors(refused.problems))
    return ArchiveInboundHookPayload(hook=hook_of(hook))


def _named(id: strawberry.ID) -> str:
    return parse_text(given_id(id, "InboundHook"), "id")


def _verification(given: InboundVerificationInput | None) -> commands.VerificationInput | None:
    if given is None:
        return None
    return commands.VerificationInput(given.scheme, given.header, given.encoding, given.prefix)
