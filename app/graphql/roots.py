"""The roots: every query, mutation and subscription, and the module that answers it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import strawberry

from app.graphql.activities.activities import Activity, ActivityMessage, follow_activities, list_activities
from app.graphql.aggregations import aggregations
from app.graphql.aggregations.aggregations import AggregateResult
from app.graphql.events import mutations as event_mutations
from app.graphql.events.events import Event, find_event, list_events
from app.graphql.events.mutations import RecordEventPayload, RecordEventsPayload
from app.graphql.events.receipts import IngestReceipt, find_receipt
from app.graphql.events.roots import EventShortcuts, EventTypeQueries
from app.graphql.inbound.roots import InboundHookMutations, InboundHookQueries
from app.graphql.jobs import exports, imports
from app.graphql.jobs import jobs as job_jobs
from app.graphql.jobs.exports import ExportPayload
from app.graphql.jobs.imports import ImportEventsPayload
from app.graphql.jobs.jobs import CancelJobPayload, Job, find_job, follow_job, list_jobs
from app.graphql.passes import merges, removals
from app.graphql.passes import mutations as pass_mutations
from app.graphql.passes.merges import MergePassesPayload
from app.graphql.passes.mutations import CreatePassesPayload, CreatePassPayload, UpdatePassPayload
from app.graphql.passes.passes import Pass, find_pass, list_passes
from app.graphql.passes.removals import DeleteEventsPayload, ErasePassPayload, PassErasure, find_erasure
from app.graphql.segments import mutations as segment_mutations
from app.graphql.segments.mutations import (
    ArchiveSegmentPayload,
    CreateSegmentPayload,
    DuplicateSegmentPayload,
    UpdateSegmentPayload,
)
from app.graphql.segments.segments import Segment, find_segment, list_segments
from app.graphql.types.node import Node, find_node, find_nodes
from app.graphql.types.paging import Connection
from app.graphql.webhooks.roots import WebhookMutations, WebhookQueries
from app.graphql.workspaces import keys
from app.graphql.workspaces import mutations as workspace_mutations
from app.graphql.workspaces.audit import AuditEntry, list_audit_log
from app.graphql.workspaces.keys import ApiKey, CreateApiKeyPayload, RevokeApiKeyPayload, RotateApiKeyPayload, list_keys
from app.graphql.workspaces.mutations import UpdateWorkspacePayload
from app.graphql.workspaces.rate_limit import RateLimit, find_rate_limit
from app.graphql.workspaces.workspaces import Viewer, find_viewer


@strawberry.type(description="What can be asked. Everything is seen from the workspace of the key.")
class Query(EventTypeQueries, InboundHookQueries, WebhookQueries):
    """What can be asked."""

    node: Node | None = strawberry.field(
        resolver=find_node, description="The object of a global id; null for one that does not exist."
    )
    nodes: list[Node | None] = strawberry.field(
        resolver=find_nodes, description="The objects of some global ids, in their order; null where there is none."
    )
    viewer: Viewer = strawberry.field(resolver=find_viewer, description="Who is asking.")
    rate_limit: RateLimit | None = strawberry.field(
        resolver=find_rate_limit, description="What is left of the budget of the key; null where keys have none."
    )
    card: Pass | None = strawberry.field(
        resolver=find_pass, name="pass", description="The pass of an id or an external id; exactly one is given."
    )
    pass_erasure: PassErasure | None = strawberry.field(
        resolver=find_erasure,
        description="The receipt of the erasure of a pass; null where none was asked for. Needs the scope `admin`.",
    )
    passes: Connection[Pass] = strawberry.field(resolver=list_passes, description="The passes, the newest first.")
    event: Event | None = strawberry.field(resolver=find_event, description="The event of an id.")
    events: Connection[Event] = strawberry.field(resolver=list_events, description="The events, by when they occurred.")
    aggregate_events: AggregateResult = strawberry.field(
        resolver=aggregations.aggregate_events,
        description="One function over the events that match, in whole or by groups: exact, and up to date.",
    )
    segment: Segment | None = strawberry.field(
        resolver=find_segment, description="The segment of an id or a key; exactly one is given."
    )
    segments: Connection[Segment] = strawberry.field(
        resolver=list_segments, description="The segments, the newest first, archived ones included."
    )
    ingest_receipt: IngestReceipt | None = strawberry.field(
        resolver=find_receipt,
        description="What became of a call that recorded events, by the token of its receipt; null for what is no token of "
        "this workspace, or older than 30 days.",
    )
    job: Job | None = strawberry.field(resolver=find_job, description="The job of an id.")
    jobs: Connection[Job] = strawberry.field(resolver=list_jobs, description="The jobs, the newest first.")
    api_keys: Connection[ApiKey] = strawberry.field(
        resolver=list_keys, description="The API keys, the newest first. Needs the scope `admin`."
    )
    audit_log: Connection[AuditEntry] = strawberry.field(
        resolver=list_audit_log,
        description="Who changed keys, segments, event types, hooks and webhook endpoints, exported, removed or merged, the "
        "newest first. Needs the scope `admin`.",
    )
    activity: Connection[Activity] = strawberry.field(
        resolver=list_activities, description="The feed of the workspace, in its order: the oldest first."
    )


@strawberry.type
class WorkspaceMutations:
    """Mutations of the workspace itself."""

    update_workspace: UpdateWorkspacePayload = strawberry.mutation(
        resolver=workspace_mutations.update_workspace,
        description="Changes which types of events the workspace takes. Needs the scope `admin`. Safe to repeat.",
    )


@strawberry.type(description="What can be done. What is refused for a reason in the input is told in `userErrors`.")
class Mutation(EventShortcuts, WorkspaceMutations, InboundHookMutations, WebhookMutations):
    """What can be done."""

    create_pass: CreatePassPayload = strawberry.mutation(
        resolver=pass_mutations.create_pass, description="Creates a pass. Safe to repeat."
    )
    create_passes: CreatePassesPayload = strawberry.mutation(
        resolver=pass_mutations.create_passes,
        description="Creates up to 1,000 passes, each with a fate of its own. Safe to repeat.",
    )
    update_pass: UpdatePassPayload = strawberry.mutation(
        resolver=pass_mutations.update_pass, description="Changes a pass. Safe to repeat."
    )
    record_event: RecordEventPayload = strawberry.mutation(
        resolver=event_mutations.record_event,
        description="Records an event. Safe to repeat with an externalId or an idempotencyKey; without either, a blind "
        "repeat may double it.",
    )
    record_events: RecordEventsPayload = strawberry.mutation(
        resolver=event_mutations.record_events,
        description="Records up to 1,000 events, each with a fate of its own, in input order. Safe to repeat with "
        "externalIds or the same idempotencyKey.",
    )
    import_events: ImportEventsPayload = strawberry.mutation(
        resolver=imports.import_events,
        description="Records the rows of a file as past events, in a job. A row is identified by its position in the file "
        "and the source: importing the same file again records nothing new.",
    )
    export_events: ExportPayload = strawberry.mutation(
        resolver=exports.export_events,
        description="Writes the events that match a filter, as recorded until now, to a file, in a job; the oldest first. "
        "As JSONL they can be imported again. Needs the scope `read` as well. A repeat makes another file.",
    )
    export_activities: ExportPayload = strawberry.mutation(
        resolver=exports.export_activities,
        description="Writes the activities that match a filter, as published until now, to a file, in a job; in the order "
        "of the feed, each with its cursor. Needs the scope `read` as well. A repeat makes another file.",
    )
    delete_events: DeleteEventsPayload = strawberry.mutation(
        resolver=removals.delete_events,
        description="Removes events for good, in a job: totals, segments and points become what they were without them, "
        "and their identities are not given again. Needs the scope `admin`. Safe to repeat.",
    )
    erase_pass: ErasePassPayload = strawberry.mutation(
        resolver=removals.erase_pass,
        description="Erases a pass and everything personal about it, the feed included: it leaves its segments, its events "
        "are emptied, and its external id is free again. What is recorded on it until then goes with it. Needs the scope "
        "`admin`. Safe to repeat by id.",
    )
    merge_passes: MergePassesPayload = strawberry.mutation(
        resolver=merges.merge_passes,
        description="Makes one pass another name of a second one of the same customer: the survivor answers for both ids "
        "and external ids, and counts the events of both. Needs the scope `admin`. Safe to repeat; not to be undone.",
    )
    cancel_job: CancelJobPayload = strawberry.mutation(
        resolver=job_jobs.cancel_job, description="Tells a job to stop; what it has done stays. Safe to repeat."
    )
    create_segment: CreateSegmentPayload = strawberry.mutation(
        resolver=segment_mutations.create_segment,
        description="Creates a segment and fills it with the passes that match.",
    )
    update_segment: UpdateSegmentPayload = strawberry.mutation(
        resolver=segment_mutations.update_segment, description="Changes a segment. Safe to repeat."
    )
    archive_segment: ArchiveSegmentPayload = strawberry.mutation(
        resolver=segment_mutations.archive_segment,
        description="Puts a segment away: its members leave it. Safe to repeat.",
    )
    duplicate_segment: DuplicateSegmentPayload = strawberry.mutation(
        resolver=segment_mutations.duplicate_segment, description="Copies a segment under another key."
    )
    create_api_key: CreateApiKeyPayload = strawberry.mutation(
        resolver=keys.create_api_key, description="Makes an API key. Needs the scope `admin`."
    )
    rotate_api_key: RotateApiKeyPayload = strawberry.mutation(
        resolver=keys.rotate_api_key,
        description="Replaces an API key by a new one with the same name and scopes; the old one works for a while longer, "
        "if wanted. Needs the scope `admin`.",
    )
    revoke_api_key: RevokeApiKeyPayload = strawberry.mutation(
        resolver=keys.revoke_api_key, description="Revokes an API key. Needs the scope `admin`. Safe to repeat."
    )


@strawberry.type(description="What can be followed.")
class Subscription:
    """What can be followed."""

    activity: AsyncGenerator[ActivityMessage, None] = strawberry.subscription(
        resolver=follow_activities,
        description="The feed as it grows: first a Heartbeat with the cursor where the stream starts, then each activity "
        "once, in order, and a Heartbeat when there was nothing to show for a while. Who reads too slowly is told by a "
        "Lagged, and misses nothing; who reads nothing for half a minute is disconnected, and goes on from a cursor.",
    )
    job_progress: AsyncGenerator[Job, None] = strawberry.subscription(
        resolver=follow_job,
        description="A job as it is now, and again whenever it has changed; the stream ends when the job has ended.",
    )
