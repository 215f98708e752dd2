"""createApiKey, rotateApiKey and revokeApiKey."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.actors import ApiKey, parse_scopes, secret_hash
from app.domain.errors import Code, Conflict, InvalidInput, NotFound
from app.domain.values.instants import parse_grace, parse_instant
from app.domain.values.text import parse_text
from app.store.mongo.ids import new_id


async def create_api_key(
    ctx: Context, name: object, scopes: Iterable[object], expires_at: object = None
) -> tuple[ApiKey, str]:
    """Create an API key and return it with its secret, which is never shown again.

    A repeated call creates another key. Raises Refused and Unavailable.
    """
    key, secret = await new_key(ctx.workspace.id, parse_text(name, "name"), parse_scopes(scopes, "scopes"))
    if expires_at is not None:
        expiry = parse_instant(expires_at, "expiresAt")
        if expiry <= key.created_at:
            raise InvalidInput(Code.OUT_OF_RANGE, "`expiresAt` must be in the future.", "expiresAt")
        key = replace(key, expires_at=expiry)
    await record_audit_entry(ctx, "createApiKey", "ApiKey", key.id, name=key.name, scopes=" ".join(key.scopes))
    await ctx.workspace.keys.insert(key, secret_hash(secret))
    return key, secret


async def rotate_api_key(ctx: Context, key_id: str, grace_seconds: int = 0) -> tuple[ApiKey, str]:
    """Create a key with the name, scopes and expiry of an old one, and return it with its secret.

    The old key expires after `grace_seconds`. A repeated call creates another key. Raises NotFound, InvalidInput,
    Unavailable, and Conflict for a key that is revoked or expired.
    """
    grace = parse_grace(grace_seconds, "graceSeconds")
    old = await _find_key(ctx, key_id)
    key, secret = await new_key(ctx.workspace.id, old.name, old.scopes)
    if not old.is_usable_at(key.created_at):
        raise Conflict("This key is revoked or expired; create a new one with createApiKey.", "id")
    key = replace(key, expires_at=old.expires_at)
    await record_audit_entry(ctx, "rotateApiKey", "ApiKey", key_id, successor=key.id)
    # Insert first: if the process crashes in between, two keys are valid instead of none.
    await ctx.workspace.keys.insert(key, secret_hash(secret))
    await ctx.workspace.keys.expire(key_id, key.created_at + grace)
    return key, secret


async def revoke_api_key(ctx: Context, key_id: str) -> ApiKey:
    """Revoke a key and return it.

    Processes refuse it within a second. Safe to repeat. Raises NotFound and Unavailable.
    """
    key = await _find_key(ctx, key_id)
    if key.revoked_at is None:
        await record_audit_entry(ctx, "revokeApiKey", "ApiKey", key_id)
        # Keys use system time: a manual business clock must not change when they are valid.
        at = await SystemClock().now()
        await ctx.workspace.keys.revoke(key_id, at)
        key = replace(key, revoked_at=at)
    return key


async def new_key(workspace_id: str, name: str, scopes: tuple[str, ...]) -> tuple[ApiKey, str]:
    """Return a new key, not stored yet, and its secret."""
    secret = f"punch_{secrets.token_urlsafe(32)}"
    return ApiKey(
        id=new_id("key"), workspace_id=workspace_id, name=name, scopes=scopes, created_at=await SystemClock().now()
    ), secret


async def _find_key(ctx: Context, key_id: str) -> ApiKey:
    key = (await ctx.workspace.keys.get_many([key_id])).get(key_id)
    if key is None:
        raise NotFound("API key", "id")
    return key
