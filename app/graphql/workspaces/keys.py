"""The type ApiKey, the query that lists keys, and the mutations that create, rotate and revoke keys.

All need the scope `admin`, except that every key may read its own ApiKey.
"""

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
    "Scopes: what the key may do. `read` allows queries, `write` mutations, and `subscribe` subscriptions. `staff` "
    "allows naming the member of staff who acted by hand. `admin` includes all others and allows administration."
)

SECRET = (
    "Secret of the key, for the header `Authorization: Bearer <secret>`; null if the call failed. "
    "Store it: Punchcard shows it only once."
)


@strawberry.type
class ApiKey(Node):
    """Key with which a client uses the API. It belongs to one workspace. Punchcard stores only a hash of its secret."""

    name: str = strawberry.field(description="Name of the key, for people.")
    scopes: list[str] = strawberry.field(description=SCOPES)
    created_at: datetime = strawberry.field(description="Time of creation, in system time.")
    last_used_at: datetime | None = strawberry.field(
        description="Time of the last use, in system time, exact to about a minute; null if the key was never used."
    )
    revoked_at: datetime | None = strawberry.field(
        description="Time at which the key was revoked, in system time; null if it was not."
    )
    expires_at: datetime | None = strawberry.field(
        description="Time at which the key stops working, in system time; null if it never expires."
    )


def key_of(key: domain.ApiKey) -> ApiKey:
    """Return the GraphQL object of a key."""
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
    """Return the key with a database id, or None.

    Raises Denied without the scope `admin`, unless it is the key of the request itself.
    """
    if key_id != context.actor.key_id:
        context.actor.require(domain.ADMIN)
    key = await context.load.keys.load(key_id)
    return None if key is None else key_of(key)


listing = Pagination[domain.ApiKey]("key", (int, str), lambda key: (to_ms(key.created_at), key.id))


async def list_keys(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[ApiKey]:
    """List the API keys, newest first, including revoked and expired ones. Needs the scope `admin`."""
    info.context.actor.require(domain.ADMIN)
    span = listing.span(first, after, last, before)
    store = info.context.workspace.keys
    return listing.connection(await store.page(span), span, key_of, store.count)


@strawberry.input
class CreateApiKeyInput:
    """Settings of a new API key."""

    name: str = strawberry.field(description="Name of the key, for people, up to 255 characters.")
    scopes: list[str] = strawberry.field(description=f"{SCOPES} Give at least one.")
    expires_at: RawDateTime | None = strawberry.field(
        default=None,
        description="Time at which the key stops working, in system time; it must be in the future. Default: never.",
    )


@strawberry.input
class RotateApiKeyInput:
    """API key to replace by a new one."""

    id: strawberry.ID = strawberry.field(description="Id of the old key.")
    grace_seconds: int = strawberry.field(
        default=0,
        description="Seconds for which the old key stays valid beside the new one: 0 to 2,592,000 (30 days). Default: "
        "0, which ends it at once.",
    )


@strawberry.input
class RevokeApiKeyInput:
    """API key to revoke."""

    id: strawberry.ID = strawberry.field(description="Id of the key.")


@strawberry.type
class CreateApiKeyPayload:
    """Result of `createApiKey`."""

    api_key: ApiKey | None = strawberry.field(default=None, description="New key; null if the call failed.")
    secret: str | None = strawberry.field(default=None, description=SECRET)
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class RotateApiKeyPayload:
    """Result of `rotateApiKey`."""

    api_key: ApiKey | None = strawberry.field(default=None, description="New key; null if the call failed.")
    secret: str | None = strawberry.field(default=None, description=SECRET)
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


@strawberry.type
class RevokeApiKeyPayload:
    """Result of `revokeApiKey`."""

    api_key: ApiKey | None = strawberry.field(default=None, description="Revoked key; null if the call failed.")
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Problems with the input; empty if the call succeeded."
    )


async def create_api_key(
    info: Info, input: Annotated[CreateApiKeyInput, strawberry.argument(description="Settings of the new key.")]
) -> CreateApiKeyPayload:
    """Create an API key. Needs the scope `admin`. Not safe to repeat: each call creates another key."""
    info.context.actor.require(domain.ADMIN)
    try:
        key, secret = await commands.create_api_key(info.context.commands, input.name, input.scopes, input.expires_at)
    except Refused as refused:
        return CreateApiKeyPayload(user_errors=user_errors(refused.problems))
    return CreateApiKeyPayload(api_key=key_of(key), secret=secret)


async def rotate_api_key(
    info: Info, input: Annotated[RotateApiKeyInput, strawberry.argument(description="Key and grace period.")]
) -> RotateApiKeyPayload:
    """Create an API key with the name, scopes and expiry of an old key, and end the old key after a grace period.

    Needs the scope `admin`. A revoked or expired key cannot be rotated. Not safe to repeat: each call creates another
    key.
    """
    info.context.actor.require(domain.ADMIN)
    try:
        key_id = parse_text(given_id(input.id, "ApiKey"), "id")
        key, secret = await commands.rotate_api_key(info.context.commands, key_id, input.grace_seconds)
    except Refused as refused:
        return RotateApiKeyPayload(user_errors=user_errors(refused.problems))
    return RotateApiKeyPayload(api_key=key_of(key), secret=secret)


async def revoke_api_key(
    info: Info, input: Annotated[RevokeApiKeyInput, strawberry.argument(description="Key to revoke.")]
) -> RevokeApiKeyPayload:
    """Revoke an API key for good. Needs the scope `admin`. Safe to repeat.

    Requests with the key fail after at most a second. Open streams end with their next message.
    """
    info.context.actor.require(domain.ADMIN)
    try:
        key = await commands.revoke_api_key(info.context.commands, parse_text(given_id(input.id, "ApiKey"), "id"))
    except Refused as refused:
        return RevokeApiKeyPayload(user_errors=user_errors(refused.problems))
    return RevokeApiKeyPayload(api_key=key_of(key))
