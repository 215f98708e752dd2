"""Receipts: what became of the items of a call, and whether they count by now."""

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
from app.store.workspace.receipts import FoldState

from .events import Event


@strawberry.type
class IngestReceiptResult:
    """What became of one item of a call, then and since."""

    index: int = strawberry.field(description="Its place in the input, from 0.")
    status: EventStatus = strawberry.field(description="Its fate when the call was answered.")
    folded: bool = strawberry.field(
        description="Whether its event is counted in statistics, fields and segments; false where none was recorded."
    )
    removed: bool = strawberry.field(description="Whether its event was removed since.")
    user_errors: list[UserError] = strawberry.field(
        description="What was to change; the paths are those inside the item, the messages are not kept."
    )
    event_id: strawberry.Private[str | None]

    @strawberry.field
    async def event(self, info: Info) -> Event | None:
        """The event: the one recorded, or first stored; null if it was removed since."""
        if self.event_id is None:
            return None
        found: Event | None = await fetch_node(info.context, "Event", self.event_id)
        return found


@strawberry.type
class IngestReceipt:
    """What became of the items of a call, to be asked again by its token for 30 days."""

    token: str = strawberry.field(
        description="Opaque, and of this workspace alone: for `ingestReceipt`, and for queries with `AT_LEAST`."
    )
    recorded_at: datetime = strawberry.field(description="When the call was answered.")
    created: int = strawberry.field(description="How many events were recorded by it.")
    duplicate: int = strawberry.field(description="How many had been recorded before, just the same.")
    failed: int = strawberry.field(description="How many were not recorded.")
    fates: strawberry.Private[Sequence[ItemOutcome]]

    @strawberry.field
    async def pending(self, info: Info) -> int:
        """How many of its events are not counted yet."""
        standings = await info.context.load.fold_states.load_many(_recorded(self.fates))
        return sum(standing is not None and not standing.folded for standing in standings)

    @strawberry.field
    async def folded(self, info: Info) -> bool:
        """Whether all its events are counted in statistics, fields and segments by now."""
        standings = await info.context.load.fold_states.load_many(_recorded(self.fates))
        return all(standing is None or standing.folded for standing in standings)

    @strawberry.field
    async def results(
        self,
        info: Info,
        statuses: Annotated[
            list[EventStatus] | None, strawberry.argument(description="Items of these fates only; all, if omitted.")
        ] = None,
    ) -> list[IngestReceiptResult]:
        """What became of each item, in the order of the input."""
        asked = [(index, f) for index, f in enumerate(self.fates) if statuses is None or f.status in statuses]
        ids = _recorded(fate for _, fate in asked)
        standings = dict(zip(ids, await info.context.load.fold_states.load_many(ids), strict=True))
        return [_result(index, fate, standings) for index, fate in asked]


def receipt_of(issued: IssuedReceipt) -> IngestReceipt:
    """The receipt as it is published."""
    fates = issued.receipt.outcomes
    tally = Counter(fate.status for fate in fates)
    return IngestReceipt(
        token=issued.token,
        recorded_at=issued.receipt.recorded_at,
        created=tally[RecordStatus.CREATED],
        duplicate=tally[RecordStatus.DUPLICATE],
        failed=tally[RecordStatus.CONFLICT] + tally[RecordStatus.REJECTED],
        fates=fates,
    )


async def find_receipt(
    info: Info, token: Annotated[str, strawberry.argument(description="The token of a receipt.")]
) -> IngestReceipt | None:
    """What became of a call that recorded events, by the token of its receipt; null for what is no token of this
    workspace, or older than 30 days.
    """
    found = await receipts.find_receipt(info.context.commands, token)
    return None if found is None else receipt_of(found)


def _recorded(fates: Iterable[ItemOutcome]) -> list[str]:
    """The ids of the events that are there because of a call, or were before it."""
    return [fate.event_id for fate in fates if fate.status in RECORDED and fate.event_id is not None]


def _result(index: int, fate: ItemOutcome, standings: Mapping[str, FoldState | None]) -> IngestReceiptResult:
    there = fate.event_id if fate.status in RECORDED else None
    standing = None if there is None else standings[there]
    return IngestReceiptResult(
        index=index,
        status=fate.status,
        folded=standing is not None and standing.folded,
        removed=there is not None and (standing is None or standing.removed),
        user_errors=user_errors_of(fate.problems),
        event_id=fate.event_id,
    )
