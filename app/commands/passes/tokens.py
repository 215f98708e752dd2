"""createPassToken, revokePassTokens and rotatePassTokenKey: tokens by which one customer reaches one pass."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, InvalidInput, NotFound
from app.domain.events.events import TOKEN_SOURCE
from app.domain.ids import event_id
from app.domain.pass_tokens import (
    DEFAULT_LIFE_SECONDS,
    KEY_BYTES,
    KEY_SCOPES,
    MAX_LIFE_SECONDS,
    PassToken,
    TokenKey,
    parse_life,
    parse_record_types,
    parse_token_scopes,
)
from app.domain.passes.passes import Pass
from app.domain.values.instants import parse_grace
from app.domain.values.text import parse_external_id, parse_text
from app.store.mongo.ids import new_id
from app.tokens import sign_token


@dataclass(frozen=True, slots=True)
class TokenInput:
    """Unchecked input of createPassToken. None means that the client sent no value."""

    pass_id: object = None
    pass_external_id: object = None
    scopes: Iterable[object] = ()
    record_types: Iterable[object] | None = None
    expires_in_seconds: object = DEFAULT_LIFE_SECONDS


async def find_own_name(ctx: Context, external_id: str) -> str:
    """Return the external id under which an event of the holder of the token is stored, or is to be stored if none is.

    So a repeat finds what a token of a merged pass recorded. No round trip unless passes were merged.
    """
    grant = ctx.actor.grant
    assert grant is not None, "only tokens for one pass have names of their own"
    names = grant.own_names(external_id)
    if len(names) == 1:
        return names[0]
    name_by_id = {event_id(ctx.workspace.id, TOKEN_SOURCE, name): name for name in names}
    found = await ctx.workspace.events.get_many(name_by_id)
    return next((name for each, name in name_by_id.items() if each in found), names[0])


async def create_pass_token(ctx: Context, sent: TokenInput) -> tuple[str, datetime]:
    """Return a new token for a pass, and the instant at which it expires, in system time.

    A repeated call makes another token. Five round trips. Raises Refused, NotFound for a pass that does not exist, Denied
    for a scope that the API key lacks itself, and Unavailable.
    """
    scopes = parse_token_scopes(sent.scopes, "scopes")
    types = parse_record_types(sent.record_types, scopes, "recordTypes")
    life = parse_life(sent.expires_in_seconds, "expiresInSeconds")
    for scope in sorted(scopes):
        ctx.actor.require(KEY_SCOPES[scope])
    # A revocation that begins after this read ends the token.
    number = (await ctx.workspace.epochs()).tokens
    card = await _find_pass(ctx, sent.pass_id, sent.pass_external_id)
    # Expiries are system time: a manual business clock must not change when tokens are valid.
    expires_at = await SystemClock().now() + life
    token = PassToken(card.id, scopes, types, number=number, expires_at=expires_at)
    key = await _signing_key(ctx)
    await record_audit_entry(ctx, "createPassToken", "Pass", card.id, scopes=" ".join(sorted(scopes)))
    return sign_token(token, key), expires_at


async def revoke_pass_tokens(ctx: Context, pass_id: str) -> Pass:
    """End all tokens of a pass, and of the passes that were merged into it, and return the pass.

    Processes refuse them within about 250 ms. Safe to repeat. Raises NotFound and Unavailable.
    """
    card = await _find_pass(ctx, pass_id, None)
    await record_audit_entry(ctx, "revokePassTokens", "Pass", card.id)
    now = await SystemClock().now()
    number = await ctx.workspace.begin_token_epoch()
    await ctx.workspace.token_revocations.revoke(card.id, number, now)
    # Only now do processes read the revocation: at the first new number, it was not stored yet.
    await ctx.workspace.begin_token_epoch()
    await ctx.workspace.token_revocations.delete_old(now - timedelta(seconds=2 * MAX_LIFE_SECONDS))
    return card


async def rotate_pass_token_key(ctx: Context, grace_seconds: int = 0) -> datetime:
    """Let a new key sign tokens, and return the instant at which tokens of the former keys end, in system time.

    A repeated call makes another key. Raises InvalidInput and Unavailable.
    """
    grace = parse_grace(grace_seconds, "graceSeconds")
    key = await _new_key(ctx)
    await record_audit_entry(ctx, "rotatePassTokenKey", "Workspace", ctx.workspace.id, key=key.id)
    # Insert first: if the process crashes in between, two keys are valid instead of none.
    await ctx.workspace.token_keys.insert(key)
    ends_at = key.created_at + grace
    await ctx.workspace.token_keys.retire_others(key.id, ends_at)
    # Processes cache keys for a second. Tokens of keys that retired a day ago have expired.
    await ctx.workspace.token_keys.delete_retired(key.created_at - timedelta(seconds=MAX_LIFE_SECONDS))
    return ends_at


async def _find_pass(ctx: Context, pass_id: object, external_id: object) -> Pass:
    if (pass_id is None) == (external_id is None):
        code = Code.REQUIRED if pass_id is None else Code.INVALID
        raise InvalidInput(code, "Name the pass by exactly one of passId and passExternalId.", "passId")
    if pass_id is not None:
        wanted = parse_text(pass_id, "passId")
        card = (await ctx.workspace.passes.get_many([wanted])).get(wanted)
    else:
        card = await ctx.workspace.passes.by_external_id(parse_external_id(external_id, "passExternalId"))
    if card is None:
        raise NotFound("pass", "passId" if external_id is None else "passExternalId")
    return card


async def _signing_key(ctx: Context) -> TokenKey:
    """Return the key that signs new tokens; insert the first one of the workspace.

    Two processes may insert one each. Then both check tokens, and the newer one signs. Raises Unavailable.
    """
    key = await ctx.workspace.token_keys.newest()
    if key is None:
        key = await _new_key(ctx)
        await ctx.workspace.token_keys.insert(key)
    return key


async def _new_key(ctx: Context) -> TokenKey:
    return TokenKey(
        id=new_id("tk"),
        workspace_id=ctx.workspace.id,
        secret=secrets.token_bytes(KEY_BYTES),
        created_at=await SystemClock().now(),
    )
