"""createApiKey and revokeApiKey."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace

from app.clock import SystemClock
from app.domain.actors import ApiKey, parse_scopes, secret_hash
from app.domain.errors import NotFound
from app.domain.texts import parse_text
from app.store.ids import new_id

from .context import Context


async def create_api_key(ctx: Context, name: object, scopes: Iterable[object]) -> tuple[ApiKey, str]:
    """The new key and its secret, which is never shown again. Repeating makes another key. Raises Refused, Unavailable."""
    key, secret = await new_key(ctx.workspace.id, parse_text(name, "name"), parse_scopes(scopes, "scopes"))
    await ctx.workspace.keys.insert(key, secret_hash(secret))
    return key, secret


async def revoke_api_key(ctx: Context, key_id: str) -> ApiKey:
    """The key, revoked: requests with it are refused from now on. Safe to repeat. Raises NotFound, Unavailable."""
    key = (await ctx.workspace.keys.get_many([key_id])).get(key_id)
    if key is None:
        raise NotFound("API key", "id")
    if key.revoked_at is None:
        # Keys are about machines: their instants are the system's, whatever the business clock says.
        at = await SystemClock().now()
        await ctx.workspace.keys.revoke(key_id, at)
        key = replace(key, revoked_at=at)
    return key


async def new_key(workspace_id: str, name: str, scopes: tuple[str, ...]) -> tuple[ApiKey, str]:
    """A key not yet stored, and its secret."""
    secret = f"punch_{secrets.token_urlsafe(32)}"
    return ApiKey(new_id("key"), workspace_id, name, scopes, await SystemClock().now()), secret
