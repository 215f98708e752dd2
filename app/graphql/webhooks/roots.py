"""Fields of Query and Mutation for webhook endpoints and their deliveries."""

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
    """Fields of Query that read webhook endpoints and deliveries."""

    webhook_endpoint: WebhookEndpoint | None = strawberry.field(resolver=find_endpoint)
    webhook_endpoints: Connection[WebhookEndpoint] = strawberry.field(resolver=list_endpoints)
    webhook_deliveries: Connection[WebhookDelivery] = strawberry.field(resolver=list_webhook_deliveries)


@strawberry.type
class WebhookMutations:
    """Fields of Mutation that change, test and replay webhook endpoints."""

    create_webhook_endpoint: CreateWebhookEndpointPayload = strawberry.mutation(
        resolver=mutations.create_webhook_endpoint
    )
    update_webhook_endpoint: UpdateWebhookEndpointPayload = strawberry.mutation(
        resolver=mutations.update_webhook_endpoint
    )
    rotate_webhook_secret: RotateWebhookSecretPayload = strawberry.mutation(resolver=mutations.rotate_webhook_secret)
    delete_webhook_endpoint: DeleteWebhookEndpointPayload = strawberry.mutation(
        resolver=mutations.delete_webhook_endpoint
    )
    test_webhook_endpoint: TestWebhookEndpointPayload = strawberry.mutation(resolver=replays.test_webhook_endpoint)
    replay_webhook_deliveries: ReplayWebhookDeliveriesPayload = strawberry.mutation(
        resolver=replays.replay_webhook_deliveries
    )
