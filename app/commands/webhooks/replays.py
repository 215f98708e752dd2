"""replayWebhookDeliveries: create a job that sends messages to an endpoint again, or count the messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.activity_queries import ActivityQuery
from app.domain.errors import Code, InvalidInput
from app.domain.jobs import Job, JobKind, JobStatus, Tally, too_many_jobs
from app.domain.webhooks.deliveries import DeliveryQuery, WebhookDeliveryStatus
from app.domain.webhooks.endpoints import WebhookEndpoint
from app.store.codecs.jobs import ReplayOrder
from app.store.mongo.ids import ordered_id

from .endpoints import find_endpoint


@dataclass(frozen=True, slots=True)
class Replay:
    """Messages to send again: activities after position `after` and before `before` of the log.

    An empty field means any. With `statuses`, only messages that were delivered before and now have one of these
    statuses.
    """

    after: int | None = None
    before: int | None = None
    recorded_after: datetime | None = None
    recorded_before: datetime | None = None
    statuses: Sequence[WebhookDeliveryStatus] = ()
    types: Sequence[str] = ()


async def replay_webhook_deliveries(
    ctx: Context, endpoint_id: str, replay: Replay, *, dry_run: bool = False
) -> tuple[Job | None, int | None]:
    """Create the job that sends the matching messages. With `dry_run`, return their number and create no job.

    Without `statuses`, the job sends published activities that match the endpoint's current filter. With `statuses`,
    the job sends earlier deliveries, whatever the filter. A repeated call creates another job. Raises NotFound,
    InvalidInput and Unavailable.
    """
    endpoint = await find_endpoint(ctx, endpoint_id, "endpointId")
    after, upto = replay.after or 0, await ctx.workspace.last_position()
    if replay.before is not None:
        upto = min(upto, replay.before - 1)
    query: DeliveryQuery | ActivityQuery
    if replay.statuses:
        query = _build_delivery_query(endpoint, replay, after, upto)
    else:
        query = await ctx.workspace.include_aliases(_build_activity_query(endpoint, replay))
    if dry_run:
        if isinstance(query, DeliveryQuery):
            return None, await ctx.workspace.deliveries.count(query)
        return None, await ctx.workspace.activities.count(query, (after, upto))
    now = await SystemClock().now()
    job = Job(
        id=ordered_id("job"),
        kind=JobKind.REPLAY_WEBHOOKS,
        status=JobStatus.QUEUED,
        tally=Tally(),
        total=0,
        created_at=now,
    )
    await record_audit_entry(ctx, "replayWebhookDeliveries", "WebhookEndpoint", endpoint_id, job=job.id)
    order = ReplayOrder(endpoint_id, query, upto)
    if not await ctx.workspace.jobs.insert(job, order, ctx.actor.key_id, {"at": None if replay.statuses else after}):
        raise too_many_jobs()
    ctx.resources.bus.wake("jobs", job.id)
    return job, None


def _build_delivery_query(endpoint: WebhookEndpoint, replay: Replay, after: int, upto: int) -> DeliveryQuery:
    return DeliveryQuery(
        endpoint_id=endpoint.id,
        statuses=replay.statuses,
        types=replay.types,
        after=after,
        upto=upto,
        recorded_after=replay.recorded_after,
        recorded_before=replay.recorded_before,
    )


def _build_activity_query(endpoint: WebhookEndpoint, replay: Replay) -> ActivityQuery:
    types, endpoint_types = tuple(replay.types), endpoint.filter.types
    if types and endpoint_types:
        types = tuple(activity_type for activity_type in types if activity_type in endpoint_types)
        if not types:
            raise InvalidInput(
                Code.UNKNOWN, "The endpoint's filter excludes all of these types; name others.", "filter", "types"
            )
    return replace(
        endpoint.filter,
        types=types or endpoint_types,
        recorded_after=replay.recorded_after,
        recorded_before=replay.recorded_before,
    )
