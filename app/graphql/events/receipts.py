"""Receipts: the results of a call that recorded events, and whether its events are counted yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated

import strawberry

from app.commands.events import receipts
from app.commands.events.receipts import IssuedReceipt
from app.domain.events.receipts import RECORDED, ItemOutcome, RecordStatus
from app.graphql.context import Info
from app.graphql.types.enums import EventStatus
from app.graphql.types.node import fetch_node
from app.graphql.types.payloads import UserError, user_errors_of
from app.graphql.types.read_scope import withheld
from app.store.workspace.receipts import FoldState

from .events import Event


@strawberry.type
class IngestReceiptResult:
    """Result of one item of a call, with its current state."""

    index: int = strawberry.field(description="Index of the item in the input, from 0.")
    status: EventStatus = strawberry.field(description="Outcome of the item when Punchcard answered the call.")
    folded: bool = strawberry.field(
        description="Whether the event is counted in statistics, fields and segments. False if no event was recorded."
    )
    removed: bool = strawberry.field(description="Whether the event was removed after the call.")
    user_errors: list[UserError] = strawberry.field(
        description="Problems with the item. Paths begin inside the item. The original messages are not stored: every "
        "message is the same."
    )
    event_id: strawberry.Private[str | None]

    @strawberry.field
    async def event(self, info: Info) -> Event | None:
        """Event that was recorded, or recorded first. Null if none was recorded or if the event was removed.

        Of a `CONFLICT`, a key without the scope `read` gets the `id` only.
        """
        if self.event_id is None:
            return None
        event: Event | None = await fetch_node(info.context, "Event", self.event_id)
        if event is not None and self.status is RecordStatus.CONFLICT and not info.context.can_read:
            return withheld(Event, self.event_id)
        return event


@strawberry.type
class IngestReceipt:
    """Results of a call that recorded events.

    The query `ingestReceipt` returns them by the token for at least 30 days.
    """

    token: str = strawberry.field(
        description="Opaque token of the receipt, valid in this workspace only. Pass it to `ingestReceipt`, or to "
        "queries with the consistency `AT_LEAST`."
    )
    recorded_at: datetime = strawberry.field(description="Instant at which Punchcard recorded the items.")
    created: int = strawberry.field(description="Number of events that the call recorded.")
    duplicate: int = strawberry.field(description="Number of events that were recorded before with the same content.")
    failed: int = strawberry.field(description="Number of items that were not recorded: `CONFLICT` and `REJECTED`.")
    outcomes: strawberry.Private[Sequence[ItemOutcome]]

    @strawberry.field
    async def pending(self, info: Info) -> int:
        """Number of events of the call that are not counted yet in statistics, fields and segments."""
        states = await info.context.load.fold_states.load_many(_recorded_ids(self.outcomes))
        return sum(state is not None and not state.folded for state in states)

    @strawberry.field
    async def folded(self, info: Info) -> bool:
        """Whether all events of the call are counted in statistics, fields and segments."""
        states = await info.context.load.fold_states.load_many(_recorded_ids(self.outcomes))
        return all(state is None or state.folded for state in states)

    @strawberry.field
    async def results(
        self,
        info: Info,
        statuses: Annotated[
            list[EventStatus] | None, strawberry.argument(description="Outcomes of the items to return. Default: all.")
        ] = None,
    ) -> list[IngestReceiptResult]:
        """Results of the items, in the order of the input."""
        selected = [(i, each) for i, each in enumerate(self.outcomes) if statuses is None or each.status in statuses]
        ids = _recorded_ids(outcome for _, outcome in selected)
        states = dict(zip(ids, await info.context.load.fold_states.load_many(ids), strict=True))
        return [_result_of(index, outcome, states) for index, outcome in selected]


def receipt_of(issued: IssuedReceipt) -> IngestReceipt:
    """Return the GraphQL object of a receipt."""
    outcomes = issued.receipt.outcomes
    tally = Counter(outcome.status for outcome in outcomes)
    return IngestReceipt(
        token=issued.token,
        recorded_at=issued.receipt.recorded_at,
        created=tally[RecordStatus.CREATED],
        duplicate=tally[RecordStatus.DUPLICATE],
        failed=tally[RecordStatus.CONFLICT] + tally[RecordStatus.REJECTED],
        outcomes=outcomes,
    )


async def find_receipt(
    info: Info, token: Annotated[str, strawberry.argument(description="Token of the receipt.")]
) -> IngestReceipt | None:
    """Return the results of a call that recorded events, by the token of its receipt.

    Null if the token is not one of this workspace, or if the receipt has expired. Receipts work for at least 30 days.
    Needs the scope `read`.
    """
    issued = await receipts.find_receipt(info.context.commands, token)
    return None if issued is None else receipt_of(issued)


def _recorded_ids(outcomes: Iterable[ItemOutcome]) -> list[str]:
    """Return the ids of the events that the call recorded or found recorded before."""
    return [outcome.event_id for outcome in outcomes if outcome.status in RECORDED and outcome.event_id is not None]


def _result_of(index: int, outcome: ItemOutcome, states: Mapping[str, FoldState | None]) -> IngestReceiptResult:
    recorded_id = outcome.event_id if outcome.status in RECORDED else None
    state = None if recorded_id is None else states[recorded_id]
    return IngestReceiptResult(
        index=index,
        status=outcome.status,
        folded=state is not None and state.folded,
        removed=recorded_id is not None and (state is None or state.removed),
        user_errors=user_errors_of(outcome.problems),
        event_id=outcome.event_id,
    )
