"""createWebhookEndpoint, updateWebhookEndpoint, rotateWebhookSecret and deleteWebhookEndpoint. All are for administrators.

An endpoint is stored first and its lanes after it. Who dies in between leaves one that is told of nothing, and of no use:
its secret was never answered. Its first change, and without a new secret there is none worth making, makes the lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from app.clock import SystemClock, system_ms
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.commands.inbound.hooks import new_secret
from app.commands.jobs.remote_files import PROGRESS_SHARE
from app.domain.activities import ActivityQuery
from app.domain.errors import Code, Conflict, InvalidInput, LimitExceeded, NotFound
from app.domain.inbound.hooks import HookSecret, rotate_secrets
from app.domain.values.instants import parse_grace, to_ms
from app.domain.values.text import parse_optional, parse_text
from app.domain.webhooks import messages
from app.domain.webhooks.endpoints import MAX_ENDPOINTS, DisabledReason, EndpointStatus, WebhookEndpoint
from app.outbound.addresses import Allowed
from app.outbound.http_client import MAX_URL, RequestFailed, check, open_poster
from app.outbound.webhook_sender import ATTEMPT_TIMEOUT_SECONDS, AttemptResult, send
from app.store.mongo.ids import new_id

KIND = "WebhookEndpoint"
DEFAULT_GRACE_SECONDS = 86_400


async def create_webhook_endpoint(
    ctx: Context,
    url: object,
    *,
    description: object = None,
    filter: ActivityQuery | None = None,  # noqa: A002  # the API's word
    after: int | None = None,
) -> tuple[WebhookEndpoint, str]:
    """The new endpoint and its secret, which is never shown again. It is told of what lies behind position `after`.

    By default of what is published from now on. Repeating makes another endpoint. Raises Refused with the path of the part
    at fault, LimitExceeded beyond 50, Unavailable.
    """
    target, said = _url(ctx, url), parse_optional(description, "description")
    shown = await _filter(ctx, filter or ActivityQuery(include_historical=False))
    last = await ctx.workspace.activities.last_pos()
    if after is not None and after > last:
        raise InvalidInput(Code.OUT_OF_RANGE, "This position lies beyond the end of the log.", "after")
    if await ctx.workspace.webhooks.count() >= MAX_ENDPOINTS:
        raise LimitExceeded(f"At most {MAX_ENDPOINTS} endpoints; delete one first.")
    # Like keys and hooks, endpoints are about machines: their instants are the system's.
    now, text = await SystemClock().now(), new_secret()
    begin = last if after is None else after
    endpoint = WebhookEndpoint(new_id("wh"), ctx.workspace.id, target, said, shown, now, now, begin)
    await record_audit_entry(ctx, "createWebhookEndpoint", KIND, endpoint.id, url=target)
    await ctx.workspace.webhooks.insert(endpoint, HookSecret(text))
    await _told(ctx, endpoint, now)
    return endpoint, text


async def update_webhook_endpoint(
    ctx: Context,
    endpoint_id: str,
    *,
    url: object = None,
    description: object = None,
    filter: ActivityQuery | None = None,  # noqa: A002  # the API's word
    status: EndpointStatus | None = None,
) -> WebhookEndpoint:
    """The endpoint as changed; what is None stays. Safe to repeat.

    One that is enabled again goes on where it stood. Raises NotFound, Refused, Conflict where it is being changed by
    somebody else, Unavailable.
    """
    before = await find_endpoint(ctx, endpoint_id, "id")
    now = await SystemClock().now()
    changed = replace(
        before,
        url=before.url if url is None else _url(ctx, url),
        description=parse_optional(description, "description") or before.description,
        filter=before.filter if filter is None else await _filter(ctx, filter),
    )
    if status is EndpointStatus.ENABLED:
        changed = replace(changed, reason=None)
    elif status is EndpointStatus.DISABLED:
        changed = replace(changed, reason=before.reason or DisabledReason.MANUAL)
    if changed != before:
        changed = replace(changed, updated_at=now)
        await record_audit_entry(
            ctx, "updateWebhookEndpoint", KIND, endpoint_id, url=changed.url, status=changed.status.value
        )
        await _save(ctx, changed)
    await _told(ctx, changed, now, anew=status is not None or changed.url != before.url)
    return replace(changed, version=before.version + (changed != before))


async def rotate_webhook_secret(
    ctx: Context, endpoint_id: str, grace_seconds: int = DEFAULT_GRACE_SECONDS
) -> tuple[WebhookEndpoint, str]:
    """The endpoint and its new secret; for `grace_seconds` more, messages are signed by older ones too.

    Repeating makes another. Raises NotFound, InvalidInput, Conflict where it is being changed by somebody else, Unavailable.
    """
    grace = parse_grace(grace_seconds, "graceSeconds")
    found = await ctx.workspace.webhooks.signing(endpoint_id)
    if found is None:
        raise NotFound("webhook endpoint", "id")
    (endpoint, older), text, now = found, new_secret(), await SystemClock().now()
    await record_audit_entry(ctx, "rotateWebhookSecret", KIND, endpoint_id, graceSeconds=str(grace_seconds))
    changed = replace(endpoint, updated_at=now)
    await _save(ctx, changed, rotate_secrets(text, older, now, grace))
    await _told(ctx, changed, now)
    return replace(changed, version=endpoint.version + 1), text


async def delete_webhook_endpoint(ctx: Context, endpoint_id: str) -> None:
    """Nothing; the endpoint is gone, with all that is known of its deliveries. Raises NotFound, Unavailable: safe to repeat.

    The endpoint itself goes last, so that who died in between finds it again. What was written of it meanwhile goes after
    it, and what is written later is taken back by who writes it.
    """
    await find_endpoint(ctx, endpoint_id, "id")
    await record_audit_entry(ctx, "deleteWebhookEndpoint", KIND, endpoint_id)
    await ctx.workspace.partitions.delete(endpoint_id)
    await ctx.workspace.deliveries.delete(endpoint_id)
    await ctx.workspace.webhooks.delete(endpoint_id)
    await ctx.workspace.deliveries.delete(endpoint_id)


async def test_webhook_endpoint(ctx: Context, endpoint_id: str) -> AttemptResult:
    """What came of a `webhook.test` message, sent now from here, also where the endpoint is disabled or away.

    Nothing of it is kept, and nothing follows from it. Raises NotFound, Unavailable.
    """
    found = await ctx.workspace.webhooks.signing(endpoint_id)
    if found is None:
        raise NotFound("webhook endpoint", "id")
    endpoint, secrets = found
    await record_audit_entry(ctx, "testWebhookEndpoint", KIND, endpoint_id, url=endpoint.url)
    message = messages.render_test_message(new_id("msg"), endpoint_id, await SystemClock().now())
    settings = ctx.resources.settings
    seconds = min(ATTEMPT_TIMEOUT_SECONDS, PROGRESS_SHARE * settings.operation_seconds)
    async with open_poster(Allowed.of(settings.egress_allow)) as connection:
        return await send(connection, endpoint.url, secrets, message, system_ms, seconds)


async def find_endpoint(ctx: Context, endpoint_id: str, *field: str) -> WebhookEndpoint:
    """The endpoint of that id. Raises NotFound, Unavailable."""
    endpoint = (await ctx.workspace.webhooks.get_many([endpoint_id])).get(endpoint_id)
    if endpoint is None:
        raise NotFound("webhook endpoint", *field)
    return endpoint


def _url(ctx: Context, given: object) -> str:
    """The URL, refused where it surely leads nowhere; what its name leads to is judged at each sending."""
    url = parse_text(given, "url", most=MAX_URL)
    try:
        check(url, Allowed.of(ctx.resources.settings.egress_allow))
    except RequestFailed as error:
        raise InvalidInput(error.code, error.message, "url") from None
    return url


async def _filter(ctx: Context, given: ActivityQuery) -> ActivityQuery:
    """The filter, of what there is in this workspace."""
    if given.pass_id is not None and await ctx.workspace.passes.get(given.pass_id) is None:
        raise NotFound("pass", "filter", "passId")
    if len(await ctx.workspace.segments.get_many(given.segment_ids)) < len(set(given.segment_ids)):
        raise NotFound("segment", "filter", "segmentIds")
    return replace(given, types=tuple(given.types), segment_ids=tuple(given.segment_ids))


async def _save(ctx: Context, endpoint: WebhookEndpoint, secrets: Sequence[HookSecret] | None = None) -> None:
    if not await ctx.workspace.webhooks.save(endpoint, secrets):
        raise Conflict("This endpoint was changed in the same moment; look at it and repeat.", "id")


async def _told(ctx: Context, endpoint: WebhookEndpoint, now: datetime, *, anew: bool = False) -> None:
    """Lets whoever delivers know of a change; `anew` where it goes on or stops, or is somewhere else now."""
    lanes, now_ms = ctx.workspace.partitions, to_ms(now)
    await lanes.insert(endpoint.id, endpoint.begin_position, now_ms)
    if anew:
        await lanes.switch(endpoint.id, endpoint.status is EndpointStatus.ENABLED, now_ms)
    else:
        await lanes.announce_work(now_ms, endpoint.id)
    ctx.resources.bus.wake("deliver", ctx.workspace.id)
