"""createInboundHook, updateInboundHook, rotateInboundHookSecret and archiveInboundHook. All are for administrators."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.errors import Code, Conflict, InvalidInput, LimitExceeded, NotFound
from app.domain.inbound.hooks import MAX_HOOKS, HookSecret, InboundHook, rotate_secrets
from app.domain.inbound.mappings import parse_mapping
from app.domain.signatures import Encoding, Scheme, Verification, generate_secret, parse_secret, parse_verification
from app.domain.values.instants import parse_grace
from app.domain.values.text import parse_optional, parse_text
from app.store.mongo.ids import new_id

MAX_SOURCE = 100
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class VerificationInput:
    """How requests are verified, as it was sent; nothing in it is checked yet."""

    scheme: Scheme = Scheme.STANDARD
    header: object = None
    encoding: Encoding | None = None
    prefix: object = None


async def create_inbound_hook(
    ctx: Context,
    name: object,
    source: object,
    mapping: object,
    verification: VerificationInput | None = None,
    *,
    secret: object = None,
    create_missing_passes: bool = True,
) -> tuple[InboundHook, str]:
    """The new hook and its secret, made here unless the sender's own is given; it is never shown again.

    Repeating makes another hook. Raises Refused with the path of the part at fault, LimitExceeded beyond 200, Unavailable.
    """
    how = _verification(verification or VerificationInput())
    called, named = parse_text(name, "name"), parse_text(source, "source", most=MAX_SOURCE)
    checked = parse_mapping(mapping, "mapping")
    text = _secret(secret, how.scheme)
    if await ctx.workspace.hooks.live() >= MAX_HOOKS:
        raise LimitExceeded(f"At most {MAX_HOOKS} hooks; archive one first.")
    # Like keys, hooks are about machines: their instants are the system's.
    now = await SystemClock().now()
    hook = InboundHook(new_id("hook"), ctx.workspace.id, called, named, how, checked, create_missing_passes, now, now)
    await record_audit_entry(ctx, "createInboundHook", "InboundHook", hook.id, name=hook.name, source=hook.source)
    await ctx.workspace.hooks.insert(hook, HookSecret(text))
    return hook, text


async def update_inbound_hook(
    ctx: Context,
    hook_id: str,
    *,
    name: object = None,
    mapping: object = None,
    verification: VerificationInput | None = None,
    create_missing_passes: bool | None = None,
) -> InboundHook:
    """The hook as changed; what is None stays. Safe to repeat.

    Its source is part of the identity of events and stays for good. Raises NotFound, Refused, Conflict for an archived
    hook or one that is being changed by somebody else, Unavailable.
    """
    before = await find_live_hook(ctx, hook_id, "id")
    changed = replace(
        before,
        name=parse_optional(name, "name") or before.name,
        mapping=before.mapping if mapping is None else parse_mapping(mapping, "mapping"),
        verification=before.verification if verification is None else _verification(verification),
        create_missing_passes=before.create_missing_passes if create_missing_passes is None else create_missing_passes,
    )
    if changed.verification.scheme is not before.verification.scheme:
        _all_usable(await ctx.workspace.hooks.secrets(hook_id), changed.verification.scheme)
    if changed == before:
        return before
    changed = replace(changed, updated_at=await SystemClock().now())
    await record_audit_entry(ctx, "updateInboundHook", "InboundHook", hook_id, name=changed.name)
    return await _saved(ctx, changed)


async def rotate_inbound_hook_secret(
    ctx: Context, hook_id: str, grace_seconds: int = 0, secret: object = None
) -> tuple[InboundHook, str]:
    """The hook and its new secret, made here unless the sender's own is given; older ones work `grace_seconds` more.

    Repeating makes another. Raises NotFound, Refused, Conflict as updateInboundHook does, Unavailable.
    """
    grace = parse_grace(grace_seconds, "graceSeconds")
    hook = await find_live_hook(ctx, hook_id, "id")
    text = _secret(secret, hook.verification.scheme)
    now = await SystemClock().now()
    kept = rotate_secrets(text, await ctx.workspace.hooks.secrets(hook_id), now, grace)
    await record_audit_entry(ctx, "rotateInboundHookSecret", "InboundHook", hook_id, graceSeconds=str(grace_seconds))
    return await _saved(ctx, replace(hook, updated_at=now), kept), text


async def archive_inbound_hook(ctx: Context, hook_id: str) -> InboundHook:
    """The hook, put away: what is sent there is refused from now on, as if it had never been. Safe to repeat.

    What failed stays listed until it expires, and cannot be run again. Raises NotFound, Conflict, Unavailable.
    """
    hook = await find_hook(ctx, hook_id, "id")
    if hook.archived_at is not None:
        return hook
    now = await SystemClock().now()
    await record_audit_entry(ctx, "archiveInboundHook", "InboundHook", hook_id, name=hook.name)
    return await _saved(ctx, replace(hook, updated_at=now, archived_at=now))


def _verification(given: VerificationInput) -> Verification:
    return parse_verification(given.scheme, given.header, given.encoding, given.prefix, "verification")


def _secret(given: object, scheme: Scheme) -> str:
    return new_secret() if given is None else parse_secret(given, scheme, "secret")


def new_secret() -> str:
    """A secret of 32 random bytes."""
    return generate_secret(secrets.token_bytes(KEY_BYTES))


def _all_usable(found: Sequence[HookSecret], scheme: Scheme) -> None:
    for secret in found:
        try:
            parse_secret(secret.text, scheme)
        except InvalidInput:
            says = "The secret does not fit this scheme; rotate it first, or make another hook."
            raise InvalidInput(Code.INVALID, says, "verification", "scheme") from None


async def find_hook(ctx: Context, hook_id: str, *field: str) -> InboundHook:
    """The hook of that id, archived or not. Raises NotFound, Unavailable."""
    hook = (await ctx.workspace.hooks.get_many([hook_id])).get(hook_id)
    if hook is None:
        raise NotFound("hook", *field)
    return hook


async def find_live_hook(ctx: Context, hook_id: str, *field: str) -> InboundHook:
    """The hook of that id. Raises NotFound, Conflict for an archived one, Unavailable."""
    hook = await find_hook(ctx, hook_id, *field)
    if hook.archived_at is not None:
        raise Conflict("This hook is archived; make another one.", *field)
    return hook


async def _saved(ctx: Context, hook: InboundHook, secrets: Sequence[HookSecret] | None = None) -> InboundHook:
    if not await ctx.workspace.hooks.save(hook, secrets):
        raise Conflict("Somebody else changed this hook in the same moment; look at it and repeat.", "id")
    return replace(hook, version=hook.version + 1)
