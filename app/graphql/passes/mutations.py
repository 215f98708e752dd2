"""createPass, createPasses and updatePass at the edge."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.passes import passes as commands
from app.domain.errors import Refused
from app.domain.events.receipts import RecordStatus
from app.domain.passes.passes import PassInput
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.types.enums import EventStatus
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import JSON, RawDateTime

from .passes import Pass, PassStatus, pass_of


@strawberry.input
class PassHolderInput:
    """The person who holds a pass."""

    name: str | None = strawberry.field(default=strawberry.UNSET, description="The name; null removes it.")
    email: str | None = strawberry.field(default=strawberry.UNSET, description="The e-mail address; null removes it.")
    phone: str | None = strawberry.field(default=strawberry.UNSET, description="The telephone number; null removes it.")


@strawberry.input
class CreatePassInput:
    """A new pass."""

    external_id: str = strawberry.field(description="Its id in the caller's system; unique in the workspace.")
    holder: PassHolderInput | None = strawberry.field(default=None, description="Who holds it.")
    fields: JSON | None = strawberry.field(default=None, description="Its fields.")
    metadata: JSON | None = strawberry.field(default=None, description="Free details.")
    installed_at: RawDateTime | None = strawberry.field(
        default=None, description="When the customer installed it; 'never did it' counts from here."
    )


@strawberry.input
class CreatePassesInput:
    """New passes."""

    passes: list[CreatePassInput] = strawberry.field(description="1 to 1,000 passes.")


@strawberry.input
class UpdatePassInput:
    """Changes to a pass; what is omitted stays."""

    id: strawberry.ID = strawberry.field(description="The pass.")
    holder: PassHolderInput | None = strawberry.field(default=None, description="Who holds it; parts omitted stay.")
    fields: JSON | None = strawberry.field(
        default=None, description="Fields to set; a null removes its field, fields omitted stay."
    )
    metadata: JSON | None = strawberry.field(
        default=None, description="Details to set; a null removes its key, keys omitted stay."
    )
    status: PassStatus | None = strawberry.field(default=None, description="Its state.")


@strawberry.type
class CreatePassPayload:
    """The new pass."""

    card: Pass | None = strawberry.field(
        default=None, name="pass", description="The pass; the one first stored, if the same was sent before."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class CreatePassResult:
    """What became of one pass of a batch."""

    index: int = strawberry.field(description="Its place in the input, from 0.")
    status: EventStatus = strawberry.field(description="Its fate.")
    card: Pass | None = strawberry.field(name="pass", description="The pass: the new one, or the one first stored.")
    user_errors: list[UserError] = strawberry.field(description="What to change.")


@strawberry.type
class CreatePassesPayload:
    """What became of each pass of a batch."""

    created: int = strawberry.field(default=0, description="How many were created.")
    duplicate: int = strawberry.field(default=0, description="How many were there already, just the same.")
    failed: int = strawberry.field(default=0, description="How many were refused.")
    results: list[CreatePassResult] = strawberry.field(default_factory=list, description="In the order of the input.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="What to change about the call as a whole."
    )


@strawberry.type
class UpdatePassPayload:
    """The changed pass."""

    card: Pass | None = strawberry.field(default=None, name="pass", description="The pass as it will be.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def create_pass(
    info: Info, input: Annotated[CreatePassInput, strawberry.argument(description="The pass.")]
) -> CreatePassPayload:
    """Creates a pass. Safe to repeat."""
    [result] = await commands.create_passes(info.context.commands, [_pass_input(input)])
    stored = result.card if result.status in (RecordStatus.CREATED, RecordStatus.DUPLICATE) else None
    return CreatePassPayload(card=None if stored is None else pass_of(stored), user_errors=user_errors(result.problems))


async def create_passes(
    info: Info, input: Annotated[CreatePassesInput, strawberry.argument(description="The passes.")]
) -> CreatePassesPayload:
    """Creates up to 1,000 passes, each with a fate of its own. Safe to repeat."""
    try:
        results = await commands.create_passes(info.context.commands, [_pass_input(item) for item in input.passes])
    except Refused as refused:
        return CreatePassesPayload(user_errors=user_errors(refused.problems))
    statuses = [result.status for result in results]
    return CreatePassesPayload(
        created=statuses.count(RecordStatus.CREATED),
        duplicate=statuses.count(RecordStatus.DUPLICATE),
        failed=statuses.count(RecordStatus.CONFLICT) + statuses.count(RecordStatus.REJECTED),
        results=[
            CreatePassResult(
                index=result.index,
                status=result.status,
                card=None if result.card is None else pass_of(result.card),
                user_errors=user_errors(result.problems, "passes", str(result.index)),
            )
            for result in results
        ],
    )


async def update_pass(
    info: Info, input: Annotated[UpdatePassInput, strawberry.argument(description="The changes.")]
) -> UpdatePassPayload:
    """Changes a pass. Safe to repeat."""
    try:
        changed = await commands.update_pass(
            info.context.commands,
            parse_text(given_id(input.id, "Pass"), "id"),
            holder=_holder(input.holder),
            fields=input.fields,
            metadata=input.metadata,
            status=None if input.status is None else input.status.value,
        )
    except Refused as refused:
        return UpdatePassPayload(user_errors=user_errors(refused.problems))
    return UpdatePassPayload(card=pass_of(changed))


def _pass_input(sent: CreatePassInput) -> PassInput:
    return PassInput(sent.external_id, _holder(sent.holder), sent.fields, sent.metadata, sent.installed_at)


def _holder(sent: PassHolderInput | None) -> dict[str, str | None] | None:
    if sent is None:
        return None
    parts = {"name": sent.name, "email": sent.email, "phone": sent.phone}
    return {name: value for name, value in parts.items() if value is not strawberry.UNSET}
