"""Versions of a segment, who made each and what it changed; and the edit that is scheduled."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import strawberry

from app.domain.errors import Code
from app.domain.segments import segments as domain
from app.domain.segments.edits import ScheduledEdit
from app.graphql.context import Info
from app.graphql.types.enums import describe_enum
from app.graphql.types.node import fetch_node
from app.graphql.workspaces.keys import ApiKey

from .criteria import SegmentCriteria, criteria_of


class SegmentNotification(StrEnum):
    """Whether the feed shows the entries and exits that a change of a segment causes."""

    SILENT = "SILENT"
    EMIT = "EMIT"


describe_enum(
    SegmentNotification,
    "SegmentNotification",
    {
        "SILENT": "The entries and exits are in the feed but hidden. Queries, subscriptions and webhooks show them "
        "only with `includeSilent: true`.",
        "EMIT": "The entries and exits appear in the feed like all others.",
    },
)


@strawberry.type
class SegmentVersion:
    """Version of a segment. It holds from its instant until the next version."""

    version: int = strawberry.field(description="Number of the version, from 1. `revertSegment` takes it.")
    criteria: SegmentCriteria = strawberry.field(description="Criteria of the version.")
    timezone: str = strawberry.field(description="IANA time zone of the version.")
    zone_field: str | None = strawberry.field(
        description="Field of a pass that names its own time zone under the version; null without one."
    )
    archived: bool = strawberry.field(description="Whether the version archives the segment.")
    created_at: datetime = strawberry.field(description="Instant from which the version holds.")
    notify: SegmentNotification = strawberry.field(
        description="Whether the feed shows the entries and exits that the version itself causes."
    )
    fire_rules: bool = strawberry.field(
        description="Whether rules are asked about the entries and exits that the version itself causes."
    )
    member_count_before: int | None = strawberry.field(
        description="Number of members when the version was created. Null for versions that Punchcard 0.1.0 or an upgrade "
        "created."
    )
    member_count_after: int | None = strawberry.field(
        description="Number of members once all passes were evaluated under the version. Null until then, if a later "
        "version came first, and where `memberCountBefore` is null."
    )
    created_by_id: strawberry.Private[str | None]

    @strawberry.field
    async def created_by(self, info: Info) -> ApiKey | None:
        """API key that made the version; null where `memberCountBefore` is null. Needs the scope `admin` for other keys."""
        if self.created_by_id is None:
            return None
        key: ApiKey | None = await fetch_node(info.context, "ApiKey", self.created_by_id)
        return key


def version_of(found: domain.SegmentVersion) -> SegmentVersion:
    """Return the GraphQL object of a version."""
    version, origin = found.version, found.version.origin
    return SegmentVersion(
        version=version.version,
        criteria=criteria_of(version.criteria),
        timezone=version.timezone,
        zone_field=version.zone_field,
        archived=version.archived,
        created_at=version.at,
        notify=SegmentNotification(version.notify),
        fire_rules=version.fires_rules,
        member_count_before=None if origin is None else origin.members_before,
        member_count_after=found.members_after,
        created_by_id=None if origin is None else origin.created_by,
    )


@strawberry.type
class EditProblem:
    """Reason for which a scheduled edit was not made."""

    code: Code = strawberry.field(description="Code of the problem, as in `UserError`.")
    message: str = strawberry.field(description="What to change, in English.")


@strawberry.type
class ScheduledSegmentEdit:
    """Edit of a segment that a worker makes when its time has come. A segment has at most one."""

    scheduled_at: datetime = strawberry.field(
        description="Instant from which a worker makes the edit. It is made at most 2 seconds later while a worker runs."
    )
    criteria: SegmentCriteria | None = strawberry.field(
        description="Criteria that the segment gets. Null if they stay as they are then."
    )
    timezone: str | None = strawberry.field(
        description="IANA time zone that the segment gets. An empty text stands for that of the workspace. Null if it stays "
        "as it is then."
    )
    zone_field: str | None = strawberry.field(
        description="Field that will name the time zone of a pass. An empty text stands for none. Null if it stays as it is "
        "then."
    )
    name: str | None = strawberry.field(description="Name that the segment gets. Null if it stays as it is then.")
    description: str | None = strawberry.field(
        description="Description that the segment gets. Null if it stays as it is then."
    )
    visible_to_passes: bool | None = strawberry.field(
        description="Whether tokens of `createPassToken` will see the segment. Null if that stays as it is then."
    )
    notify: SegmentNotification = strawberry.field(
        description="Whether the feed will show the entries and exits that the edit itself causes."
    )
    fire_rules: bool = strawberry.field(
        description="Whether rules will be asked about the entries and exits that the edit itself causes."
    )
    created_at: datetime = strawberry.field(description="Instant at which the edit was scheduled.")
    problem: EditProblem | None = strawberry.field(
        description="Why the edit was not made when its time had come. Null before. Replace or withdraw the edit then, "
        "unless `retryAt` has an instant."
    )
    retry_at: datetime | None = strawberry.field(
        description="Instant at which a worker makes the edit again, because the workspace had changed too often within 24 "
        "hours. Null otherwise."
    )
    created_by_id: strawberry.Private[str]

    @strawberry.field
    async def created_by(self, info: Info) -> ApiKey | None:
        """API key that scheduled the edit. Needs the scope `admin` for other keys."""
        key: ApiKey | None = await fetch_node(info.context, "ApiKey", self.created_by_id)
        return key


def scheduled_edit_of(edit: ScheduledEdit) -> ScheduledSegmentEdit:
    """Return the GraphQL object of a scheduled edit."""
    return ScheduledSegmentEdit(
        scheduled_at=edit.at,
        criteria=None if edit.criteria is None else criteria_of(edit.criteria),
        timezone=edit.timezone,
        zone_field=edit.zone_field,
        name=_label(edit, "name"),
        description=_label(edit, "description"),
        visible_to_passes=None if "visible_to_passes" not in edit.labels else edit.labels["visible_to_passes"] is True,
        retry_at=edit.retry_at,
        notify=SegmentNotification(edit.notify),
        fire_rules=edit.fires_rules,
        created_at=edit.created_at,
        problem=None if edit.problem is None else EditProblem(code=Code(edit.problem[0]), message=edit.problem[1]),
        created_by_id=edit.created_by,
    )


def _label(edit: ScheduledEdit, name: str) -> str | None:
    label = edit.labels.get(name)
    return label if isinstance(label, str) else None
