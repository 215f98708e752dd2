"""createInboundHook, updateInboundHook, rotateInboundHookSecret and archiveInboundHook.

All of them require the scope `admin`.
"""

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

MAX_SOURCE_CHARACTERS = 100
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class VerificationInput:
    """How requests are verified, as the client sent it and unchecked."""

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
    """Create a hook and return it with its secret, which is never shown again.

    The secret is generated unless the sender's own is given. A repeated call creates another hook. Raises Refused with
    the path of the part at fault, LimitExceeded above 200 hooks, and Unavailable.
    """
    parsed_verification = _parse_verification(verification or VerificationInput())
    parsed_name, parsed_source = (
        parse_text(name, "name"),
        parse_text(source, "source", max_length=MAX_SOURCE_CHARACTERS),
    )
    parsed_mapping = parse_mapping(mapping, "mapping")
    secret_text = _parse_or_generate_secret(secret, parsed_verification.scheme)
    if await ctx.workspace.hooks.live() >= MAX_HOOKS:
        raise LimitExceeded(f"At most {MAX_HOOKS} hooks; archive one first.")
    # Hooks use system time, like keys: a manual business clock must not change when secrets are valid.
    now = await SystemClock().now()
    hook = InboundHook(
        id=new_id("hook"),
        workspace_id=ctx.workspace.id,
        name=parsed_name,
        source=parsed_source,
        verification=parsed_verification,
        mapping=parsed_mapping,
        create_missing_passes=create_missing_passes,
        created_at=now,
        updated_at=now,
    )
    await record_audit_entry(ctx, "createInboundHook", "InboundHook", hook.id, name=hook.name, source=hook.source)
    await ctx.workspace.hooks.insert(hook, HookSecret(secret_text))
    return hook, secret_text


async def update_inbound_hook(
    ctx: Context,
    hook_id: str,
    *,
    name: object = None,
    mapping: object = None,
    verification: VerificationInput | None = None,
    create_missing_passes: bool | None = None,
) -> InboundHook:
    """Update a hook and return it; arguments that are None change nothing. Safe to repeat.

    The source never changes, because the ids of events contain it. Raises NotFound, Refused, Unavailable, and Conflict
    for an archived hook or after a concurrent change.
    """
    before = await find_live_hook(ctx, hook_id, "id")
    changed = replace(
        before,
        name=parse_optional(name, "name") or before.name,
        mapping=before.mapping if mapping is None else parse_mapping(mapping, "mapping"),
        verification=before.verification if verification is None else _parse_verification(verification),
        create_missing_passes=before.create_missing_passes if create_missing_passes is None else create_missing_passes,
    )
    if changed.verification.scheme is not before.verification.scheme:
        _check_secrets_fit(await ctx.workspace.hooks.secrets(hook_id), changed.verification.scheme)
    if changed == before:
        return before
    changed = replace(changed, updated_at=await SystemClock().now())
    await record_audit_entry(ctx, "updateInboundHook", "InboundHook", hook_id, name=changed.name)
    return await _save(ctx, changed)


async def rotate_inbound_hook_secret(
    ctx: Context, hook_id: str, grace_seconds: int = 0, secret: object = None
) -> tuple[InboundHook, str]:
    """Set a new secret and return it with its hook. Older secrets stay valid for `grace_seconds` more.

    The secret is generated unless the sender's own is given. A repeated call creates another secret. Raises NotFound,
    Refused, Unavailable, and Conflict as `update_inbound_hook` does.
    """
    grace = parse_grace(grace_seconds, "graceSeconds")
    hook = await find_live_hook(ctx, hook_id, "id")
    secret_text = _parse_or_generate_secret(secret, hook.verification.scheme)
    now = await SystemClock().now()
    secrets_to_keep = rotate_secrets(secret_text, await ctx.workspace.hooks.secrets(hook_id), now, grace)
    await record_audit_entry(ctx, "rotateInboundHookSecret", "InboundHook", hook_id, graceSeconds=str(grace_seconds))
    return await _save(ctx, replace(hook, updated_at=now), secrets_to_keep), secret_text


async def archive_inbound_hook(ctx: Context, hook_id: str) -> InboundHook:
    """Archive a hook and return it. Requests to the hook are refused like those to an unknown one. Safe to repeat.

    Failed deliveries stay listed until they expire and cannot be run again. Raises NotFound, Conflict and Unavailable.
    """
    hook = await find_hook(ctx, hook_id, "id")
    if hook.archived_at is not None:
        return hook
    now = await SystemClock().now()
    await record_audit_entry(ctx, "archiveInboundHook", "InboundHook", hook_id, name=hook.name)
    return await _save(ctx, replace(hook, updated_at=now, archived_at=now))


def _parse_verification(given: VerificationInput) -> Verification:
    return parse_verification(given.scheme, given.header, given.encoding, given.prefix, "verification")


def _parse_or_generate_secret(given: object, scheme: Scheme) -> str:
    return new_secret() if given is None else parse_secret(given, scheme, "secret")


def new_secret() -> str:
    """Return a secret of 32 random bytes."""
    return generate_secret(secrets.token_bytes(SECRET_BYTES))


def _check_secrets_fit(hook_secrets: Sequence[HookSecret], scheme: Scheme) -> None:
    """Raise InvalidInput unless all secrets can be used with the scheme."""
    for secret in hook_secrets:
        try:
            parse_secret(secret.text, scheme)
        except InvalidInput:
            message = "The hook's secret does not fit this scheme; rotate the secret first, or create another hook."
            raise InvalidInput(Code.INVALID, message, "verification", "scheme") from None


async def find_hook(ctx: Context, hook_id: str, *field: str) -> InboundHook:
    """Return the hook of that id, archived or not. Raises NotFound and Unavailable."""
    hook = (await ctx.workspace.hooks.get_many([hook_id])).get(hook_id)
    if hook is None:
        raise NotFound("hook", *field)
    return hook


async def find_live_hook(ctx: Context, hook_id: str, *field: str) -> InboundHook:
    """Return the hook of that id. Raises NotFound, Conflict for an archived hook, and Unavailable."""
    hook = await find_hook(ctx, hook_id, *field)
    if hook.archived_at is not None:
        raise Conflict("This hook is archived; create another one.", *field)
    return hook


async def _save(ctx: Context, hook: InboundHook, secrets: Sequence[HookSecret] | None = None) -> InboundHook:
    if not await ctx.workspace.hooks.save(hook, secrets):
        raise Conflict("Another call changed this hook at the same time; read it and repeat.", "id")
    return replace(hook, version=hook.version + 1)
