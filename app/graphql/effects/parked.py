"""Parked effects: the type ParkedEffect, the query that lists them, and the mutation that retries them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import strawberry

from app.commands import parked_effects as commands
from app.domain.errors import Refused
from app.domain.reactions.parked import ParkedQuery, ParkedReaction
from app.domain.reactions.reactions import FreeUnits, IssueReward, QueueMessage, ReceivePoints
from app.domain.values.instants import from_ms, to_ms
from app.graphql.context import Info
from app.graphql.events.events import Event
from app.graphql.passes.passes import Pass
from app.graphql.types.enums import describe_enum
from app.graphql.types.ids import database_id, to_global_id
from app.graphql.types.node import fetch_node
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.payloads import UserError, user_errors


class ParkedEffectKind(StrEnum):
    """What an effect outside the pass does. The values are the kinds of reactions."""

    TRANSFER = ReceivePoints.kind
    REWARD = IssueReward.kind
    MESSAGE = QueueMessage.kind
    STOCK = FreeUnits.kind


describe_enum(
    ParkedEffectKind,
    "ParkedEffectKind",
    {
        "TRANSFER": "The points of an accepted transfer reach the other pass.",
        "REWARD": "A rule gives a reward.",
        "MESSAGE": "A rule sends a message.",
        "STOCK": "Units and code of a redemption that was declined, rolled back or removed become free.",
    },
)


@strawberry.type
class ParkedEffect:
    """Effect outside a pass that was not made: it was refused, or failed several times.

    It does not keep other effects waiting. It is parked until it is made, or until its pass is erased.
    """

    id: strawberry.ID = strawberry.field(description="Id, for `retryParkedEffects`.")
    kind: ParkedEffectKind = strawberry.field(description="What the effect does.")
    code: str = strawberry.field(
        description="Why it was not made, for programs: `UNAVAILABLE` after failed attempts, or the code of a refusal, "
        "for example `SOLD_OUT`."
    )
    reason: str = strawberry.field(description="Why it was not made, as a sentence for people.")
    attempt_count: int = strawberry.field(description="Number of attempts so far.")
    failed_at: datetime = strawberry.field(description="Time of the last failure or refusal.")
    next_attempt_at: datetime | None = strawberry.field(
        description="Time of the next attempt, in system time. Null if only a retry makes another one: workers give up 75 "
        "hours after the first failure, and at once after a refusal."
    )
    event_id: strawberry.Private[str]
    pass_id: strawberry.Private[str]

    @strawberry.field
    async def event(self, info: Info) -> Event | None:
        """Event from which the effect follows, for example the sender's event of a transfer. Null if it was removed."""
        return await fetch_node(info.context, "Event", self.event_id)  # type: ignore[no-any-return]

    @strawberry.field(name="pass")
    async def card(self, info: Info) -> Pass | None:
        """Pass of that event; after a merge, the pass that remains. Null if it was erased."""
        return await fetch_node(info.context, "Pass", self.pass_id)  # type: ignore[no-any-return]


@strawberry.input
class ParkedEffectFilter:
    """Filter of parked effects. An effect must meet every given condition; an omitted one allows any value."""

    kinds: list[ParkedEffectKind] | None = strawberry.field(default=None, description="Kinds of effects.")
    codes: list[str] | None = strawberry.field(default=None, description="Codes, one of which the effect must have.")
    pass_id: strawberry.ID | None = strawberry.field(
        default=None, description="Pass of the event. Those of passes merged into it count, too."
    )


@strawberry.input
class RetryParkedEffectsInput:
    """Effects to make again. Give exactly one of `ids` and `kind`."""

    ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Ids of parked effects: 1 to 1,000.")
    kind: ParkedEffectKind | None = strawberry.field(
        default=None, description="A kind, all of whose parked effects are meant: about 10,000 in one call."
    )


@strawberry.type
class RetryParkedEffectsPayload:
    """Result of `retryParkedEffects`."""

    count: int = strawberry.field(
        default=0, description="Number of effects that are made again. Those that are not parked any more are left out."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


listing = Pagination[ParkedReaction]("parkedEffect", (int, str), lambda each: (to_ms(each.at), each.reaction.id))


def _effect_of(parked: ParkedReaction) -> ParkedEffect:
    reaction = parked.reaction
    return ParkedEffect(
        id=strawberry.ID(to_global_id("ParkedEffect", reaction.id)),
        kind=ParkedEffectKind(reaction.body.kind),
        code=parked.refusal.code,
        reason=parked.refusal.message,
        attempt_count=parked.attempt_count,
        failed_at=parked.at,
        next_attempt_at=None if parked.due_ms is None else from_ms(parked.due_ms),
        event_id=reaction.event_id,
        pass_id=reaction.pass_id,
    )


async def list_parked_effects(
    info: Info,
    filter: Annotated[
        ParkedEffectFilter | None, strawberry.argument(description="Conditions that select the effects.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[ParkedEffect]:
    """List effects outside passes that were not made, those that failed last first. Needs the scope `read`."""
    span = listing.span(first, after, last, before)
    sent = filter or ParkedEffectFilter()
    pass_ids: tuple[str, ...] = ()
    if sent.pass_id is not None:
        pass_ids = await info.context.workspace.with_aliases(database_id(sent.pass_id, "Pass") or "")
    kinds = tuple(each.value for each in sent.kinds or ())
    query = ParkedQuery(kinds=kinds, codes=tuple(sent.codes or ()), pass_ids=pass_ids)
    store = info.context.workspace.reactions
    return listing.connection(await store.page(query, span), span, _effect_of, lambda: store.count(query))


async def retry_parked_effects(
    info: Info, input: Annotated[RetryParkedEffectsInput, strawberry.argument(description="Effects to make again.")]
) -> RetryParkedEffectsPayload:
    """Make effects outside passes again that were refused or failed, a moment later. Needs the scope `write`.

    Mend the cause first. An effect that fails again stays parked, with the new reason. Safe to repeat: each is made once.
    """
    try:
        count = await commands.retry_parked_effects(
            info.context.commands,
            ids=None if input.ids is None else [database_id(each, "ParkedEffect") for each in input.ids],
            kind=None if input.kind is None else input.kind.value,
        )
    except Refused as refused:
        return RetryParkedEffectsPayload(user_errors=user_errors(refused.problems))
    return RetryParkedEffectsPayload(count=count)
