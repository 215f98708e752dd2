"""Mutations that record events: recordEvent and recordEvents."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import strawberry

from app.commands.events.receipts import record_call
from app.commands.passes.tokens import find_own_name
from app.domain.errors import Code, DeniedToToken, InvalidInput, Refused
from app.domain.events.events import TOKEN_CHANNEL, TOKEN_SOURCE, EventInput
from app.graphql.context import Info
from app.graphql.types.enums import EventCategory
from app.graphql.types.ids import given_id
from app.graphql.types.inputs import coerce_flat_inputs
from app.graphql.types.payloads import user_errors
from app.graphql.types.scalars import JSON, RawDateTime, RawDecimal

from .payloads import (
    WAIT_DESCRIPTION,
    RecordEventPayload,
    RecordEventResult,
    RecordEventsPayload,
    RecordWait,
    event_of_result,
    find_unfolded,
    is_folded,
)


@strawberry.input
class EventGuardInput:
    """Condition under which an event counts. If it does not hold, the event is declined and counts nowhere."""

    min_balance: RawDecimal = strawberry.field(
        description="Points that must remain on the pass when the event has counted, usually 0."
    )


GUARD_DESCRIPTION = (
    "Condition under which the event counts, decided once when a worker counts it; see `Event.outcome`. Such an event "
    "occurs when it is recorded: `occurredAt` becomes its `performedAt`."
)


@strawberry.input
class RecordEventInput:
    """Event to record. Name its pass by exactly one of `passId` and `passExternalId`."""

    pass_id: strawberry.ID | None = strawberry.field(default=None, description="Id of the pass.")
    pass_external_id: str | None = strawberry.field(
        default=None, description="External id of the pass. Blanks around it are left out."
    )
    category: EventCategory | None = strawberry.field(
        default=None,
        description="Category of the event. Default: the category of the type, or `CUSTOM` for a type that is neither "
        "built in nor defined. It must not differ from the category of a built-in or defined type.",
    )
    type: str = strawberry.field(
        description="Type of the event: a built-in type such as `purchase`, or another name of 1 to 100 letters, "
        "digits, `_`, `.`, `:` or `-`."
    )
    amount: RawDecimal | None = strawberry.field(
        default=None, description="Money moved, never negative. Record a `refund` or `credit` to subtract from spend."
    )
    currency: str | None = strawberry.field(
        default=None,
        description="Currency of the amount: a code of ISO 4217. Default: the currency of the workspace. Ignored "
        "without an amount.",
    )
    points: RawDecimal | None = strawberry.field(
        default=None, description="Points earned; negative if points are spent. Default: 0."
    )
    field_name: str | None = strawberry.field(
        default=None,
        description="Name of the field of the pass that a field change sets; required for field changes. At most 100 "
        "characters.",
    )
    old_value: str | None = strawberry.field(
        default=None, description="Value of the field before the change, as you know it. At most 2,000 characters."
    )
    new_value: str | None = strawberry.field(
        default=None,
        description="Value of the field after the change. For an increment or decrement without an amount: the step. "
        "At most 2,000 characters.",
    )
    occurred_at: RawDateTime | None = strawberry.field(
        default=None,
        description="Instant at which the event happened. Default: the instant of the call. The past is accepted; the "
        "future only up to 5 minutes ahead.",
    )
    external_id: str | None = strawberry.field(
        default=None,
        description="Id of the event in your system, at most 255 characters; unique within `source`. With it, sending "
        "the event again never records it twice. Without it and without an idempotency key, a retry may "
        "record the event twice.",
    )
    source: str | None = strawberry.field(
        default=None,
        description="System that the event comes from, at most 100 characters. It is part of the event's identity. "
        'Default: "api".',
    )
    metadata: JSON | None = strawberry.field(
        default=None,
        description="Further details, at most 32,768 bytes as JSON unless the operator of the server sets another "
        "limit.",
    )
    correction_of: strawberry.ID | None = strawberry.field(
        default=None,
        description="Id of the event that this event corrects, on the same pass. A refund or credit without an amount "
        "stands for what is left of the corrected event, and one that exceeds what is left is declined: see "
        "`Event.outcome`. The currency is that of the corrected event.",
    )
    points_expire_at: RawDateTime | None = strawberry.field(
        default=None,
        description="Instant at which the points of this event expire. On a correction without points: the new expiry "
        "of the points of the corrected event. Do not combine it with `pointsExpireAfterDays`.",
    )
    points_expire_after_days: int | None = strawberry.field(
        default=None,
        description="Days of 24 hours without activity on the pass after which the points expire: 1 to 3,650. Every "
        "later event on the pass postpones the expiry, except changes by `updatePass`.",
    )
    label: str | None = strawberry.field(
        default=None,
        description="Name of the event for people, at most 255 characters. Default: the label of the type.",
    )
    staff: str | None = strawberry.field(
        default=None,
        description="Member of staff who acts by hand, at most 255 characters. Needs the scope `staff`. The channel "
        "of the event is `MANUAL`.",
    )
    guard: EventGuardInput | None = strawberry.field(default=None, description=GUARD_DESCRIPTION)
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Identity of the call, at most 255 characters; works as in `RecordEventsInput`. In "
        "`recordEvents`, give the key of the whole call beside `events`, not in the events.",
    )
    wait: RecordWait = strawberry.field(
        default=RecordWait.NONE,
        description=f"{WAIT_DESCRIPTION} In `recordEvents`, give it beside `events`, not in the events.",
    )


coerce_flat_inputs(RecordEventInput)


@strawberry.input
class RecordEventsInput:
    """Events to record in one call."""

    events: list[RecordEventInput] = strawberry.field(description="1 to 1,000 events.")
    atomic: bool = strawberry.field(
        default=False,
        description="Whether to record nothing if one event is `REJECTED` or `CONFLICT`. Default: false. Every event "
        "needs an `externalId`. A retry completes a call that was interrupted.",
    )
    create_missing_passes: bool = strawberry.field(
        default=False,
        description="Whether to create passes that do not exist yet, for each unknown `passExternalId`. Default: "
        "false: such events are rejected.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Identity of the call, at most 255 characters. For 24 hours, the same call under the same key "
        "gets the same results, with `DUPLICATE` instead of `CREATED`. Another call under the key fails "
        "with `CONFLICT`. After that, an event without an `externalId` is still recorded only once for "
        "each key and index. If a call records nothing, its key is free again.",
    )
    wait: RecordWait = strawberry.field(default=RecordWait.NONE, description=WAIT_DESCRIPTION)


async def record_event(
    info: Info, input: Annotated[RecordEventInput, strawberry.argument(description="Event to record.")]
) -> RecordEventPayload:
    """Record one event on an existing pass. Needs the scope `write`.

    Punchcard stores the event before it answers; a worker counts it in the pass a moment later. Safe to repeat with an
    `externalId` or an `idempotencyKey`. Without either, a repeated call may record the event twice. With a token for one
    pass, give `type`, `metadata`, `externalId` and `label` only: the event happens now, on the pass of the token.
    """
    return await record_one(info, await _by_token(info, event_input(input)), input.idempotency_key, wait=input.wait)


async def _by_token(info: Info, sent: EventInput) -> EventInput:
    """Return the event as the holder of a token for one pass records it; unchanged for an API key.

    Its externalId is unique for the pass. Raises DeniedToToken for a type that the token does not name.
    """
    grant = info.context.actor.grant
    if grant is None:
        return sent
    if sent.type not in grant.token.record_types:
        raise DeniedToToken("This token cannot record events of this type.", "input", "type")
    name = sent.external_id
    is_name = isinstance(name, str) and name and not name.isspace()
    external_id = await find_own_name(info.context.commands, str(name)) if is_name else name
    return replace(sent, pass_id=grant.pass_id, external_id=external_id, source=TOKEN_SOURCE)


async def record_one(
    info: Info,
    sent: EventInput,
    idempotency_key: str | None,
    *,
    wait: RecordWait,
    create_missing_pass: bool = False,
) -> RecordEventPayload:
    """Record one event for recordEvent or one of its short forms, and return the payload."""
    commands = info.context.commands
    if commands.actor.grant is not None:
        commands = replace(commands, channel=TOKEN_CHANNEL)
    try:
        call = await record_call(
            commands,
            [sent],
            create_missing_passes=create_missing_pass,
            idempotency_key=idempotency_key,
        )
    except Refused as refused:
        return RecordEventPayload(user_errors=user_errors(refused.problems))
    [result] = call.outcome.results
    unfolded_ids = await find_unfolded(info, [result], wait, "folded")
    return RecordEventPayload(
        event=event_of_result(info.context, result),
        status=result.status,
        folded=is_folded(result, unfolded_ids),
        user_errors=user_errors(result.problems),
        call=call,
    )


async def record_events(
    info: Info, input: Annotated[RecordEventsInput, strawberry.argument(description="Events to record.")]
) -> RecordEventsPayload:
    """Record up to 1,000 events, each with an outcome of its own. Needs the scope `write`.

    Punchcard stores the events before it answers; workers count them in their passes a moment later. Safe to repeat
    with `externalId`s or with the same `idempotencyKey`. Without either, a repeated call may record events twice.
    """
    try:
        call = await record_call(
            replace(info.context.commands, channel="BATCH"),
            [_parse_item(index, item) for index, item in enumerate(input.events)],
            atomic=input.atomic,
            create_missing_passes=input.create_missing_passes,
            idempotency_key=input.idempotency_key,
        )
    except Refused as refused:
        return RecordEventsPayload(user_errors=user_errors(refused.problems))
    outcome = call.outcome
    unfolded_ids = await find_unfolded(info, outcome.results, input.wait, "folded", "results.folded")
    return RecordEventsPayload(
        created=outcome.created,
        duplicate=outcome.duplicate,
        failed=outcome.failed,
        folded=not unfolded_ids,
        results=[
            RecordEventResult(
                index=result.index,
                status=result.status,
                event=event_of_result(info.context, result),
                folded=is_folded(result, unfolded_ids),
                user_errors=user_errors(result.problems, "events", str(result.index)),
                result=result,
            )
            for result in outcome.results
        ],
        call=call,
    )


def _parse_item(index: int, sent: RecordEventInput) -> EventInput:
    if sent.idempotency_key is not None:
        advice = "An idempotencyKey belongs to the whole call. Give it beside `events`, not in an event."
        raise InvalidInput(Code.INVALID, advice, "events", str(index), "idempotencyKey")
    if sent.wait is not RecordWait.NONE:
        advice = "Waiting belongs to the whole call. Give `wait` beside `events`, not in an event."
        raise InvalidInput(Code.INVALID, advice, "events", str(index), "wait")
    return event_input(sent)


def event_input(sent: RecordEventInput) -> EventInput:
    """Return the item as the command takes it. Nothing in the item is checked yet."""
    return EventInput(
        type=sent.type,
        pass_id=given_id(sent.pass_id, "Pass"),
        pass_external_id=sent.pass_external_id,
        category=sent.category,
        amount=sent.amount,
        currency=sent.currency,
        points=sent.points,
        field_name=sent.field_name,
        old_value=sent.old_value,
        new_value=sent.new_value,
        occurred_at=sent.occurred_at,
        external_id=sent.external_id,
        source=sent.source,
        metadata=sent.metadata,
        correction_of=given_id(sent.correction_of, "Event"),
        points_expire_at=sent.points_expire_at,
        points_expire_after_days=sent.points_expire_after_days,
        label=sent.label,
        staff=sent.staff,
        guard=sent.guard,
    )
