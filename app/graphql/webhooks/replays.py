"""Mutations that send messages on request: replayWebhookDeliveries and testWebhookEndpoint.

Both need the scope `admin`.
"""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.webhooks import endpoints, replays
from app.commands.webhooks.replays import Replay
from app.domain.actors import ADMIN
from app.domain.errors import Refused
from app.domain.values.cursors import parse_feed_cursor
from app.domain.values.instants import parse_instant
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.jobs.jobs import Job, job_of
from app.graphql.types.filters import parse_each, parse_if_given
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import RawDateTime

from .deliveries import WebhookDeliveryStatus
from .mutations import parse_endpoint_id


@strawberry.input
class WebhookReplayFilter:
    """Filter of the messages to replay.

    An activity must meet every given condition; an omitted one allows any value.
    """

    after: str | None = strawberry.field(
        default=None, description="Cursor of the feed after which the replay starts. Default: the start of the feed."
    )
    before: str | None = strawberry.field(
        default=None,
        description="Cursor of the feed before which the replay ends; its own activity is excluded. Default: the end "
        "of the feed at the time of the call.",
    )
    recorded_after: RawDateTime | None = strawberry.field(
        default=None, description="Earliest `recordedAt` of an activity, inclusive."
    )
    recorded_before: RawDateTime | None = strawberry.field(
        default=None, description="Upper bound of an activity's `recordedAt`, exclusive."
    )
    statuses: list[WebhookDeliveryStatus] | None = strawberry.field(
        default=None,
        description="Statuses, one of which the stored delivery of an activity must have. If given, the endpoint's own "
        "filter is not applied. "
        "If omitted, the replay takes all activities that the endpoint's filter selects, delivered or not.",
    )
    types: list[str] | None = strawberry.field(
        default=None, description="Up to 50 activity types, one of which the activity must have."
    )


@strawberry.input
class ReplayWebhookDeliveriesInput:
    """Endpoint and messages of a replay."""

    endpoint_id: strawberry.ID = strawberry.field(description="Id of the endpoint.")
    filter: WebhookReplayFilter | None = strawberry.field(
        default=None,
        description="Messages to replay. Default: every activity of the feed that the endpoint's filter selects.",
    )
    dry_run: bool = strawberry.field(
        default=False, description="If true, the call only counts the messages: it creates no job and sends nothing."
    )


@strawberry.input
class TestWebhookEndpointInput:
    """Webhook endpoint to test."""

    id: strawberry.ID = strawberry.field(description="Id of the endpoint, which may be DISABLED.")


@strawberry.type
class ReplayWebhookDeliveriesPayload:
    """Result of `replayWebhookDeliveries`."""

    job: Job | None = strawberry.field(
        default=None,
        description="Job of the replay; null for a dry run, or if the call failed. The member `messages` of its "
        "`result` is the number of activities selected.",
    )
    count: int | None = strawberry.field(
        default=None,
        description="Number of activities that a replay would select now; null unless `dryRun` is true. Activities "
        "that the endpoint has not reached yet are counted, but sent only once.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class TestWebhookEndpointPayload:
    """Result of `testWebhookEndpoint`."""

    succeeded: bool = strawberry.field(
        default=False,
        description="Whether the endpoint accepted the message: it answered with a status from 200 to 299.",
    )
    status_code: int | None = strawberry.field(
        default=None, description="HTTP status of the endpoint's answer; null if it did not answer."
    )
    duration_ms: int | None = strawberry.field(
        default=None, description="Duration of the request in milliseconds; null if the call failed."
    )
    error: str | None = strawberry.field(
        default=None, description="Explanation of the failure, for people; null if the endpoint accepted the message."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def replay_webhook_deliveries(
    info: Info,
    input: Annotated[ReplayWebhookDeliveriesInput, strawberry.argument(description="Endpoint and messages.")],
) -> ReplayWebhookDeliveriesPayload:
    """Start a job that sends messages to a webhook endpoint again. Needs the scope `admin`.

    Each message keeps its `webhook-id`. Activities that the endpoint has not reached yet are left to its regular
    delivery. Not safe to repeat: each call starts another job.
    """
    info.context.actor.require(ADMIN)
    try:
        job, count = await replays.replay_webhook_deliveries(
            info.context.commands,
            parse_endpoint_id(input.endpoint_id, "endpointId"),
            await _parse_replay(info, input.filter),
            dry_run=input.dry_run,
        )
    except Refused as refused:
        return ReplayWebhookDeliveriesPayload(user_errors=user_errors(refused.problems))
    return ReplayWebhookDeliveriesPayload(job=None if job is None else job_of(job), count=count)


async def test_webhook_endpoint(
    info: Info, input: Annotated[TestWebhookEndpointInput, strawberry.argument(description="Endpoint to test.")]
) -> TestWebhookEndpointPayload:
    """Send a signed message of the type `webhook.test` to a webhook endpoint now, and return the endpoint's answer.

    Needs the scope `admin`. Punchcard waits up to 15 seconds for the answer. The test stores no delivery and does not
    change the state of the endpoint. Safe to repeat: each call sends another message.
    """
    info.context.actor.require(ADMIN)
    try:
        result = await endpoints.test_webhook_endpoint(info.context.commands, parse_endpoint_id(input.id, "id"))
    except Refused as refused:
        return TestWebhookEndpointPayload(user_errors=user_errors(refused.problems))
    attempt = result.attempt
    return TestWebhookEndpointPayload(
        succeeded=result.succeeded,
        status_code=attempt.status_code,
        duration_ms=attempt.duration_ms,
        error=attempt.error,
    )


async def _parse_replay(info: Info, filter: WebhookReplayFilter | None) -> Replay:
    if filter is None:
        return Replay()
    workspace = info.context.workspace
    positions = {
        name: None if text is None else await workspace.position_after(parse_feed_cursor(text, *path), *path)
        for name, text in (("after", filter.after), ("before", filter.before))
        for path in (("filter", name),)
    }
    return Replay(
        positions["after"],
        positions["before"],
        parse_if_given(filter.recorded_after, parse_instant, "filter", "recordedAfter"),
        recorded_before=parse_if_given(filter.recorded_before, parse_instant, "filter", "recordedBefore"),
        statuses=filter.statuses or (),
        types=parse_each(filter.types, parse_text, "filter", "types"),
    )
