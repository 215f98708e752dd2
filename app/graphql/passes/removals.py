"""deleteEvents, erasePass and what is known of an erasure, at the edge. All of it needs the scope `admin`."""

from __future__ import annotations

import asyncio
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import strawberry

from app.commands.passes import removals as commands
from app.domain.actors import ADMIN
from app.domain.errors import Refused
from app.domain.events import tombstones as domain
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.jobs.jobs import Job, job_of
from app.graphql.segments.segments import Segment, fetch_segment
from app.graphql.types.enums import describe_enum
from app.graphql.types.filters import EventFilter, event_query
from app.graphql.types.ids import database_id, given_id, to_global_id
from app.graphql.types.payloads import UserError, user_errors


class ErasureState(StrEnum):
    """How far an erasure is."""

    PENDING = "PENDING"
    DONE = "DONE"


describe_enum(
    ErasureState,
    "ErasureState",
    {
        "PENDING": "It was asked for, or would be; something is left to be emptied.",
        "DONE": "Nothing personal is left of the pass.",
    },
)


@strawberry.type
class PassErasure:
    """The receipt of an erasure: what it changed. Nothing in it is personal."""

    pass_id: strawberry.ID = strawberry.field(description="The id that the pass had; by it the receipt is found again.")
    state: ErasureState = strawberry.field(description="How far it is.")
    erased_at: datetime | None = strawberry.field(
        description="When the pass left its segments and its totals; null until then. No event of it counts any more."
    )
    event_count: int | None = strawberry.field(description="How many events counted in the pass until then.")
    aggregate_count: int | None = strawberry.field(description="How many rows of totals, by type and currency, it had.")
    activity_count: int | None = strawberry.field(
        description="How many lines of the feed are emptied; they stay where they are, without their data."
    )
    segment_ids: strawberry.Private[tuple[str, ...]]

    @strawberry.field
    async def segments(self, info: Info) -> list[Segment]:
        """The segments that it left."""
        found = await asyncio.gather(*(fetch_segment(info.context, each) for each in self.segment_ids))
        return [segment for segment in found if segment is not None]


def erasure_of(erasure: domain.Erasure) -> PassErasure:
    """The erasure as it is published."""
    return PassErasure(
        pass_id=strawberry.ID(to_global_id("Pass", erasure.pass_id)),
        state=ErasureState.DONE if erasure.done else ErasureState.PENDING,
        erased_at=erasure.erased_at,
        event_count=erasure.events,
        aggregate_count=erasure.aggregates,
        activity_count=erasure.activities,
        segment_ids=erasure.segments,
    )


@strawberry.input
class DeleteEventsInput:
    """Events to remove for good."""

    filter: EventFilter = strawberry.field(
        description="Which events; at least one part of it. Only those recorded by now are removed."
    )
    dry_run: bool = strawberry.field(
        default=False, description="Whether only to find out how many there are: nothing is removed, and no job made."
    )


@strawberry.input
class ErasePassInput:
    """A pass to erase, named by one of its ids."""

    id: strawberry.ID | None = strawberry.field(default=None, description="The pass.")
    external_id: str | None = strawberry.field(default=None, description="The pass with this external id.")
    dry_run: bool = strawberry.field(default=False, description="Whether only to find out what it would change.")


@strawberry.type
class DeleteEventsPayload:
    """The job that removes events, or how many there are."""

    job: Job | None = strawberry.field(
        default=None, description="The job; its `result` tells how many it `deleted`. Absent for a dry run."
    )
    deleted_count: int | None = strawberry.field(
        default=None, description="How many events a dry run found: exactly those that would be removed now."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class ErasePassPayload:
    """The receipt of an erasure."""

    receipt: PassErasure | None = strawberry.field(
        default=None, description="What it changed so far, or would change; `passErasure` tells it again later."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def delete_events(
    info: Info, input: Annotated[DeleteEventsInput, strawberry.argument(description="Which events.")]
) -> DeleteEventsPayload:
    """Removes events for good, in a job: totals, segments and points become what they were without them, and their
    identities are not given again. Needs the scope `admin`. Safe to repeat.
    """
    info.context.actor.require(ADMIN)
    try:
        query = await event_query(info, input.filter)
        if query is None:
            return DeleteEventsPayload(deleted_count=0)
        job, count = await commands.delete_events(info.context.commands, query, dry_run=input.dry_run)
    except Refused as refused:
        return DeleteEventsPayload(user_errors=user_errors(refused.problems))
    return DeleteEventsPayload(job=None if job is None else job_of(job), deleted_count=count)


async def erase_pass(
    info: Info, input: Annotated[ErasePassInput, strawberry.argument(description="The pass.")]
) -> ErasePassPayload:
    """Erases a pass and everything personal about it, the feed included: it leaves its segments, its events are
    emptied, and its external id is free again. What is recorded on it until then goes with it. Needs the scope
    `admin`. Safe to repeat by id.
    """
    info.context.actor.require(ADMIN)
    try:
        erasure = await commands.erase_pass(
            info.context.commands,
            pass_id=None if input.id is None else parse_text(given_id(input.id, "Pass"), "id"),
            external_id=None if input.external_id is None else parse_text(input.external_id, "externalId"),
            dry_run=input.dry_run,
        )
    except Refused as refused:
        return ErasePassPayload(user_errors=user_errors(refused.problems))
    return ErasePassPayload(receipt=erasure_of(erasure))


async def find_erasure(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id that the pass had.")]
) -> PassErasure | None:
    """The receipt of the erasure of a pass; null where none was asked for. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    named = database_id(id, "Pass")
    found = None if named is None else await info.context.workspace.removals.erasure(named)
    return None if found is None else erasure_of(found)
