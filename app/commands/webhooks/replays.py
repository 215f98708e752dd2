"""replayWebhookDeliveries: a job that sends an endpoint messages once more, or how many those would be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from app.clock import SystemClock
from app.commands.audit import record_audit_entry
from app.commands.context import Context
from app.domain.activities import ActivityQuery
from app.domain.errors import Code, InvalidInput
from app.domain.jobs import Job, JobKind, JobStatus, Tally
from app.domain.webhooks.deliveries import DeliveryQuery, WebhookDeliveryStatus
from app.domain.webhooks.endpoints import WebhookEndpoint
from app.store.codecs.jobs import ReplayOrder
from app.store.mongo.ids import ordered_id

from .endpoints import find_endpoint


@dataclass(frozen=True, slots=True)
class Replay:
    """What to send again: activities at positions of the log behind `after` and before `before`; an empty part means any.

    With `statuses`, only what was delivered before and has one of them now.
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
    """The job that will send what matches now; with `dry_run` none, but how many messages that is.

    Of activities that are published by now, those that the endpoint's filter shows now; or, by `statuses`, deliveries
    whatever the filter. Repeating it makes another job. Raises NotFound, InvalidInput, Unavailable.
    """
    endpoint = await find_endpoint(ctx, endpoint_id, "endpointId")
    after, upto = replay.after or 0, await ctx.workspace.activities.last_pos()
    if replay.before is not None:
        upto = min(upto, replay.before - 1)
    query: DeliveryQuery | ActivityQuery
    if replay.statuses:
        query = _delivered(endpoint, replay, after, upto)
    else:
        query = await ctx.workspace.of_whole_pass(_shown(endpoint, replay))
    if dry_run:
        if isinstance(query, DeliveryQuery):
            return None, await ctx.workspace.deliveries.count(query)
        return None, await ctx.workspace.activities.count(query, (after, upto))
    now = await SystemClock().now()
    job = Job(ordered_id("job"), JobKind.REPLAY_WEBHOOKS, JobStatus.QUEUED, Tally(), 0, now)
    await record_audit_entry(ctx, "replayWebhookDeliveries", "WebhookEndpoint", endpoint_id, job=job.id)
    order = ReplayOrder(endpoint_id, query, upto)
    await ctx.workspace.jobs.insert(job, order, ctx.actor.key_id, {"at": None if replay.statuses else after})
    ctx.resources.bus.wake("jobs", job.id)
    return job, None


def _delivered(endpoint: WebhookEndpoint, replay: Replay, after: int, upto: int) -> DeliveryQuery:
    return DeliveryQuery(
        endpoint.id, replay.statuses, replay.types, after, upto, replay.recorded_after, replay.recorded_before
    )


def _shown(endpoint: WebhookEndpoint, replay: Replay) -> ActivityQuery:
    types, own = tuple(replay.types), endpoint.filter.types
    if types and own:
        types = tuple(kind for kind in types if kind in own)
        if not types:
            raise InvalidInput(Code.UNKNOWN, "The endpoint's filter shows none of these types.", "filter", "types")
    return replace(
        endpoint.filter,
        types=types or own,
        recorded_after=replay.recorded_after,
        recorded_before=replay.recorded_before,
    )
