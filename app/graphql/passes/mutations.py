"""Mutations of passes: createPass, createPasses and updatePass."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.passes import passes as commands
from app.domain.errors import Refused
from app.domain.events.receipts import RecordStatus
from app.domain.passes.inputs import PassInput
from app.domain.values.text import parse_text
from app.graphql.context import Info, RequestContext
from app.graphql.types.enums import EventStatus
from app.graphql.types.ids import given_id
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.read_scope import withheld
from app.graphql.types.scalars import JSON, RawDateTime

from .kinds import PassKind, PassStatus
from .passes import HOLDER, PROFILE, Pass, pass_of


@strawberry.input
class PassHolderInput:
    """Person who holds a pass."""

    name: str | None = strawberry.field(
        default=strawberry.UNSET, description="Name of the person, at most 255 characters. Null removes it."
    )
    email: str | None = strawberry.field(
        default=strawberry.UNSET, description="E-mail address of the person, at most 255 characters. Null removes it."
    )
    phone: str | None = strawberry.field(
        default=strawberry.UNSET, description="Telephone number of the person, at most 255 characters. Null removes it."
    )


@strawberry.input
class CreatePassInput:
    """Pass to create."""

    external_id: str = strawberry.field(
        description="Id of the pass in your system, at most 255 characters; unique in the workspace. Blanks around it "
        "are left out, also where other operations name the pass."
    )
    holder: PassHolderInput | None = strawberry.field(default=None, description="Person who holds the pass.")
    fields: JSON | None = strawberry.field(
        default=None,
        description="Fields of the pass as a JSON object, at most 32,768 bytes unless the operator of the server sets "
        "another limit.",
    )
    metadata: JSON | None = strawberry.field(
        default=None,
        description="Further details as a JSON object, at most 32,768 bytes unless the operator of the server sets "
        "another limit.",
    )
    installed_at: RawDateTime | None = strawberry.field(
        default=None,
        description="Instant at which the customer installed the pass, not in the future. Criteria with `never: "
        "SINCE_JOINED` count days from it. Default: unknown; they count from the creation.",
    )
    kind: PassKind = strawberry.field(
        default=PassKind.LOYALTY_CARD, description="Kind of the pass, which never changes. Default: `LOYALTY_CARD`."
    )
    currency: str | None = strawberry.field(
        default=None,
        description="Currency of a gift card, as its ISO 4217 code. Default: that of the workspace. Only for the kind "
        "`GIFT_CARD`.",
    )


@strawberry.input
class CreatePassesInput:
    """Passes to create in one call."""

    passes: list[CreatePassInput] = strawberry.field(description="1 to 1,000 passes.")


@strawberry.input
class UpdatePassInput:
    """Changes to a pass. Values that are left out stay as they are."""

    id: strawberry.ID = strawberry.field(description="Id of the pass.")
    holder: PassHolderInput | None = strawberry.field(
        default=None, description="Changes to the person who holds the pass. Parts that are left out stay."
    )
    fields: JSON | None = strawberry.field(
        default=None,
        description="Fields to set, as a JSON object. A null removes its field; fields that are left out stay.",
    )
    metadata: JSON | None = strawberry.field(
        default=None,
        description="Details to set, as a JSON object. A null removes its key; keys that are left out stay.",
    )
    status: PassStatus | None = strawberry.field(default=None, description="New state of the pass.")


@strawberry.type
class CreatePassPayload:
    """Result of `createPass`."""

    card: Pass | None = strawberry.field(
        default=None,
        name="pass",
        description="Created pass, or the pass that an earlier call with the same input created. Null if the call "
        "failed.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class CreatePassResult:
    """Result of one pass of `createPasses`."""

    index: int = strawberry.field(description="Index of the pass in the input, from 0.")
    status: EventStatus = strawberry.field(description="Outcome of the pass.")
    card: Pass | None = strawberry.field(
        name="pass",
        description="Created pass. For `DUPLICATE` and `CONFLICT`: the pass that has the external id. Of a `CONFLICT`, "
        "a key without the scope `read` gets the `id` only. Null if the pass was rejected.",
    )
    user_errors: list[UserError] = strawberry.field(description="Problems with the pass; empty if it exists as sent.")


@strawberry.type
class CreatePassesPayload:
    """Result of `createPasses`."""

    created: int = strawberry.field(default=0, description="Number of passes that this call created.")
    duplicate: int = strawberry.field(
        default=0, description="Number of passes that an earlier call with the same input created."
    )
    failed: int = strawberry.field(
        default=0, description="Number of passes that are not created: `CONFLICT` and `REJECTED`."
    )
    results: list[CreatePassResult] = strawberry.field(
        default_factory=list,
        description="Results of the passes, in the order of the input. Empty if the call as a whole failed.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list,
        description="Problems with the call as a whole; problems with single passes are in `results`.",
    )


@strawberry.type
class UpdatePassPayload:
    """Result of `updatePass`."""

    card: Pass | None = strawberry.field(
        default=None, name="pass", description="Pass with the changes. Null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def create_pass(
    info: Info, input: Annotated[CreatePassInput, strawberry.argument(description="Pass to create.")]
) -> CreatePassPayload:
    """Create a pass. Needs the scope `write`.

    Safe to repeat: the same input returns the same pass, also after the pass was updated. Other input with the same
    external id fails with `TAKEN`.
    """
    [result] = await commands.create_passes(info.context.commands, [_pass_input_of(input)], "createPass")
    card = None if result.status is RecordStatus.CONFLICT else _pass_of_result(info.context, result)
    return CreatePassPayload(card=card, user_errors=user_errors(result.problems))


async def create_passes(
    info: Info, input: Annotated[CreatePassesInput, strawberry.argument(description="Passes to create.")]
) -> CreatePassesPayload:
    """Create up to 1,000 passes, each with an outcome of its own. Needs the scope `write`.

    Safe to repeat: a pass that an earlier call created is a `DUPLICATE`. Other input with the same external id is a
    `CONFLICT`.
    """
    try:
        results = await commands.create_passes(info.context.commands, [_pass_input_of(item) for item in input.passes])
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
                card=_pass_of_result(info.context, result),
                user_errors=user_errors(result.problems, "passes", str(result.index)),
            )
            for result in results
        ],
    )


async def update_pass(
    info: Info, input: Annotated[UpdatePassInput, strawberry.argument(description="Changes to make.")]
) -> UpdatePassPayload:
    """Change holder, fields, metadata or status of a pass. Needs the scope `write`.

    The payload shows the pass with the changes at once. Other queries show them when a worker has applied them, a
    moment later. Safe to repeat: the same values are set again.
    """
    holder = _holder_of(input.holder)
    try:
        changed = await commands.update_pass(
            info.context.commands,
            parse_text(given_id(input.id, "Pass"), "id"),
            holder=holder,
            fields=input.fields,
            metadata=input.metadata,
            status=None if input.status is None else input.status.value,
        )
    except Refused as refused:
        return UpdatePassPayload(user_errors=user_errors(refused.problems))
    return UpdatePassPayload(card=pass_of(changed, sent=tuple(holder or ())))


def _pass_of_result(context: RequestContext, result: commands.PassResult) -> Pass | None:
    """Return the pass of a result. A key without the scope `read` sees only what the call sent."""
    card = result.card
    if card is None:
        return None
    if result.status is RecordStatus.CONFLICT and not context.can_read:
        return withheld(Pass, card.id)
    # A DUPLICATE sent the profile with which the pass was created. Later changes are not in it.
    return pass_of(card, sent=(*PROFILE, *HOLDER) if card.profile == card.initial_profile else ())


def _pass_input_of(sent: CreatePassInput) -> PassInput:
    return PassInput(
        external_id=sent.external_id,
        holder=_holder_of(sent.holder),
        fields=sent.fields,
        metadata=sent.metadata,
        installed_at=sent.installed_at,
        kind=sent.kind.value,
        currency=sent.currency,
    )


def _holder_of(sent: PassHolderInput | None) -> dict[str, str | None] | None:
    if sent is None:
        return None
    parts = {"name": sent.name, "email": sent.email, "phone": sent.phone}
    return {name: value for name, value in parts.items() if value is not strawberry.UNSET}
