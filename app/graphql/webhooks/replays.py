"""replayWebhookDeliveries and testWebhookEndpoint at the edge: what is sent because somebody asks for it."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.webhooks import endpoints, replays
from app.commands.webhooks.replays import Replay
from app.domain.actors import ADMIN
from app.domain.errors import Refused
from app.domain.values.cursors import activity_position
from app.domain.values.instants import parse_instant
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.jobs.jobs import Job, job_of
from app.graphql.types.filters import each_of, given
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import RawDateTime

from .deliveries import WebhookDeliveryStatus
from .mutations import named_endpoint


@strawberry.input
class WebhookReplayFilter:
    """Which messages to send once more. Every part that is given has to hold."""

    after: str | None = strawberry.field(
        default=None, description="Of activities that lie behind this cursor of the feed."
    )
    before: str | None = strawberry.field(
        default=None, description="Of activities that lie before this cursor, its own left out."
    )
    recorded_after: RawDateTime | None = strawberry.field(
        default=None, description="Of activities recorded then or later."
    )
    recorded_before: RawDateTime | None = strawberry.field(default=None, description="Of activities recorded earlier.")
    statuses: list[WebhookDeliveryStatus] | None = strawberry.field(
        default=None,
        description="Only what was sent, or tried, in the last 30 days, and has one of these statuses, whatever the "
        "endpoint's filter shows by now. If omitted: all that the filter shows, whether it was sent before or not.",
    )
    types: list[str] | None = strawberry.field(default=None, description="Of activities of one of these types.")


@strawberry.input
class ReplayWebhookDeliveriesInput:
    """What to send a webhook endpoint once more."""

    endpoint_id: strawberry.ID = strawberry.field(description="The endpoint.")
    filter: WebhookReplayFilter | None = strawberry.field(
        default=None, description="Which messages; all of the feed that the endpoint's filter shows, if omitted."
    )
    dry_run: bool = strawberry.field(
        default=False, description="Whether only to find out how many there are: nothing is sent, and no job made."
    )


@strawberry.input
class TestWebhookEndpointInput:
    """A webhook endpoint to try."""

    id: strawberry.ID = strawberry.field(description="The endpoint; it may be DISABLED.")


@strawberry.type
class ReplayWebhookDeliveriesPayload:
    """The job that sends messages once more, or how many there are."""

    job: Job | None = strawberry.field(
        default=None,
        description="The job; its `result` tells how many `messages` it put up to be sent. Absent for a dry run.",
    )
    count: int | None = strawberry.field(
        default=None, description="How many messages a dry run found: exactly those that would be sent now."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class TestWebhookEndpointPayload:
    """What an endpoint made of a `webhook.test` message."""

    succeeded: bool = strawberry.field(
        default=False, description="Whether it took the message: it answered 200 to 299."
    )
    status_code: int | None = strawberry.field(
        default=None, description="What it answered; null where it did not answer."
    )
    duration_ms: int | None = strawberry.field(default=None, description="How many milliseconds it took.")
    error: str | None = strawberry.field(default=None, description="Why it failed, for people.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def replay_webhook_deliveries(
    info: Info, input: Annotated[ReplayWebhookDeliveriesInput, strawberry.argument(description="Which messages.")]
) -> ReplayWebhookDeliveriesPayload:
    """Sends a webhook endpoint messages of a part of the feed once more, in a job, each with the `webhook-id` that it
    had. Needs the scope `admin`.
    """
    info.context.actor.require(ADMIN)
    try:
        job, count = await replays.replay_webhook_deliveries(
            info.context.commands,
            named_endpoint(input.endpoint_id, "endpointId"),
            _replay(input.filter),
            dry_run=input.dry_run,
        )
    except Refused as refused:
        return ReplayWebhookDeliveriesPayload(user_errors=user_errors(refused.problems))
    return ReplayWebhookDeliveriesPayload(job=None if job is None else job_of(job), count=count)


async def test_webhook_endpoint(
    info: Info, input: Annotated[TestWebhookEndpointInput, strawberry.argument(description="The endpoint.")]
) -> TestWebhookEndpointPayload:
    """Sends a webhook endpoint a signed `webhook.test` message now, and tells what it answered.

    Needs the scope `admin`.
    """
    info.context.actor.require(ADMIN)
    try:
        sent = await endpoints.test_webhook_endpoint(info.context.commands, named_endpoint(input.id, "id"))
    except Refused as refused:
        return TestWebhookEndpointPayload(user_errors=user_errors(refused.problems))
    attempt = sent.attempt
    return TestWebhookEndpointPayload(
        succeeded=sent.succeeded,
        status_code=attempt.status_code,
        duration_ms=attempt.duration_ms,
        error=attempt.error,
    )


def _replay(filter: WebhookReplayFilter | None) -> Replay:
    if filter is None:
        return Replay()
    here = "filter"
    return Replay(
        given(filter.after, activity_position, here, "after"),
        given(filter.before, activity_position, here, "before"),
        given(filter.recorded_after, parse_instant, here, "recordedAfter"),
        given(filter.recorded_before, parse_instant, here, "recordedBefore"),
        filter.statuses or (),
        each_of(filter.types, parse_text, here, "types"),
    )
