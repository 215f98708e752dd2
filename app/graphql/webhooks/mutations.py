"""createWebhookEndpoint, updateWebhookEndpoint, rotateWebhookSecret and deleteWebhookEndpoint at the edge."""

from __future__ import annotations

from typing import Annotated

import strawberry

from app.commands.webhooks import endpoints as commands
from app.domain.activities import ActivityQuery
from app.domain.actors import ADMIN
from app.domain.errors import Code, InvalidInput, Refused
from app.domain.values.cursors import activity_position
from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.graphql.jobs.exports import NO_PASS_ID
from app.graphql.types.filters import ActivityFilter, activity_query
from app.graphql.types.ids import given_id, to_global_id
from app.graphql.types.payloads import UserError, user_errors

from .endpoints import WebhookEndpoint, WebhookEndpointStatus, endpoint_of

URL = "Where messages are sent: https, to a host that anybody can reach; else only where this installation allows it."


@strawberry.input
class CreateWebhookEndpointInput:
    """A new webhook endpoint."""

    url: str = strawberry.field(description=URL)
    description: str | None = strawberry.field(default=None, description="What it is for.")
    filter: ActivityFilter | None = strawberry.field(
        default=None,
        description="Which activities it is told of; all that are neither silent nor imported history, if omitted.",
    )
    after: str | None = strawberry.field(
        default=None,
        description="Begin behind this cursor of the feed, for example the last one that was read by another door; if "
        "omitted, with what is published from now on.",
    )


@strawberry.input
class UpdateWebhookEndpointInput:
    """Changes to a webhook endpoint; what is omitted stays."""

    id: strawberry.ID = strawberry.field(description="The endpoint.")
    url: str | None = strawberry.field(default=None, description=URL)
    description: str | None = strawberry.field(default=None, description="What it is for.")
    filter: ActivityFilter | None = strawberry.field(
        default=None,
        description="Which activities it is told of from now on, whole: also of those that it has not come to yet.",
    )
    status: WebhookEndpointStatus | None = strawberry.field(
        default=None,
        description="Whether it is told of anything. ENABLED also ends the waiting where it was away: it is tried at once.",
    )


@strawberry.input
class RotateWebhookSecretInput:
    """A webhook endpoint whose secret is to be replaced."""

    id: strawberry.ID = strawberry.field(description="The endpoint.")
    grace_seconds: int = strawberry.field(
        default=commands.DEFAULT_GRACE_SECONDS,
        description="How long messages are signed by older secrets too: up to 30 days; a day, if omitted.",
    )


@strawberry.input
class DeleteWebhookEndpointInput:
    """A webhook endpoint to delete."""

    id: strawberry.ID = strawberry.field(description="The endpoint.")


@strawberry.type
class CreateWebhookEndpointPayload:
    """The new webhook endpoint."""

    endpoint: WebhookEndpoint | None = strawberry.field(
        default=None, description="The endpoint; absent if it was refused."
    )
    secret: str | None = strawberry.field(
        default=None, description="What its messages are signed with; it is never shown again."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class UpdateWebhookEndpointPayload:
    """The changed webhook endpoint."""

    endpoint: WebhookEndpoint | None = strawberry.field(
        default=None, description="The endpoint; absent if it was refused."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class RotateWebhookSecretPayload:
    """The webhook endpoint and its new secret."""

    endpoint: WebhookEndpoint | None = strawberry.field(
        default=None, description="The endpoint; absent if it was refused."
    )
    secret: str | None = strawberry.field(
        default=None, description="What its messages are signed with from now on; it is never shown again."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class DeleteWebhookEndpointPayload:
    """The webhook endpoint that was deleted."""

    deleted_id: strawberry.ID | None = strawberry.field(default=None, description="Its id; absent if it was refused.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def create_webhook_endpoint(
    info: Info, input: Annotated[CreateWebhookEndpointInput, strawberry.argument(description="The endpoint.")]
) -> CreateWebhookEndpointPayload:
    """Lets an address be told of activities, by Standard Webhooks. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    try:
        endpoint, secret = await commands.create_webhook_endpoint(
            info.context.commands,
            input.url,
            description=input.description,
            filter=_shown(input.filter),
            after=None if input.after is None else activity_position(input.after, "after"),
        )
    except Refused as refused:
        return CreateWebhookEndpointPayload(user_errors=user_errors(refused.problems))
    return CreateWebhookEndpointPayload(endpoint=endpoint_of(endpoint), secret=secret)


async def update_webhook_endpoint(
    info: Info, input: Annotated[UpdateWebhookEndpointInput, strawberry.argument(description="The changes.")]
) -> UpdateWebhookEndpointPayload:
    """Changes a webhook endpoint, or disables or enables it. Needs the scope `admin`. Safe to repeat."""
    info.context.actor.require(ADMIN)
    try:
        endpoint = await commands.update_webhook_endpoint(
            info.context.commands,
            named_endpoint(input.id, "id"),
            url=input.url,
            description=input.description,
            filter=None if input.filter is None else _shown(input.filter),
            status=input.status,
        )
    except Refused as refused:
        return UpdateWebhookEndpointPayload(user_errors=user_errors(refused.problems))
    return UpdateWebhookEndpointPayload(endpoint=endpoint_of(endpoint))


async def rotate_webhook_secret(
    info: Info, input: Annotated[RotateWebhookSecretInput, strawberry.argument(description="The endpoint.")]
) -> RotateWebhookSecretPayload:
    """Replaces the secret of a webhook endpoint; for a while messages are signed by the old one too.

    Needs the scope `admin`.
    """
    info.context.actor.require(ADMIN)
    try:
        endpoint, secret = await commands.rotate_webhook_secret(
            info.context.commands, named_endpoint(input.id, "id"), input.grace_seconds
        )
    except Refused as refused:
        return RotateWebhookSecretPayload(user_errors=user_errors(refused.problems))
    return RotateWebhookSecretPayload(endpoint=endpoint_of(endpoint), secret=secret)


async def delete_webhook_endpoint(
    info: Info, input: Annotated[DeleteWebhookEndpointInput, strawberry.argument(description="The endpoint.")]
) -> DeleteWebhookEndpointPayload:
    """Deletes a webhook endpoint and all that is known of its deliveries. Needs the scope `admin`."""
    info.context.actor.require(ADMIN)
    try:
        named = named_endpoint(input.id, "id")
        await commands.delete_webhook_endpoint(info.context.commands, named)
    except Refused as refused:
        return DeleteWebhookEndpointPayload(user_errors=user_errors(refused.problems))
    return DeleteWebhookEndpointPayload(deleted_id=strawberry.ID(to_global_id("WebhookEndpoint", named)))


def named_endpoint(id: strawberry.ID, *field: str) -> str:
    """The database id of the endpoint that an input names. Raises InvalidInput for a text that is no id."""
    return parse_text(given_id(id, "WebhookEndpoint"), *field)


def _shown(filter: ActivityFilter | None) -> ActivityQuery:
    query = activity_query(filter, historical=False)
    if query is None:
        raise InvalidInput(Code.UNKNOWN, NO_PASS_ID, "filter")
    return query
