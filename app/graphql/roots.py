"""Root types of the schema: every query, mutation and subscription, and the module that resolves it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import strawberry

from app.graphql.activities.activities import Activity, list_activities
from app.graphql.activities.streams import ActivityMessage, follow_activities
from app.graphql.aggregations import aggregations
from app.graphql.aggregations.aggregations import AggregateResult
from app.graphql.effects.roots import EffectMutations, EffectQueries
from app.graphql.events import mutations as event_mutations
from app.graphql.events.events import Event, find_event, list_events
from app.graphql.events.payloads import RecordEventPayload, RecordEventsPayload
from app.graphql.events.receipts import IngestReceipt, find_receipt
from app.graphql.events.roots import EventShortcuts, EventTypeQueries
from app.graphql.inbound.roots import InboundHookMutations, InboundHookQueries
from app.graphql.insights.customer_roots import CustomerInsightQueries
from app.graphql.insights.roots import SummaryQueries
from app.graphql.insights.verification import VerificationMutations
from app.graphql.jobs import exports, imports
from app.graphql.jobs import jobs as job_jobs
from app.graphql.jobs.exports import ExportPayload
from app.graphql.jobs.imports import ImportEventsPayload
from app.graphql.jobs.jobs import CancelJobPayload, Job, find_job, follow_job, list_jobs
from app.graphql.messages.roots import MessageMutations, MessageQueries
from app.graphql.passes import list_imports, lists, merges, removals
from app.graphql.passes import mutations as pass_mutations
from app.graphql.passes.finding import list_passes
from app.graphql.passes.list_imports import ImportSegmentMembersPayload
from app.graphql.passes.lists import SegmentListPayload
from app.graphql.passes.merges import MergePassesPayload
from app.graphql.passes.mutations import CreatePassesPayload, CreatePassPayload, UpdatePassPayload
from app.graphql.passes.passes import Pass, find_pass
from app.graphql.passes.referrals import ConfirmPassPayload, RecordReferralPayload, confirm_pass, record_referral
from app.graphql.passes.removals import DeleteEventsPayload, ErasePassPayload, PassErasure, find_erasure
from app.graphql.passes.tokens import PassTokenMutations
from app.graphql.passes.transfers import TransferPointsPayload, transfer_points
from app.graphql.rewards.roots import RewardMutations, RewardQueries
from app.graphql.rules.roots import RuleMutations, RuleQueries
from app.graphql.segments import mutations as segment_mutations
from app.graphql.segments.explanations import MembershipExplanation, explain_membership
from app.graphql.segments.history import SegmentDiff, segment_diff
from app.graphql.segments.mutations import (
    ArchiveSegmentPayload,
    CreateSegmentPayload,
    DuplicateSegmentPayload,
    UpdateSegmentPayload,
)
from app.graphql.segments.previews import PreviewSegmentPayload, SegmentPreview, preview_segment, segment_preview
from app.graphql.segments.segments import Segment, find_segment, list_segments
from app.graphql.segments.version_mutations import (
    RevertSegmentPayload,
    UnarchiveSegmentPayload,
    WithdrawSegmentEditPayload,
    revert_segment,
    unarchive_segment,
    withdraw_segment_edit,
)
from app.graphql.tiers.programs import SetTierProgramPayload, TierProgram, find_tier_program, set_tier_program
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


@strawberry.type
class Query(
    CustomerInsightQueries,
    EffectQueries,
    EventTypeQueries,
    InboundHookQueries,
    SummaryQueries,
    MessageQueries,
    RewardQueries,
    RuleQueries,
    WebhookQueries,
):
    """Queries: they read the workspace of the API key and are always safe to repeat.

    Every query needs the scope `read`; some need the scope `admin` too.
    """

    node: Node | None = strawberry.field(resolver=find_node)
    nodes: list[Node | None] = strawberry.field(resolver=find_nodes)
    viewer: Viewer = strawberry.field(resolver=find_viewer)
    rate_limit: RateLimit | None = strawberry.field(resolver=find_rate_limit)
    card: Pass | None = strawberry.field(
        resolver=find_pass,
        name="pass",
    )
    pass_erasure: PassErasure | None = strawberry.field(resolver=find_erasure)
    passes: Connection[Pass] = strawberry.field(resolver=list_passes)
    event: Event | None = strawberry.field(resolver=find_event)
    events: Connection[Event] = strawberry.field(resolver=list_events)
    aggregate_events: AggregateResult = strawberry.field(resolver=aggregations.aggregate_events)
    segment: Segment | None = strawberry.field(resolver=find_segment)
    segment_diff: SegmentDiff | None = strawberry.field(resolver=segment_diff)
    tier_program: TierProgram | None = strawberry.field(resolver=find_tier_program)
    explain_membership: MembershipExplanation | None = strawberry.field(resolver=explain_membership)
    segment_preview: SegmentPreview = strawberry.field(resolver=segment_preview)
    segments: Connection[Segment] = strawberry.field(resolver=list_segments)
    ingest_receipt: IngestReceipt | None = strawberry.field(resolver=find_receipt)
    job: Job | None = strawberry.field(resolver=find_job)
    jobs: Connection[Job] = strawberry.field(resolver=list_jobs)
    api_keys: Connection[ApiKey] = strawberry.field(resolver=list_keys)
    audit_log: Connection[AuditEntry] = strawberry.field(resolver=list_audit_log)
    activity: Connection[Activity] = strawberry.field(resolver=list_activities)


@strawberry.type
class WorkspaceMutations:
    """Fields of Mutation that change the workspace itself."""

    update_workspace: UpdateWorkspacePayload = strawberry.mutation(resolver=workspace_mutations.update_workspace)


@strawberry.type
class Mutation(
    EffectMutations,
    EventShortcuts,
    WorkspaceMutations,
    InboundHookMutations,
    MessageMutations,
    PassTokenMutations,
    RewardMutations,
    RuleMutations,
    VerificationMutations,
    WebhookMutations,
):
    """Mutations: they change the workspace of the API key.

    Every mutation needs the scope `write`; some need the scope `admin` too. A mutation takes one `input`, and returns
    problems with it in `userErrors`.
    """

    create_pass: CreatePassPayload = strawberry.mutation(resolver=pass_mutations.create_pass)
    create_passes: CreatePassesPayload = strawberry.mutation(resolver=pass_mutations.create_passes)
    update_pass: UpdatePassPayload = strawberry.mutation(resolver=pass_mutations.update_pass)
    record_event: RecordEventPayload = strawberry.mutation(resolver=event_mutations.record_event)
    record_events: RecordEventsPayload = strawberry.mutation(resolver=event_mutations.record_events)
    import_events: ImportEventsPayload = strawberry.mutation(resolver=imports.import_events)
    export_events: ExportPayload = strawberry.mutation(resolver=exports.export_events)
    export_activities: ExportPayload = strawberry.mutation(resolver=exports.export_activities)
    delete_events: DeleteEventsPayload = strawberry.mutation(resolver=removals.delete_events)
    erase_pass: ErasePassPayload = strawberry.mutation(resolver=removals.erase_pass)
    merge_passes: MergePassesPayload = strawberry.mutation(resolver=merges.merge_passes)
    transfer_points: TransferPointsPayload = strawberry.mutation(resolver=transfer_points)
    confirm_pass: ConfirmPassPayload = strawberry.mutation(resolver=confirm_pass)
    record_referral: RecordReferralPayload = strawberry.mutation(resolver=record_referral)
    cancel_job: CancelJobPayload = strawberry.mutation(resolver=job_jobs.cancel_job)
    create_segment: CreateSegmentPayload = strawberry.mutation(resolver=segment_mutations.create_segment)
    update_segment: UpdateSegmentPayload = strawberry.mutation(resolver=segment_mutations.update_segment)
    archive_segment: ArchiveSegmentPayload = strawberry.mutation(resolver=segment_mutations.archive_segment)
    duplicate_segment: DuplicateSegmentPayload = strawberry.mutation(resolver=segment_mutations.duplicate_segment)
    revert_segment: RevertSegmentPayload = strawberry.mutation(resolver=revert_segment)
    unarchive_segment: UnarchiveSegmentPayload = strawberry.mutation(resolver=unarchive_segment)
    withdraw_segment_edit: WithdrawSegmentEditPayload = strawberry.mutation(resolver=withdraw_segment_edit)
    preview_segment: PreviewSegmentPayload = strawberry.mutation(resolver=preview_segment)
    add_to_segment: SegmentListPayload = strawberry.mutation(resolver=lists.add_to_segment)
    remove_from_segment: SegmentListPayload = strawberry.mutation(resolver=lists.remove_from_segment)
    import_segment_members: ImportSegmentMembersPayload = strawberry.mutation(
        resolver=list_imports.import_segment_members
    )
    set_tier_program: SetTierProgramPayload = strawberry.mutation(resolver=set_tier_program)
    create_api_key: CreateApiKeyPayload = strawberry.mutation(resolver=keys.create_api_key)
    rotate_api_key: RotateApiKeyPayload = strawberry.mutation(resolver=keys.rotate_api_key)
    revoke_api_key: RevokeApiKeyPayload = strawberry.mutation(resolver=keys.revoke_api_key)


@strawberry.type
class Subscription:
    """Subscriptions: they follow the workspace of the API key. Every subscription needs the scope `subscribe`."""

    activity: AsyncGenerator[ActivityMessage, None] = strawberry.subscription(resolver=follow_activities)
    job_progress: AsyncGenerator[Job, None] = strawberry.subscription(resolver=follow_job)
