"""The part of the roots that speaks of webhook endpoints and of what they were sent."""

from __future__ import annotations

import strawberry

from app.graphql.types.paging import Connection

from . import mutations, replays
from .deliveries import WebhookDelivery, list_webhook_deliveries
from .endpoints import WebhookEndpoint, find_endpoint, list_endpoints
from .mutations import (
    CreateWebhookEndpointPayload,
    DeleteWebhookEndpointPayload,
    RotateWebhookSecretPayload,
    UpdateWebhookEndpointPayload,
)
from .replays import ReplayWebhookDeliveriesPayload, TestWebhookEndpointPayload


@strawberry.type
class WebhookQueries:
    """What can be asked of webhook endpoints."""

    webhook_endpoint: WebhookEndpoint | None = strawberry.field(
        resolver=find_endpoint, description="The webhook endpoint of an id. Needs the scope `admin`."
    )
    webhook_endpoints: Connection[WebhookEndpoint] = strawberry.field(
        resolver=list_endpoints, description="The webhook endpoints, the newest first. Needs the scope `admin`."
    )
    webhook_deliveries: Connection[WebhookDelivery] = strawberry.field(
        resolver=list_webhook_deliveries,
        description="What became of the messages to a webhook endpoint in the last 30 days, the newest first. Needs the "
        "scope `admin`.",
    )


@strawberry.type
class WebhookMutations:
    """What can be done with webhook endpoints."""

    create_webhook_endpoint: CreateWebhookEndpointPayload = strawberry.mutation(
        resolver=mutations.create_webhook_endpoint,
        description="Lets an address be told of activities, by Standard Webhooks. Needs the scope `admin`.",
    )
    update_webhook_endpoint: UpdateWebhookEndpointPayload = strawberry.mutation(
        resolver=mutations.update_webhook_endpoint,
        description="Changes a webhook endpoint, or disables or enables it. Needs the scope `admin`. Safe to repeat.",
    )
    rotate_webhook_secret: RotateWebhookSecretPayload = strawberry.mutation(
        resolver=mutations.rotate_webhook_secret,
        description="Replaces the secret of a webhook endpoint; for a while messages are signed by the old one too. Needs "
        "the scope `admin`.",
    )
    delete_webhook_endpoint: DeleteWebhookEndpointPayload = strawberry.mutation(
        resolver=mutations.delete_webhook_endpoint,
        description="Deletes a webhook endpoint and all that is known of its deliveries. Needs the scope `admin`.",
    )
    test_webhook_endpoint: TestWebhookEndpointPayload = strawberry.mutation(
        resolver=replays.test_webhook_endpoint,
        description="Sends a webhook endpoint a signed `webhook.test` message now, and tells what it answered. Needs the "
        "scope `admin`.",
    )
    replay_webhook_deliveries: ReplayWebhookDeliveriesPayload = strawberry.mutation(
        resolver=replays.replay_webhook_deliveries,
        description="Sends a webhook endpoint messages of a part of the feed once more, in a job, each with the "
        "`webhook-id` that it had. Needs the scope `admin`.",
    )
