"""recordEvent and recordEvents at the edge."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import strawberry

from app.commands.events import receipts
from app.commands.events.outcomes import ItemResult
from app.commands.events.receipts import RecordedCall, record_call
from app.domain.errors import Code, InvalidInput, Refused
from app.domain.events.events import EventInput
from app.graphql.context import Info
from app.graphql.types.enums import EventCategory, EventStatus
from app.graphql.types.ids import given_id
from app.graphql.types.inputs import coerce_flat_inputs
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import JSON, RawDateTime, RawDecimal

from .events import Event, event_of
from .receipts import IngestReceipt, receipt_of


@strawberry.input
class RecordEventInput:
    """An event to record. Name the pass by exactly one of passId and passExternalId."""

    pass_id: strawberry.ID | None = strawberry.field(default=None, description="The pass it happened on.")
    pass_external_id: str | None = strawberry.field(
        default=None, description="The external id of the pass it happened on."
    )
    category: EventCategory | None = strawberry.field(
        default=None, description="The category; that of a type built in or defined, else CUSTOM, if omitted."
    )
    type: str = strawberry.field(description="The type, for example `purchase`, or a name of your own.")
    amount: RawDecimal | None = strawberry.field(
        default=None, description="The money moved, never negative; a refund is a type of its own."
    )
    currency: str | None = strawberry.field(default=None, description="ISO 4217; the workspace's, if omitted.")
    points: RawDecimal | None = strawberry.field(default=None, description="Points earned, or spent where negative.")
    field_name: str | None = strawberry.field(default=None, description="The field that a field change speaks of.")
    old_value: str | None = strawberry.field(default=None, description="The field's value before.")
    new_value: str | None = strawberry.field(default=None, description="The value after, or the step of an increment.")
    occurred_at: RawDateTime | None = strawberry.field(
        default=None, description="When it happened; now, if omitted. The past is welcome."
    )
    external_id: str | None = strawberry.field(
        default=None,
        description="Its id in your system. With it, sending the event again records nothing new, for ever; without it "
        "and without an idempotencyKey, a blind repeat may record it twice.",
    )
    source: str | None = strawberry.field(
        default=None, description='The system it comes from, part of its identity; "api", if omitted.'
    )
    metadata: JSON | None = strawberry.field(default=None, description="Free details.")
    correction_of: strawberry.ID | None = strawberry.field(
        default=None,
        description="The event that it corrects, on the same pass. A refund or credit of it that gives no amount stands for "
        "all of it, and never for more; the currency is that of the event corrected.",
    )
    points_expire_at: RawDateTime | None = strawberry.field(
        default=None,
        description="When the points given here end; without points, when those of the event named by correctionOf do.",
    )
    points_expire_after_days: int | None = strawberry.field(
        default=None,
        description="Instead: they end so many days (24 h) after the pass's last activity, which any later event moves. "
        "1 to 3,650.",
    )
    label: str | None = strawberry.field(default=None, description="What people call it; that of its type, if omitted.")
    staff: str | None = strawberry.field(
        default=None, description="The member of staff who enters it by hand. Needs the scope `staff`."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="The identity of the call, at most 255 characters, as in RecordEventsInput. `recordEvents` takes one "
        "for all its events, and none in them.",
    )


coerce_flat_inputs(RecordEventInput)


@strawberry.input
class RecordEventsInput:
    """Events to record."""

    events: list[RecordEventInput] = strawberry.field(description="1 to 1,000 events.")
    atomic: bool = strawberry.field(
        default=False,
        description="Write nothing if any of them is refused or in conflict; each needs an externalId. A call cut short "
        "is finished by sending it again.",
    )
    create_missing_passes: bool = strawberry.field(
        default=False, description="Create the passes that passExternalId names and that are not there."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="The identity of this call, at most 255 characters. For 24 hours the same call under the same key is "
        "answered again, with the fates first given and DUPLICATE for what was recorded then; another call is refused. For "
        "ever, the event without an externalId at the same place is recorded once. A call of which nothing was recorded "
        "lets go of its key.",
    )


@strawberry.type
class RecordEventPayload:
    """What became of the event."""

    event: Event | None = strawberry.field(default=None, description="The event: the new one, or the one first stored.")
    status: EventStatus | None = strawberry.field(default=None, description="Its fate.")
    user_errors: list[UserError] = strawberry.field(description="What to change.")
    answer: strawberry.Private[RecordedCall | None] = None

    @strawberry.field
    async def receipt(self, info: Info) -> IngestReceipt | None:
        """By its token the fate can be asked later, and queries wait until the event is counted."""
        return await _receipt(info, self.answer)


@strawberry.type
class RecordEventResult:
    """What became of one event of a batch."""

    index: int = strawberry.field(description="Its place in the input, from 0.")
    status: EventStatus = strawberry.field(description="Its fate.")
    event: Event | None = strawberry.field(description="The event: the new one, or the one first stored.")
    user_errors: list[UserError] = strawberry.field(description="What to change.")


@strawberry.type
class RecordEventsPayload:
    """What became of each event of a batch."""

    created: int = strawberry.field(default=0, description="How many were recorded now.")
    duplicate: int = strawberry.field(default=0, description="How many had been recorded before, just the same.")
    failed: int = strawberry.field(default=0, description="How many were not recorded.")
    results: list[RecordEventResult] = strawberry.field(default_factory=list, description="In the order of the input.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="What to change about the call as a whole."
    )
    answer: strawberry.Private[RecordedCall | None] = None

    @strawberry.field
    async def receipt(self, info: Info) -> IngestReceipt | None:
        """By its token the fates can be asked later, and queries wait until all events are counted."""
        return await _receipt(info, self.answer)


async def record_event(
    info: Info, input: Annotated[RecordEventInput, strawberry.argument(description="The event.")]
) -> RecordEventPayload:
    """Records an event.

    Safe to repeat with an externalId or an idempotencyKey; without either, a blind repeat may double it.
    """
    return await record_one(info, event_input(input), input.idempotency_key)


async def record_one(
    info: Info, sent: EventInput, idempotency_key: str | None, *, create_missing_pass: bool = False
) -> RecordEventPayload:
    """Records one event, however it was put together."""
    try:
        answer = await record_call(
            info.context.commands,
            [sent],
            create_missing_passes=create_missing_pass,
            idempotency_key=idempotency_key,
        )
    except Refused as refused:
        return RecordEventPayload(user_errors=user_errors(refused.problems))
    [result] = answer.outcome.results
    return RecordEventPayload(
        event=_event(result),
        status=result.status,
        user_errors=user_errors(result.problems),
        answer=answer,
    )


async def record_events(
    info: Info, input: Annotated[RecordEventsInput, strawberry.argument(description="The events.")]
) -> RecordEventsPayload:
    """Records up to 1,000 events, each with a fate of its own, in input order.

    Safe to repeat with externalIds or the same idempotencyKey.
    """
    try:
        answer = await record_call(
            replace(info.context.commands, channel="BATCH"),
            [_item_input(index, item) for index, item in enumerate(input.events)],
            atomic=input.atomic,
            create_missing_passes=input.create_missing_passes,
            idempotency_key=input.idempotency_key,
        )
    except Refused as refused:
        return RecordEventsPayload(user_errors=user_errors(refused.problems))
    outcome = answer.outcome
    return RecordEventsPayload(
        created=outcome.created,
        duplicate=outcome.duplicate,
        failed=outcome.failed,
        results=[
            RecordEventResult(
                index=result.index,
                status=result.status,
                event=_event(result),
                user_errors=user_errors(result.problems, "events", str(result.index)),
            )
            for result in outcome.results
        ],
        answer=answer,
    )


async def _receipt(info: Info, answer: RecordedCall | None) -> IngestReceipt | None:
    # Nobody pays for a receipt that was not asked for; what was recorded is not lost with one that could not be stored.
    return None if answer is None else receipt_of(await receipts.receipt_of(info.context.commands, answer))


def _item_input(index: int, sent: RecordEventInput) -> EventInput:
    if sent.idempotency_key is not None:
        said = "The key belongs to the whole call: give it beside `events`."
        raise InvalidInput(Code.INVALID, said, "events", str(index), "idempotencyKey")
    return event_input(sent)


def event_input(sent: RecordEventInput) -> EventInput:
    """The item as the command takes it: nothing in it is checked yet."""
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
    )


def _event(result: ItemResult) -> Event | None:
    return None if result.event is None else event_of(result.event)
