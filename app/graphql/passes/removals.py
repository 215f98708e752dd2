"""The mutations deleteEvents and erasePass, and the query passErasure. All need the scope `admin`."""

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
from app.domain.values.text import parse_external_id, parse_text
from app.graphql.context import Info
from app.graphql.jobs.jobs import Job, job_of
from app.graphql.segments.segments import Segment, fetch_segment
from app.graphql.types.enums import describe_enum
from app.graphql.types.filters import EventFilter, parse_event_filter
from app.graphql.types.ids import database_id, given_id, to_global_id
from app.graphql.types.payloads import UserError, user_errors


class ErasureState(StrEnum):
    """Progress of an erasure."""

    PENDING = "PENDING"
    DONE = "DONE"


describe_enum(
    ErasureState,
    "ErasureState",
    {
        "PENDING": "Some data of the pass remains. For a dry run: the erasure was not requested.",
        "DONE": "No personal data of the pass remains in the workspace.",
    },
)


@strawberry.type
class PassErasure:
    """Receipt of an erasure: what it changed. It contains no personal data."""

    pass_id: strawberry.ID = strawberry.field(
        description="Id that the pass had. `passErasure` finds the receipt by this id."
    )
    state: ErasureState = strawberry.field(description="Progress of the erasure.")
    erased_at: datetime | None = strawberry.field(
        description="Instant at which the pass left its segments and its events stopped counting. Null until then."
    )
    event_count: int | None = strawberry.field(
        description="Number of events that counted in the pass, changes by `updatePass` included. Null until "
        "`erasedAt` is set."
    )
    aggregate_count: int | None = strawberry.field(
        description="Number of rows in the statistics of the pass: one for each type and currency of its events. Null "
        "until `erasedAt` is set."
    )
    activity_count: int | None = strawberry.field(
        description="Number of activities of the pass. They stay in the feed, and the erasure replaces their data by "
        '`{"erased": true}`. Null until `erasedAt` is set.'
    )
    segment_ids: strawberry.Private[tuple[str, ...]]

    @strawberry.field
    async def segments(self, info: Info) -> list[Segment]:
        """Segments that the pass left."""
        segments = await asyncio.gather(*(fetch_segment(info.context, each) for each in self.segment_ids))
        return [segment for segment in segments if segment is not None]


def erasure_of(erasure: domain.Erasure) -> PassErasure:
    """Return the GraphQL object of an erasure."""
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
    """Events to remove."""

    filter: EventFilter = strawberry.field(
        description="Selection of the events; at least one condition is required. Only events recorded before the "
        "call are removed."
    )
    dry_run: bool = strawberry.field(
        default=False,
        description="Whether to only count the events. Default: false. A dry run removes nothing and starts no job.",
    )


@strawberry.input
class ErasePassInput:
    """Pass to erase. Give exactly one of `id` and `externalId`."""

    id: strawberry.ID | None = strawberry.field(default=None, description="Id of the pass.")
    external_id: str | None = strawberry.field(default=None, description="External id of the pass.")
    dry_run: bool = strawberry.field(
        default=False, description="Whether to only return what the erasure would change. Default: false."
    )


@strawberry.type
class DeleteEventsPayload:
    """Result of `deleteEvents`."""

    job: Job | None = strawberry.field(
        default=None,
        description="Job that removes the events. When the job is finished, its `result` has the number of removed "
        "events as `deleted`. Null for a dry run, if the filter names a pass that does not exist, or if "
        "the call failed.",
    )
    deleted_count: int | None = strawberry.field(
        default=None,
        description="For a dry run: number of events that would be removed now. 0 if the filter names a pass that "
        "does not exist. Null otherwise.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class ErasePassPayload:
    """Result of `erasePass`."""

    receipt: PassErasure | None = strawberry.field(
        default=None,
        description="What the erasure has changed so far; for a dry run, what it would change. `passErasure` returns "
        "the receipt later. Null if the call failed.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def delete_events(
    info: Info, input: Annotated[DeleteEventsInput, strawberry.argument(description="Events to remove.")]
) -> DeleteEventsPayload:
    """Start a job that removes events permanently. Needs the scope `admin`.

    Statistics, fields, segments and points become what they are without the events. For each removed event, the feed
    gets a `customer.updated` with the cause `EVENT_REMOVED`; earlier activities stay. Workers apply the removals within
    moments after the job; until then, `freshness` of `aggregateEvents` is not exact. The identity of a removed event
    cannot be used again. Changes by `updatePass` and events that rules made are never removed. Safe to repeat: another job
    removes what is left.
    """
    info.context.actor.require(ADMIN)
    try:
        query = await parse_event_filter(info, input.filter)
        if query is None:
            return DeleteEventsPayload(deleted_count=0)
        job, count = await commands.delete_events(info.context.commands, query, dry_run=input.dry_run)
    except Refused as refused:
        return DeleteEventsPayload(user_errors=user_errors(refused.problems))
    return DeleteEventsPayload(job=None if job is None else job_of(job), deleted_count=count)


async def erase_pass(
    info: Info, input: Annotated[ErasePassInput, strawberry.argument(description="Pass to erase.")]
) -> ErasePassPayload:
    """Erase a pass with everything personal about it, in the feed too. Needs the scope `admin`.

    The pass leaves its segments, its events and activities lose their data, and its external id becomes free. Events
    that are recorded on the pass before the erasure is `DONE` are erased too. Fails with `CONFLICT` while the pass is
    being merged. Safe to repeat by `id`. By `externalId`, a repeated call may find a new pass that has the external
    id.
    """
    info.context.actor.require(ADMIN)
    try:
        erasure = await commands.erase_pass(
            info.context.commands,
            pass_id=None if input.id is None else parse_text(given_id(input.id, "Pass"), "id"),
            external_id=None if input.external_id is None else parse_external_id(input.external_id, "externalId"),
            dry_run=input.dry_run,
        )
    except Refused as refused:
        return ErasePassPayload(user_errors=user_errors(refused.problems))
    return ErasePassPayload(receipt=erasure_of(erasure))


async def find_erasure(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Id that the pass had.")]
) -> PassErasure | None:
    """Return the receipt of the erasure of a pass. Null if none was requested. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    pass_id = database_id(id, "Pass")
    erasure = None if pass_id is None else await info.context.workspace.removals.erasure(pass_id)
    return None if erasure is None else erasure_of(erasure)
