"""The next version of a definition: one insert under the workspace's next revision, checked against all others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Protocol, TypeVar

from app.domain.binding import Bindable, bind_version
from app.domain.definitions import DefinitionVersion, criteria_of
from app.domain.errors import Code, Conflict, InvalidInput, Unavailable
from app.domain.rewards.rewards import LabelledReward
from app.domain.rules.rules import Rule
from app.domain.segments.criteria import Criteria
from app.domain.segments.local_time import depends_on_zone
from app.domain.segments.segments import (
    EMIT,
    SILENT,
    TIER_PROGRAM,
    Circle,
    DefinitionKind,
    Segment,
    VersionSummary,
    find_references,
)
from app.domain.segments.workspace_versions import WORKSPACE_SETTINGS, WorkspaceVersion
from app.domain.tiers.programs import TierProgramVersion
from app.domain.values.text import parse_optional, parse_text
from app.domain.values.zones import TZDATA_VERSION
from app.domain.workspaces import WorkspaceProfile
from app.store.workspace.labels import LabelQueries, Labels

from .context import Context

MAX_ATTEMPTS = 20
T = TypeVar("T")
Labelled = Segment | Rule | LabelledReward


class DefinitionChanged(Exception):
    """A definition has got another version since the command read it. The command reads it again."""


@dataclass(frozen=True)
class NextRevision:
    """Revision that a change of a definition takes, with the versions that exist, oldest first.

    `at` is the instant of the change. It is never before the instant of an earlier revision.
    """

    versions: Sequence[VersionSummary]
    now: datetime

    @property
    def number(self) -> int:
        """The number of the revision."""
        return self.versions[-1].revision + 1 if self.versions else 1

    @property
    def at(self) -> datetime:
        """The instant of the revision."""
        return max(self.now, self.versions[-1].at) if self.versions else self.now

    @cached_property
    def latest(self) -> dict[str, VersionSummary]:
        """The latest version of each definition, archived ones included, by its id."""
        return {version.subject_id: version for version in self.versions}

    @cached_property
    def live(self) -> dict[str, VersionSummary]:
        """The versions in force, by the id of the definition."""
        return {key: version for key, version in self.latest.items() if not version.archived}

    def live_of(self, kind: DefinitionKind) -> dict[str, VersionSummary]:
        """Return the versions of a kind that are in force, by the id of the definition."""
        return {key: version for key, version in self.live.items() if version.kind is kind}

    def check_version(self, subject_id: str, read: int) -> None:
        """Raise DefinitionChanged unless the latest version of a definition is the one that was read; 0 for none.

        So a change never takes back another one that was acknowledged meanwhile.
        """
        latest = self.latest.get(subject_id)
        if (0 if latest is None else latest.version) != read:
            raise DefinitionChanged

    def check_unreferenced(self, subject_id: str) -> None:
        """Raise Conflict if live definitions refer to a segment."""
        dependents = [key for key, other in self.live.items() if key != subject_id and subject_id in other.references]
        if dependents:
            raise Conflict(
                f"Live definitions refer to this segment: {', '.join(dependents)}. Change or archive them first.", "id"
            )


async def live_tiers(ctx: Context, *trees: Criteria | None) -> tuple[str, ...]:
    """Return the keys of the tiers that passes may have. Reads only if criteria refer to the tier.

    One round trip at most. Raises Unavailable; safe to repeat.
    """
    if not any(TIER_PROGRAM in find_references(tree) for tree in trees if tree is not None):
        return ()
    return await read_tiers(ctx)


async def read_tiers(ctx: Context) -> tuple[str, ...]:
    """Return the keys of the tiers of the workspace, the lowest first. One round trip. Raises Unavailable."""
    program = await find_tier_program(ctx)
    return () if program is None else tuple(tier.key for tier in program.tiers)


async def find_tier_program(ctx: Context) -> TierProgramVersion | None:
    """Return the latest version of the tier program; None if there never was one. Raises Unavailable; safe to repeat."""
    found = await ctx.workspace.definitions.latest(DefinitionKind.TIERS, TIER_PROGRAM)
    return found if isinstance(found, TierProgramVersion) else None


class LabelStore(Protocol):
    """Queries over the labels of segments, rules or rewards. Errors: Unavailable, safe to repeat."""

    async def insert_labels(self, labels: Labels, /) -> bool:
        """Insert labels and return whether they were stored: False if the key exists."""

    async def by_key(self, key: str, /) -> Labels | None:
        """Return the labels of a key, defined or not, or None."""

    async def get(self, object_id: str, /) -> object | None:
        """Return the defined object of that id, or None."""

    async def free_key(self, holder_id: str, key: str, /) -> bool:
        """Take the key from an object that is archived, and return whether it was."""


def parse_labels(new_id: str, key: str, sent: Mapping[str, object], at: datetime) -> Labels:
    """Return the labels of a new object, with `name` and `description` as sent. Raises InvalidInput."""
    return Labels(
        id=new_id,
        key=key,
        name=parse_text(sent.get("name"), "name"),
        description=_parse_description(sent.get("description")),
        created_at=at,
        updated_at=at,
    )


def sent_labels(name: object, description: object, visible_to_passes: bool | None) -> dict[str, object]:
    """Return the labels of a segment that a call sent; those of None stay."""
    sent = {"name": name, "description": description, "visible_to_passes": visible_to_passes}
    return {key: value for key, value in sent.items() if value is not None}


def change_labels(before: Labelled, sent: Mapping[str, object], at: datetime) -> Labels:
    """Return the labels of an object with the changes that were sent. Raises InvalidInput.

    A name or visibility of None stays, and so does a description that was not sent; one of None is removed.
    """
    visible = sent.get("visible_to_passes")
    return Labels(
        id=before.id,
        key=before.key,
        name=before.name if sent.get("name") is None else parse_text(sent["name"], "name"),
        description=_parse_description(sent["description"]) if "description" in sent else before.description,
        created_at=before.created_at,
        updated_at=at,
        visible_to_passes=_is_visible(before) if visible is None else visible is True,
    )


def _is_visible(before: Labelled) -> bool:
    return isinstance(before, Segment) and before.visible_to_passes


def is_renamed(before: Labelled, labels: Labels) -> bool:
    """Return whether the labels change the name, description or visibility of an object."""
    after = labels.name, labels.description, labels.visible_to_passes
    return after != (before.name, before.description, _is_visible(before))


def _parse_description(raw: object) -> str | None:
    return parse_optional(raw, "description", max_length=2000)


async def claim_labels(store: LabelStore, labels: Labels, kind: str) -> Labels:
    """Store the labels of a new segment, rule or reward, and return them as stored.

    Labels without a version are left from a call that crashed: this call takes them over. An archived object loses its
    key to this one, unless the id of both follows from the key, as that of rewards does. Raises Conflict: TAKEN at `key`
    if another object has it, and Unavailable; safe to repeat.
    """
    for _ in range(MAX_ATTEMPTS):
        if await store.insert_labels(labels):
            return labels
        existing = await store.by_key(labels.key)
        if existing is None:
            # No majority has the other labels yet, or another call has freed the key. A repeat decides.
            continue
        if await store.get(existing.id) is None:
            return replace(labels, id=existing.id, created_at=existing.created_at)
        if existing.id == labels.id or not await store.free_key(existing.id, labels.key):
            raise key_taken(kind)
    raise Unavailable("store")


def key_taken(kind: str) -> Conflict:
    """Return the error for a key that another segment or rule has."""
    return Conflict(f"Another {kind} has this key; choose another key.", "key", code=Code.TAKEN)


async def repeat_if_changed(change: Callable[[], Awaitable[T]]) -> T:
    """Run a change of a definition, and run it again from its read if the definition got another version meanwhile.

    Raises Unavailable after 20 attempts; safe to repeat.
    """
    for _ in range(MAX_ATTEMPTS):
        try:
            return await change()
        except DefinitionChanged:
            continue
    raise Unavailable("store")


async def insert_next_version(ctx: Context, build: Callable[[NextRevision], DefinitionVersion | None]) -> None:
    """Insert the version that `build` returns and wake the backfill. Nothing changes if it returns None.

    If another call takes the revision, `build` is called again with the definitions as they are then. It raises Refused
    for a version that does not fit the others. Raises Unavailable; safe to repeat.
    """
    for _ in range(MAX_ATTEMPTS):
        versions = await ctx.workspace.definitions.summaries()
        revision = NextRevision(versions, await ctx.now())
        try:
            version = build(revision)
        except Circle as circle:
            raise await name_circle(ctx.workspace.segments, circle) from None
        if version is None:
            return
        if WORKSPACE_SETTINGS not in revision.latest and any(map(depends_on_zone, criteria_of(version))):
            await store_settings(ctx, is_first=True)
            continue
        if await ctx.workspace.definitions.insert(version):
            if version.announces_backfill:
                ctx.resources.bus.wake("backfill", ctx.workspace.id)
            return
    raise Unavailable("store")


async def name_circle(segments: LabelQueries, circle: Circle) -> Circle:
    """Return the refusal of a circle with the keys of the segments in its message. One round trip."""
    return circle.with_names({each: labels.key for each, labels in (await segments.labels(circle.members)).items()})


async def bind_latest(ctx: Context, versions: Sequence[Bindable]) -> list[Bindable]:
    """Return versions whose criteria have the zone and the start of weeks that apply now.

    One round trip if criteria depend on local time. Raises Unavailable; safe to repeat.
    """
    if not any(depends_on_zone(tree) for version in versions for tree in criteria_of(version)):
        return list(versions)
    found = await ctx.workspace.definitions.latest(DefinitionKind.WORKSPACE, WORKSPACE_SETTINGS)
    settings = found if isinstance(found, WorkspaceVersion) else None
    return [bind_version(version, settings) for version in versions]


async def store_settings(ctx: Context, *, is_first: bool) -> None:
    """Store the zone and the start of weeks of the workspace as a version, unless the latest version is equal.

    `is_first`: store them also if they have no version, because a definition is about to depend on them. Raises
    Unavailable; safe to repeat.
    """
    for _ in range(MAX_ATTEMPTS):
        profile = await ctx.workspace.profile()

        def build(revision: NextRevision, profile: WorkspaceProfile = profile) -> WorkspaceVersion | None:
            before = revision.latest.get(WORKSPACE_SETTINGS)
            if before is None and not is_first:
                return None
            version = WorkspaceVersion(
                revision=revision.number,
                version=1 if before is None else before.version + 1,
                at=revision.at,
                timezone=profile.timezone,
                week_start=profile.week_start,
                tzdata=TZDATA_VERSION,
            )
            return None if before is not None and before.digest == version.digest else version

        await insert_next_version(ctx, build)
        # A call that changed the profile may not have seen this version, nor this call the change. One of both sees it.
        if await ctx.workspace.profile() == profile:
            return
    raise Unavailable("store")


def parse_notify(raw: object) -> str:
    """Return whether a change shows the transitions that it causes: SILENT or EMIT. Raises InvalidInput: UNKNOWN."""
    if str(raw) not in (SILENT, EMIT):
        raise InvalidInput(Code.UNKNOWN, f"`notify` is {SILENT} or {EMIT}.", "notify")
    return str(raw)
