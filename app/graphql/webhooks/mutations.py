"""Mutations that create, update and delete webhook endpoints and rotate their secrets. All need the scope `admin`."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.webhooks import endpoints as commands
from app.domain.activity_queries import ActivityQuery
from app.domain.actors import ADMIN
from app.domain.errors import Code, InvalidInput, Refused
from app.domain.values.cursors import parse_feed_cursor
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.jobs.exports import UNKNOWN_IN_FILTER
from app.graphql.types.filters import ActivityFilter, parse_activity_filter
from app.graphql.types.ids import given_id, to_global_id
from app.graphql.types.payloads import UserError, user_errors

from .endpoints import WebhookEndpoint, WebhookEndpointStatus, endpoint_of

URL = (
    "URL that receives the messages, up to 2,048 characters. It uses https, and its host has public addresses. "
    "Other hosts, and http, need the operator's permission (`PUNCHCARD_EGRESS_ALLOW`)."
)


@strawberry.input
class CreateWebhookEndpointInput:
    """Settings of a new webhook endpoint."""

    url: str = strawberry.field(description=URL)
    description: str | None = strawberry.field(
        default=None, description="Note on the purpose of the endpoint, up to 255 characters."
    )
    filter: ActivityFilter | None = strawberry.field(
        default=None,
        description="Activities to send. Default: all activities except silent ones and imported history.",
    )
    after: str | None = strawberry.field(
        default=None,
        description="Cursor of the feed after which the endpoint starts, for example the last one you read by query. "
        "Default: the end of the feed, so that only activities published from now on are sent.",
    )


@strawberry.input
class UpdateWebhookEndpointInput:
    """Changes to a webhook endpoint. Omitted values stay unchanged."""

    id: strawberry.ID = strawberry.field(description="Id of the endpoint.")
    url: str | None = strawberry.field(
        default=None, description=f"{URL} A new URL also closes an open circuit (see `WebhookEndpoint.awaySince`)."
    )
    description: str | None = strawberry.field(
        default=None,
        description="Note on the purpose of the endpoint, up to 255 characters. It can be replaced, not removed.",
    )
    filter: ActivityFilter | None = strawberry.field(
        default=None,
        description="New filter, which replaces the old one completely. It applies to all activities that the endpoint "
        "has not reached yet.",
    )
    status: WebhookEndpointStatus | None = strawberry.field(
        default=None,
        description="Whether to send messages. ENABLED also closes an open circuit (see `WebhookEndpoint.awaySince`), "
        "so that Punchcard sends at once.",
    )


@strawberry.input
class RotateWebhookSecretInput:
    """Webhook endpoint that gets a new secret."""

    id: strawberry.ID = strawberry.field(description="Id of the endpoint.")
    grace_seconds: int = strawberry.field(
        default=commands.DEFAULT_GRACE_SECONDS,
        description="Seconds for which messages also carry signatures by the older secrets: 0 to 2,592,000 (30 days). "
        "Default: 86,400 (a day). 0 ends the older secrets at once.",
    )


@strawberry.input
class DeleteWebhookEndpointInput:
    """Webhook endpoint to delete."""

    id: strawberry.ID = strawberry.field(description="Id of the endpoint.")


@strawberry.type
class CreateWebhookEndpointPayload:
    """Result of `createWebhookEndpoint`."""

    endpoint: WebhookEndpoint | None = strawberry.field(
        default=None, description="New endpoint; null if the call failed."
    )
    secret: str | None = strawberry.field(
        default=None,
        description="Secret that signs the messages; null if the call failed. Store it: Punchcard shows it only once.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class UpdateWebhookEndpointPayload:
    """Result of `updateWebhookEndpoint`."""

    endpoint: WebhookEndpoint | None = strawberry.field(
        default=None, description="Endpoint after the change; null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class RotateWebhookSecretPayload:
    """Result of `rotateWebhookSecret`."""

    endpoint: WebhookEndpoint | None = strawberry.field(default=None, description="Endpoint; null if the call failed.")
    secret: str | None = strawberry.field(
        default=None,
        description="New secret, which signs all messages from now on; null if the call failed. Store it: Punchcard "
        "never shows it again.",
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class DeleteWebhookEndpointPayload:
    """Result of `deleteWebhookEndpoint`."""

    deleted_id: strawberry.ID | None = strawberry.field(
        default=None, description="Id of the deleted endpoint; null if the call failed."
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def create_webhook_endpoint(
    info: Info,
    input: Annotated[CreateWebhookEndpointInput, strawberry.argument(description="Settings of the new endpoint.")],
) -> CreateWebhookEndpointPayload:
    """Create a webhook endpoint, to which Punchcard then sends activities. Needs the scope `admin`.

    A workspace may have up to 50 endpoints. Not safe to repeat: each call creates another endpoint.
    """
    info.context.actor.require(ADMIN)
    try:
        after = None
        if input.after is not None:
            after = await info.context.workspace.position_after(parse_feed_cursor(input.after, "after"), "after")
        endpoint, secret = await commands.create_webhook_endpoint(
            info.context.commands,
            input.url,
            description=input.description,
            filter=_parse_filter(input.filter),
            after=after,
        )
    except Refused as refused:
        return CreateWebhookEndpointPayload(user_errors=user_errors(refused.problems))
    return CreateWebhookEndpointPayload(endpoint=endpoint_of(endpoint), secret=secret)


async def update_webhook_endpoint(
    info: Info,
    input: Annotated[UpdateWebhookEndpointInput, strawberry.argument(description="Endpoint and its changes.")],
) -> UpdateWebhookEndpointPayload:
    """Change, enable or disable a webhook endpoint. Needs the scope `admin`. Safe to repeat.

    An enabled endpoint continues at its cursor. A busy endpoint may take a second to follow the change.
    """
    info.context.actor.require(ADMIN)
    try:
        endpoint = await commands.update_webhook_endpoint(
            info.context.commands,
            parse_endpoint_id(input.id, "id"),
            url=input.url,
            description=input.description,
            filter=None if input.filter is None else _parse_filter(input.filter),
            status=input.status,
        )
    except Refused as refused:
        return UpdateWebhookEndpointPayload(user_errors=user_errors(refused.problems))
    return UpdateWebhookEndpointPayload(endpoint=endpoint_of(endpoint))


async def rotate_webhook_secret(
    info: Info,
    input: Annotated[RotateWebhookSecretInput, strawberry.argument(description="Endpoint and grace period.")],
) -> RotateWebhookSecretPayload:
    """Replace the secret of a webhook endpoint. Needs the scope `admin`.

    For `graceSeconds`, messages are signed by the older secrets too. At most five secrets sign at a time; the oldest
    ones end first. Not safe to repeat: each call creates another secret.
    """
    info.context.actor.require(ADMIN)
    try:
        endpoint, secret = await commands.rotate_webhook_secret(
            info.context.commands, parse_endpoint_id(input.id, "id"), input.grace_seconds
        )
    except Refused as refused:
        return RotateWebhookSecretPayload(user_errors=user_errors(refused.problems))
    return RotateWebhookSecretPayload(endpoint=endpoint_of(endpoint), secret=secret)


async def delete_webhook_endpoint(
    info: Info, input: Annotated[DeleteWebhookEndpointInput, strawberry.argument(description="Endpoint to delete.")]
) -> DeleteWebhookEndpointPayload:
    """Delete a webhook endpoint with its deliveries and secrets. Needs the scope `admin`.

    Safe to repeat: once the endpoint is deleted, a call returns a user error with the code UNKNOWN.
    """
    info.context.actor.require(ADMIN)
    try:
        endpoint_id = parse_endpoint_id(input.id, "id")
        await commands.delete_webhook_endpoint(info.context.commands, endpoint_id)
    except Refused as refused:
        return DeleteWebhookEndpointPayload(user_errors=user_errors(refused.problems))
    return DeleteWebhookEndpointPayload(deleted_id=strawberry.ID(to_global_id("WebhookEndpoint", endpoint_id)))


def parse_endpoint_id(id: strawberry.ID, *field: str) -> str:
    """Return the database id in the global id of an endpoint, or the text itself if it is no such id.

    The endpoint may not exist. Raises InvalidInput with the path `field` if the text is blank or too long.
    """
    return parse_text(given_id(id, "WebhookEndpoint"), *field)


def _parse_filter(filter: ActivityFilter | None) -> ActivityQuery:
    query = parse_activity_filter(filter, historical=False)
    if query is None:
        raise InvalidInput(Code.UNKNOWN, UNKNOWN_IN_FILTER, "filter")
    return query
