"""createWebhookEndpoint, updateWebhookEndpoint, rotateWebhookSecret and deleteWebhookEndpoint.

All of them require the scope `admin`. An endpoint is stored first and its partitions afterwards. If the process crashes
in between, the endpoint receives nothing, and its secret was never returned. The next update of the endpoint, or a new
secret, inserts the partitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from app.clock import SystemClock, system_ms
from app.commands.audit import address_of, record_audit_entry
from app.commands.context import Context
from app.commands.inbound.hooks import new_secret
from app.commands.jobs.remote_files import PROGRESS_SHARE
from app.domain.activity_queries import ActivityQuery
from app.domain.errors import Code, Conflict, InvalidInput, LimitExceeded, NotFound
from app.domain.inbound.hooks import HookSecret, rotate_secrets
from app.domain.values.instants import parse_grace, to_ms
from app.domain.values.text import parse_optional, parse_text
from app.domain.webhooks import messages
from app.domain.webhooks.endpoints import MAX_ENDPOINTS, DisabledReason, EndpointStatus, WebhookEndpoint
from app.outbound.addresses import Allowed
from app.outbound.http_client import MAX_URL, RequestFailed, check_url, open_poster
from app.outbound.webhook_sender import ATTEMPT_TIMEOUT_SECONDS, AttemptResult, send
from app.store.mongo.ids import new_id

KIND = "WebhookEndpoint"
DEFAULT_GRACE_SECONDS = 86_400


async def create_webhook_endpoint(
    ctx: Context,
    url: object,
    *,
    description: object = None,
    filter: ActivityQuery | None = None,  # noqa: A002  # the API's name
    after: int | None = None,
) -> tuple[WebhookEndpoint, str]:
    """Create an endpoint and return it with its secret, which is never shown again.

    The endpoint receives activities after position `after` of the log; by default, those published from now on. A
    repeated call creates another endpoint. Raises Refused with the path of the part at fault, LimitExceeded above 50
    endpoints, and Unavailable.
    """
    parsed_url, parsed_description = _parse_url(ctx, url), parse_optional(description, "description")
    parsed_filter = await _check_filter(ctx, filter or ActivityQuery(include_historical=False))
    last = await ctx.workspace.last_position()
    if after is not None and after > last:
        raise InvalidInput(Code.OUT_OF_RANGE, f"`after` must be at most {last}, the end of the log.", "after")
    if await ctx.workspace.webhooks.count() >= MAX_ENDPOINTS:
        raise LimitExceeded(f"At most {MAX_ENDPOINTS} endpoints; delete one first.")
    # Endpoints use system time, like keys and hooks: retries must not depend on a manual business clock.
    now, secret = await SystemClock().now(), new_secret()
    begin_position = last if after is None else after
    endpoint = WebhookEndpoint(
        id=new_id("wh"),
        workspace_id=ctx.workspace.id,
        url=parsed_url,
        description=parsed_description,
        filter=parsed_filter,
        created_at=now,
        updated_at=now,
        begin_position=begin_position,
    )
    await record_audit_entry(ctx, "createWebhookEndpoint", KIND, endpoint.id, url=address_of(parsed_url))
    await ctx.workspace.webhooks.insert(endpoint, HookSecret(secret))
    await _announce_change(ctx, endpoint, now)
    return endpoint, secret


async def update_webhook_endpoint(
    ctx: Context,
    endpoint_id: str,
    *,
    url: object = None,
    description: object = None,
    filter: ActivityQuery | None = None,  # noqa: A002  # the API's name
    status: EndpointStatus | None = None,
) -> WebhookEndpoint:
    """Update an endpoint and return it; arguments that are None change nothing. Safe to repeat.

    An endpoint that is enabled again continues at its stored positions. Raises NotFound, Refused, Conflict after a
    concurrent change, and Unavailable.
    """
    before = await find_endpoint(ctx, endpoint_id, "id")
    now = await SystemClock().now()
    changed = replace(
        before,
        url=before.url if url is None else _parse_url(ctx, url),
        description=parse_optional(description, "description") or before.description,
        filter=before.filter if filter is None else await _check_filter(ctx, filter),
    )
    if status is EndpointStatus.ENABLED:
        changed = replace(changed, reason=None)
    elif status is EndpointStatus.DISABLED:
        changed = replace(changed, reason=before.reason or DisabledReason.MANUAL)
    if changed != before:
        changed = replace(changed, updated_at=now)
        await record_audit_entry(
            ctx,
            "updateWebhookEndpoint",
            KIND,
            endpoint_id,
            url=address_of(changed.url),
            status=changed.status.value,
        )
        await _save(ctx, changed)
    await _announce_change(ctx, changed, now, restart=status is not None or changed.url != before.url)
    return replace(changed, version=before.version + (changed != before))


async def rotate_webhook_secret(
    ctx: Context, endpoint_id: str, grace_seconds: int = DEFAULT_GRACE_SECONDS
) -> tuple[WebhookEndpoint, str]:
    """Create a new secret and return it with its endpoint. Older secrets also sign messages for `grace_seconds` more.

    A repeated call creates another secret. Raises NotFound, InvalidInput, Conflict after a concurrent change, and
    Unavailable.
    """
    grace = parse_grace(grace_seconds, "graceSeconds")
    found = await ctx.workspace.webhooks.get_with_secrets(endpoint_id)
    if found is None:
        raise NotFound("webhook endpoint", "id")
    (endpoint, old_secrets), secret, now = found, new_secret(), await SystemClock().now()
    await record_audit_entry(ctx, "rotateWebhookSecret", KIND, endpoint_id, graceSeconds=str(grace_seconds))
    changed = replace(endpoint, updated_at=now)
    await _save(ctx, changed, rotate_secrets(secret, old_secrets, now, grace))
    await _announce_change(ctx, changed, now)
    return replace(changed, version=endpoint.version + 1), secret


async def delete_webhook_endpoint(ctx: Context, endpoint_id: str) -> None:
    """Delete an endpoint with its deliveries. Safe to repeat after Unavailable. Raises NotFound and Unavailable.

    The endpoint itself is deleted after its parts, so after a crash in between a repeated call still finds it.
    Deliveries stored meanwhile are deleted last. A worker that stores deliveries later finds the endpoint deleted, and
    deletes them itself.
    """
    await find_endpoint(ctx, endpoint_id, "id")
    await record_audit_entry(ctx, "deleteWebhookEndpoint", KIND, endpoint_id)
    await ctx.workspace.partitions.delete(endpoint_id)
    await ctx.workspace.deliveries.delete(endpoint_id)
    await ctx.workspace.webhooks.delete(endpoint_id)
    await ctx.workspace.deliveries.delete(endpoint_id)


async def test_webhook_endpoint(ctx: Context, endpoint_id: str) -> AttemptResult:
    """Send a `webhook.test` message now, from this process, and return the result. Also to a disabled endpoint.

    The attempt is not stored and does not count as a failure. Raises NotFound and Unavailable.
    """
    found = await ctx.workspace.webhooks.get_with_secrets(endpoint_id)
    if found is None:
        raise NotFound("webhook endpoint", "id")
    endpoint, secrets = found
    await record_audit_entry(ctx, "testWebhookEndpoint", KIND, endpoint_id, url=address_of(endpoint.url))
    message = messages.render_test_message(new_id("msg"), endpoint_id, await SystemClock().now())
    settings = ctx.resources.settings
    timeout_seconds = min(ATTEMPT_TIMEOUT_SECONDS, PROGRESS_SHARE * settings.operation_seconds)
    async with open_poster(Allowed.parse(settings.egress_allow)) as connection:
        return await send(connection, endpoint.url, secrets, message, system_ms, timeout_seconds)


async def find_endpoint(ctx: Context, endpoint_id: str, *field: str) -> WebhookEndpoint:
    """Return the endpoint of that id. Raises NotFound and Unavailable."""
    endpoint = (await ctx.workspace.webhooks.get_many([endpoint_id])).get(endpoint_id)
    if endpoint is None:
        raise NotFound("webhook endpoint", *field)
    return endpoint


def _parse_url(ctx: Context, given: object) -> str:
    """Return the URL unless it is certain to lead nowhere. The address of its host name is checked at every attempt."""
    url = parse_text(given, "url", max_length=MAX_URL)
    try:
        check_url(url, Allowed.parse(ctx.resources.settings.egress_allow))
    except RequestFailed as error:
        raise InvalidInput(error.code, error.message, "url") from None
    return url


async def _check_filter(ctx: Context, given: ActivityQuery) -> ActivityQuery:
    """Return the filter. Raises NotFound unless its pass and segments exist in this workspace."""
    if given.pass_id is not None and await ctx.workspace.passes.get(given.pass_id) is None:
        raise NotFound("pass", "filter", "passId")
    if len(await ctx.workspace.segments.get_many(given.segment_ids)) < len(set(given.segment_ids)):
        raise NotFound("segment", "filter", "segmentIds")
    return replace(
        given,
        types=tuple(given.types),
        segment_ids=tuple(given.segment_ids),
        event_types=tuple(given.event_types),
        sources=tuple(given.sources),
        metadata=tuple(given.metadata),
        causes=tuple(given.causes),
    )


async def _save(ctx: Context, endpoint: WebhookEndpoint, secrets: Sequence[HookSecret] | None = None) -> None:
    if not await ctx.workspace.webhooks.save(endpoint, secrets):
        raise Conflict("Another call changed this endpoint at the same time; read it and repeat.", "id")


async def _announce_change(ctx: Context, endpoint: WebhookEndpoint, now: datetime, *, restart: bool = False) -> None:
    """Insert missing partitions and announce a change to the workers.

    `restart` resumes or stops the delivery, and closes the circuit of an endpoint with a new URL.
    """
    partitions, now_ms = ctx.workspace.partitions, to_ms(now)
    await partitions.insert(endpoint.id, endpoint.begin_position, now_ms)
    if restart:
        await partitions.set_enabled(endpoint.id, endpoint.status is EndpointStatus.ENABLED, now_ms)
    else:
        await partitions.announce_work(now_ms, endpoint.id)
    ctx.resources.bus.wake("deliver", ctx.workspace.id)
