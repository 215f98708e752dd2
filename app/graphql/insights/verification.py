"""Mutation verifyProjection: a job that compares stored results with the events."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.insights import verification
from app.domain.errors import Refused
from app.domain.insights.verification import MAX_VERIFIED_PASSES
from app.graphql.context import Info
from app.graphql.jobs.jobs import Job, job_of
from app.graphql.types.ids import database_id
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import RawDateTime


@strawberry.input
class VerifiedRollupsInput:
    """Time whose rollups are compared: the hours and days of UTC in it, and the months that it touches."""

    from_: RawDateTime | None = strawberry.field(
        name="from", default=None, description="Instant of the first day. Default: that of the first event."
    )
    to: RawDateTime | None = strawberry.field(
        default=None, description="Instant before which the last day begins. Default: behind the last event."
    )


@strawberry.input
class VerifyProjectionInput:
    """What to compare with the events. Without any field, all passes and all rollups are compared."""

    pass_ids: list[strawberry.ID] | None = strawberry.field(
        default=None,
        description=f"Ids of the passes: 1 to {MAX_VERIFIED_PASSES:,}. A merged pass stands for the one that remains. "
        "Do not combine it with `sample`.",
    )
    sample: int | None = strawberry.field(
        default=None,
        description=f"Number of passes to draw at random: 1 to {MAX_VERIFIED_PASSES:,}. Each call draws other passes.",
    )
    rollups: VerifiedRollupsInput | None = strawberry.field(
        default=None, description="Rollups to compare. With `{}`, all of them."
    )


@strawberry.type
class VerifyProjectionPayload:
    """Result of `verifyProjection`."""

    job: Job | None = strawberry.field(default=None, description="Job that compares. Null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def verify_projection(
    info: Info, input: Annotated[VerifyProjectionInput, strawberry.argument(description="What to compare.")]
) -> VerifyProjectionPayload:
    """Compute passes and rollups anew from the events, and compare them with what is stored. Needs the scope `write`.

    A job does it, beside other work, and changes nothing that it compares. It looks again at what was written meanwhile.
    Of a pass, it compares the aggregates, points, profile, measures, firings of rules and redeemed rewards. It also
    compares the sums by month and year, and the months with activity. Of a pass with more than 50,000 events, it
    compares the aggregates and these sums only. Rollups are the sums by hour, day and month, and by the values of
    dimensions, from which answers about all customers are made.

    The job's `result` has the numbers of `passes` and their `events`, of passes that are compared in part (`partial`) or
    were erased or merged (`gone`). It has the numbers of `rollups` and their `rollupEvents`, and of rollups that wait to be
    sealed (`waiting`). `moving` counts what changed at each look. `differing` is the number of passes and rollups with a
    difference, and `differences` that of all differences. `reportUrl` lists them, up to 100 of each. Not safe to repeat:
    each call starts a job.
    """
    pass_ids = None if input.pass_ids is None else [database_id(each, "Pass") or "" for each in input.pass_ids]
    try:
        job = await verification.verify_projection(
            info.context.commands,
            pass_ids=pass_ids,
            sample=input.sample,
            rollups=None if input.rollups is None else (input.rollups.from_, input.rollups.to),
        )
    except Refused as refused:
        return VerifyProjectionPayload(user_errors=user_errors(refused.problems))
    return VerifyProjectionPayload(job=job_of(job))


@strawberry.type
class VerificationMutations:
    """Fields of Mutation that compare stored results with the events."""

    verify_projection: VerifyProjectionPayload = strawberry.mutation(resolver=verify_projection)
