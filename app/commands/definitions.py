"""The next version of a definition: one insert under the workspace's next revision, checked against all others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from app.domain.definitions import DefinitionVersion
from app.domain.errors import Code, Conflict, InvalidInput, Unavailable
from app.domain.segments.criteria import Criteria
from app.domain.segments.segments import EMIT, SILENT, TIER_PROGRAM, DefinitionKind, VersionSummary, find_references
from app.domain.tiers.programs import TierProgramVersion
from app.store.workspace.labels import LabelQueries, Labels

from .context import Context

MAX_ATTEMPTS = 20
T = TypeVar("T")


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


async def claim_labels(
    store: LabelQueries, labels: Labels, kind: str, is_defined: Callable[[str], Awaitable[bool]]
) -> Labels:
    """Store the labels of a new segment or rule, and return them as stored.

    Labels without a version are left from a call that crashed: this call takes them over. Raises Conflict: TAKEN at `key`
    if the object of that key is defined, and Unavailable; safe to repeat.
    """
    if await store.insert_labels(labels):
        return labels
    existing = await store.by_key(labels.key)
    if existing is None:
        # The other labels were removed, or no majority has them yet. A repeat decides.
        raise Unavailable("store")
    if await is_defined(existing.id):
        raise key_taken(kind)
    return replace(labels, id=existing.id, created_at=existing.created_at)


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
        version = build(NextRevision(versions, await ctx.now()))
        if version is None:
            return
        if await ctx.workspace.definitions.insert(version):
            if version.announces_backfill:
                ctx.resources.bus.wake("backfill", ctx.workspace.id)
            return
    raise Unavailable("store")


def parse_notify(raw: object) -> str:
    """Return whether a change shows the transitions that it causes: SILENT or EMIT. Raises InvalidInput: UNKNOWN."""
    if str(raw) not in (SILENT, EMIT):
        raise InvalidInput(Code.UNKNOWN, f"`notify` is {SILENT} or {EMIT}.", "notify")
    return str(raw)
