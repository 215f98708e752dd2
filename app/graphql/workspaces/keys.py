"""API keys: the type, the list, and making, rotating and revoking them. All of it needs the scope `admin`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from app.commands.workspaces import keys as commands
from app.domain import actors as domain
from app.domain.errors import Refused
from app.domain.values.instants import to_ms
from app.domain.values.text import parse_text
from app.graphql.context import Info, RequestContext
from app.graphql.types.ids import given_id, to_global_id
from app.graphql.types.node import Node, fetcher
from app.graphql.types.paging import After, Before, Connection, First, Last, Pagination
from app.graphql.types.payloads import UserError, user_errors
from app.graphql.types.scalars import RawDateTime

SCOPES = (
    "What it may do: `read` (queries), `write` (mutations), `subscribe` (subscriptions), `staff` (to say which member "
    "of staff acted by hand), `admin` (all that, and keys)."
)


@strawberry.type
class ApiKey(Node):
    """A key to the workspace; its secret is shown once, when it is made."""

    name: str = strawberry.field(description="What it is for.")
    scopes: list[str] = strawberry.field(description=SCOPES)
    created_at: datetime = strawberry.field(description="When it was made.")
    last_used_at: datetime | None = strawberry.field(description="When it was last used, to the minute.")
    revoked_at: datetime | None = strawberry.field(description="When it was revoked.")
    expires_at: datetime | None = strawberry.field(description="When it stops working; null for never.")


def key_of(key: domain.ApiKey) -> ApiKey:
    """The key as it is published."""
    return ApiKey(
        id=strawberry.ID(to_global_id("ApiKey", key.id)),
        name=key.name,
        scopes=list(key.scopes),
        created_at=key.created_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
        expires_at=key.expires_at,
    )


@fetcher("ApiKey")
async def fetch_key(context: RequestContext, key_id: str) -> ApiKey | None:
    """The key of a database id, or None. Raises Denied for any but the caller's own without the scope `admin`."""
    if key_id != context.actor.key_id:
        context.actor.require(domain.ADMIN)
    found = await context.load.keys.load(key_id)
    return None if found is None else key_of(found)


listing = Pagination[domain.ApiKey]("key", (int, str), lambda key: (to_ms(key.created_at), key.id))


async def list_keys(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[ApiKey]:
    """The API keys, the newest first. Needs the scope `admin`."""
    info.context.actor.require(domain.ADMIN)
    span = listing.span(first, after, last, before)
    store = info.context.workspace.keys
    return listing.connection(await store.page(span), span, key_of, store.count)


@strawberry.input
class CreateApiKeyInput:
    """A new key."""

    name: str = strawberry.field(description="What it is for.")
    scopes: list[str] = strawberry.field(description=SCOPES + " At least one.")
    expires_at: RawDateTime | None = strawberry.field(
        default=None, description="When it is to stop working; omitted: never."
    )


@strawberry.input
class RotateApiKeyInput:
    """A key to replace by a new one."""

    id: strawberry.ID = strawberry.field(description="The key.")
    grace_seconds: int = strawberry.field(
        default=0, description="How long the old secret still works beside the new one: up to 30 days."
    )


@strawberry.input
class RevokeApiKeyInput:
    """A key to revoke."""

    id: strawberry.ID = strawberry.field(description="The key.")


@strawberry.type
class CreateApiKeyPayload:
    """The new key."""

    api_key: ApiKey | None = strawberry.field(default=None, description="The key; absent if it was refused.")
    secret: str | None = strawberry.field(default=None, description="The secret to send; it is never shown again.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class RotateApiKeyPayload:
    """The key that replaces another."""

    api_key: ApiKey | None = strawberry.field(default=None, description="The new key; absent if it was refused.")
    secret: str | None = strawberry.field(default=None, description="The secret to send; it is never shown again.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


@strawberry.type
class RevokeApiKeyPayload:
    """The revoked key."""

    api_key: ApiKey | None = strawberry.field(default=None, description="The key; absent if it was refused.")
    user_errors: list[UserError] = strawberry.field(default_factory=list, description="What to change.")


async def create_api_key(
    info: Info, input: Annotated[CreateApiKeyInput, strawberry.argument(description="The key.")]
) -> CreateApiKeyPayload:
    """Makes an API key. Needs the scope `admin`."""
    info.context.actor.require(domain.ADMIN)
    try:
        key, secret = await commands.create_api_key(info.context.commands, input.name, input.scopes, input.expires_at)
    except Refused as refused:
        return CreateApiKeyPayload(user_errors=user_errors(refused.problems))
    return CreateApiKeyPayload(api_key=key_of(key), secret=secret)


async def rotate_api_key(
    info: Info, input: Annotated[RotateApiKeyInput, strawberry.argument(description="The key.")]
) -> RotateApiKeyPayload:
    """Replaces an API key by a new one with the same name and scopes; the old one works for a while longer, if wanted.

    Needs the scope `admin`.
    """
    info.context.actor.require(domain.ADMIN)
    try:
        key_id = parse_text(given_id(input.id, "ApiKey"), "id")
        key, secret = await commands.rotate_api_key(info.context.commands, key_id, input.grace_seconds)
    except Refused as refused:
        return RotateApiKeyPayload(user_errors=user_errors(refused.problems))
    return RotateApiKeyPayload(api_key=key_of(key), secret=secret)


async def revoke_api_key(
    info: Info, input: Annotated[RevokeApiKeyInput, strawberry.argument(description="The key.")]
) -> RevokeApiKeyPayload:
    """Revokes an API key. Needs the scope `admin`. Safe to repeat."""
    info.context.actor.require(domain.ADMIN)
    try:
        key = await commands.revoke_api_key(info.context.commands, parse_text(given_id(input.id, "ApiKey"), "id"))
    except Refused as refused:
        return RevokeApiKeyPayload(user_errors=user_errors(refused.problems))
    return RevokeApiKeyPayload(api_key=key_of(key))
