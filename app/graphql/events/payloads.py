"""Payloads of the mutations that record events."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.commands.events import consistency, receipts
from app.commands.events.lateness import RecordedEvent
from app.commands.events.outcomes import ItemResult
from app.commands.events.receipts import RecordedCall
from app.domain.errors import STORE_FAILURES
from app.domain.events.corrections import find_kept_points
from app.domain.events.receipts import RECORDED, RecordStatus
from app.graphql.context import Info, RequestContext
from app.graphql.types.enums import EventStatus, describe_enum
from app.graphql.types.node import fetch_node
from app.graphql.types.payloads import InputWarning, UserError, warnings_of
from app.graphql.types.read_scope import withheld
from app.graphql.types.selections import is_selected

from .events import CONTENT, Event, event_of
from .receipts import IngestReceipt, receipt_of

if TYPE_CHECKING:
    from app.graphql.passes.passes import Pass

LazyPass = Annotated["Pass", strawberry.lazy("app.graphql.passes.passes")]


class RecordWait(StrEnum):
    """What a mutation waits for before it answers."""

    NONE = "NONE"
    FOLDED = "FOLDED"


describe_enum(
    RecordWait,
    "RecordWait",
    {
        "NONE": "For nothing more than the events: they are stored. Their passes may still lack them in the answer.",
        "FOLDED": "Until the events are counted in their passes, 5 seconds at most. Then the passes in the answer show "
        "them. If the time is over before, `folded` is false and the events are recorded all the same.",
    },
)
WAIT_DESCRIPTION = "What the mutation waits for before it answers. Default: `NONE`."


@strawberry.type
class RecordEventPayload:
    """Result of a mutation that records one event."""

    event: Event | None = strawberry.field(
        default=None,
        description="Recorded event. For `DUPLICATE` and `CONFLICT`: the event that was recorded first. Of a "
        "`CONFLICT`, a key without the scope `read` gets the `id` only. Null if the event was rejected.",
    )
    status: EventStatus | None = strawberry.field(
        default=None,
        description="Outcome of the event. Null if the call as a whole failed, for example because of its idempotency "
        "key.",
    )
    folded: bool = strawberry.field(
        default=False,
        description="Whether the event is counted in its pass. If it is true, `pass` and `event.pass` show the pass "
        "with the event. If it is false, they may show the pass before it. False if no event was recorded.",
    )
    user_errors: list[UserError] = strawberry.field(
        description="Problems with the input; empty if the event is recorded."
    )
    call: strawberry.Private[RecordedCall | None] = None

    @strawberry.field(name="pass")
    async def card(self, info: Info) -> LazyPass | None:
        """Pass of the event, as it is now; see `folded`. Null if no event was recorded."""
        return None if self.call is None else await _fetch_pass(info.context, self.call.outcome.results[0])

    @strawberry.field
    async def late(self, info: Info) -> bool:
        """Whether the event is late: its pass was evaluated at a later instant already. False if none was recorded.

        A late event counts all the same. What follows from it carries the instant at which it counts.
        """
        return self.call is not None and await _is_late(info, self.call.outcome.results[0])

    @strawberry.field
    async def warnings(self, info: Info) -> list[InputWarning]:
        """Remarks about the event that do not keep it from being recorded, for example `POINTS_KEPT`."""
        return [] if self.call is None else await _find_warnings(info.context, self.call.outcome.results[0])

    @strawberry.field
    async def receipt(self, info: Info) -> IngestReceipt | None:
        """Receipt of the call, for `ingestReceipt` and for queries that wait until the event is counted.

        A repeated call under an idempotency key gets the receipt of the first call. Null if the call as a whole
        failed.
        """
        return await issue_receipt(info, self.call)


@strawberry.type
class RecordEventResult:
    """Result of one event of `recordEvents`."""

    index: int = strawberry.field(description="Index of the event in the input, from 0.")
    status: EventStatus = strawberry.field(description="Outcome of the event.")
    event: Event | None = strawberry.field(
        description="Recorded event. For `DUPLICATE` and `CONFLICT`: the event that was recorded first. Of a "
        "`CONFLICT`, a key without the scope `read` gets the `id` only. Null if the event was rejected."
    )
    folded: bool = strawberry.field(
        description="Whether the event is counted in its pass. If it is true, `pass` and `event.pass` show the pass "
        "with the event. If it is false, they may show the pass before it. False if no event was recorded."
    )
    user_errors: list[UserError] = strawberry.field(
        description="Problems with the event; empty if the event is recorded."
    )
    result: strawberry.Private[ItemResult]

    @strawberry.field(name="pass")
    async def card(self, info: Info) -> LazyPass | None:
        """Pass of the event, as it is now; see `folded`. Null if no event was recorded."""
        return await _fetch_pass(info.context, self.result)

    @strawberry.field
    async def late(self, info: Info) -> bool:
        """Whether the event is late: its pass was evaluated at a later instant already. False if none was recorded.

        A late event counts all the same. What follows from it carries the instant at which it counts.
        """
        return await _is_late(info, self.result)

    @strawberry.field
    async def warnings(self, info: Info) -> list[InputWarning]:
        """Remarks about the event that do not keep it from being recorded, for example `POINTS_KEPT`."""
        return await _find_warnings(info.context, self.result, "events", str(self.index))


@strawberry.type
class RecordEventsPayload:
    """Result of `recordEvents`."""

    created: int = strawberry.field(default=0, description="Number of events that this call recorded.")
    duplicate: int = strawberry.field(
        default=0, description="Number of events that were recorded before with the same content."
    )
    failed: int = strawberry.field(
        default=0, description="Number of events that are not recorded: `CONFLICT` and `REJECTED`."
    )
    folded: bool = strawberry.field(
        default=False,
        description="Whether all recorded events of the call are counted in their passes. False if the call as a whole "
        "failed.",
    )
    results: list[RecordEventResult] = strawberry.field(
        default_factory=list,
        description="Results of the events, in the order of the input. Empty if the call as a whole failed.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list,
        description="Problems with the call as a whole; problems with single events are in `results`.",
    )
    call: strawberry.Private[RecordedCall | None] = None

    @strawberry.field
    async def receipt(self, info: Info) -> IngestReceipt | None:
        """Receipt of the call, for `ingestReceipt` and for queries that wait until all events are counted.

        A repeated call under an idempotency key gets the receipt of the first call. Null if the call as a whole
        failed.
        """
        return await issue_receipt(info, self.call)


def event_of_result(context: RequestContext, result: ItemResult) -> Event | None:
    """Return the event of a result. A key without the scope `read` sees only what the call sent."""
    if result.event is None:
        return None
    if result.status is RecordStatus.CONFLICT and not context.can_read:
        return withheld(Event, result.event.id)
    return event_of(result.event, sent=(*CONTENT, "origin") if result.status is RecordStatus.CREATED else CONTENT)


async def find_unfolded(info: Info, results: Sequence[ItemResult], wait: RecordWait, *paths: str) -> Collection[str]:
    """Wait as the input says, and return the ids of the recorded events that are not counted yet.

    Call it before the payload is returned: passes that the payload shows are read afterwards. Without waiting, it reads
    only if the operation selects one of the `paths`, which tell what is counted. The events are recorded in any case, so
    a store that does not answer now makes none of them fail.
    """
    # Earlier mutations of the same operation may have read the passes before these events were recorded.
    info.context.reset_loaders()
    recorded_ids = {result.event.id for result in results if result.event is not None and result.status in RECORDED}
    commands = info.context.commands
    with contextlib.suppress(*STORE_FAILURES):
        if wait is RecordWait.FOLDED:
            limit = info.context.time_limit
            remaining_seconds = None if limit is None else limit.remaining_seconds()
            # The rest of the operation needs some of its time, too.
            max_seconds = consistency.WAIT_TIMEOUT_SECONDS if remaining_seconds is None else remaining_seconds / 2
            return await consistency.wait_for_events(commands, recorded_ids, max_seconds=max_seconds)
        if any(is_selected(info, path) for path in paths):
            return await consistency.find_unfolded(commands, recorded_ids)
    return recorded_ids


def is_folded(result: ItemResult, unfolded_ids: Collection[str]) -> bool:
    """Return whether an event was recorded and is counted."""
    return result.status in RECORDED and result.event is not None and result.event.id not in unfolded_ids


async def _fetch_pass(context: RequestContext, result: ItemResult) -> Pass | None:
    if result.event is None or result.status not in RECORDED:
        return None
    card: Pass | None = await fetch_node(context, "Pass", result.event.pass_id)
    return card


async def _is_late(info: Info, result: ItemResult) -> bool:
    if result.event is None or result.status is not RecordStatus.CREATED:
        return False
    event = result.event
    return bool(await info.context.load.lateness.load(RecordedEvent(event.id, event.pass_id, event.order_ms)))


async def _find_warnings(context: RequestContext, result: ItemResult, *under: str) -> list[InputWarning]:
    event = result.event
    if event is None or event.correction_of is None or result.status not in RECORDED:
        return []
    original = await context.load.events.load(event.correction_of)
    remark = None if original is None else find_kept_points(event, original)
    return [] if remark is None else warnings_of([remark.with_prefix(*under)])


async def issue_receipt(info: Info, call: RecordedCall | None) -> IngestReceipt | None:
    """Return the receipt of a call; None for None."""
    # A large receipt costs a write, so it is issued only if the client selects it. If that write fails, the events stay
    # recorded.
    return None if call is None else receipt_of(await receipts.receipt_of(info.context.commands, call))
