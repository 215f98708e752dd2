"""Segments and their definitions. A revision orders all changes of a workspace's definitions."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from app.domain.backfilled import BackfilledVersion
from app.domain.errors import Code, InvalidInput

from .criteria import Criteria, SegmentCriterion, iter_leaves
from .pass_criteria import PassCriterion

MAX_LIVE_SEGMENTS = 200
_KEY = re.compile(r"[a-z0-9][a-z0-9_\-]{0,63}")
SILENT = "SILENT"
EMIT = "EMIT"
TIER_PROGRAM = "tiers"
"""The id of the tier program among the definitions of a workspace."""


class DefinitionKind(StrEnum):
    """Kind of a definition. All definitions of a workspace share its revisions."""

    SEGMENT = "segment"
    RULE = "rule"
    TIERS = "tiers"
    REWARD = "reward"
    SEARCHABLE = "searchable"
    WORKSPACE = "workspace"


class SegmentZone(NamedTuple):
    """Zone of a segment: its own or, if it `inherits`, the one that the workspace had when the version was made.

    `field` is the field of a pass that names its own zone; None without one.
    """

    timezone: str
    inherits: bool = False
    field: str | None = None

    @property
    def marks(self) -> tuple[str, ...]:
        """What the digest of a version has about its zone, beside the zone itself."""
        return (*(["inherits"] if self.inherits else []), *([] if self.field is None else [self.field]))


@dataclass(frozen=True, slots=True)
class Segment:
    """Segment with its labels, and the criteria of its latest version. `revision` is that of the latest version.

    `visible_to_passes`: tokens for one pass may see its id, key and name.
    `inherits_zone`: it has the zone of the workspace. `timezone` is then the one when the version was made.
    """

    id: str
    key: str
    name: str
    description: str | None
    criteria: Criteria
    timezone: str
    version: int
    revision: int
    archived: bool
    created_at: datetime
    updated_at: datetime
    visible_to_passes: bool = False
    inherits_zone: bool = False
    zone_field: str | None = None

    @property
    def zone(self) -> SegmentZone:
        """The zone of the segment."""
        return SegmentZone(self.timezone, self.inherits_zone, self.zone_field)

    @property
    def status(self) -> str:
        """The status: ACTIVE or ARCHIVED."""
        return "ARCHIVED" if self.archived else "ACTIVE"


@dataclass(frozen=True, slots=True)
class VersionOrigin:
    """Who made a version, from what, and how many members the segment had then. No walk reads it.

    `created_by` is the id of an API key. `edit_id` is the id of the scheduled edit that became the version, if one did.
    """

    created_by: str
    members_before: int
    edit_id: str | None = None


@dataclass(frozen=True)
class Version(BackfilledVersion):
    """Version of a segment's definition, created at the instant `at`. It is in force from its revision on.

    - `fires_rules`: rules are asked about the transitions that the change itself causes.
    - `origin`: None if an earlier version of Punchcard stored the version, or an upgrade made it.
    - `inherits_zone`: the workspace's settings in force give the zone. `timezone` is the one of the workspace when the
      version was made.
    - `zone_field`: the field of a pass that names its own zone, such as "fields.timezone"; None without one.
    """

    segment_id: str
    revision: int
    version: int
    criteria: Criteria
    timezone: str
    archived: bool
    notify: str
    at: datetime
    fires_rules: bool = False
    origin: VersionOrigin | None = None
    inherits_zone: bool = False
    zone_field: str | None = None

    @property
    def zone(self) -> SegmentZone:
        """The zone of the segment, as the version has it."""
        return SegmentZone(self.timezone, self.inherits_zone, self.zone_field)

    @property
    def subject_id(self) -> str:
        """The id of the segment."""
        return self.segment_id

    @property
    def is_in_force(self) -> bool:
        """Whether passes are evaluated under the version."""
        return not self.archived

    @property
    def is_silent(self) -> bool:
        """Whether the transitions that this change causes are hidden by default."""
        return self.notify == SILENT


@dataclass(frozen=True, slots=True)
class SegmentVersion:
    """Version of a segment as readers see it.

    `members_after` is the number of members once all passes were evaluated under the version. None until then, and if a
    later version came first.
    """

    version: Version
    members_after: int | None


class DefinitionChange(Protocol):
    """Version of a definition by which passes are evaluated again when it comes into force."""

    @property
    def version(self) -> int:
        """The number of the version, from 1."""

    @property
    def is_in_force(self) -> bool:
        """Whether passes are evaluated under the version."""

    @property
    def is_silent(self) -> bool:
        """Whether the changes that the version causes are hidden by default."""


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """Version without its criteria: what a change of another definition has to know about it.

    `references` are the ids of the segments that the criteria name, and TIER_PROGRAM if they name the tier.
    `comparisons` are counted by `count_comparisons`. `archived` is true if nothing depends on the version any more.
    Versions of equal content have the same `digest`. `edit_id` is the id of the scheduled edit that became the version.
    """

    kind: DefinitionKind
    subject_id: str
    revision: int
    version: int
    timezone: str
    archived: bool
    at: datetime
    references: frozenset[str]
    comparisons: int
    digest: str
    edit_id: str | None = None


def find_references(criteria: Criteria) -> set[str]:
    """Return the ids of the segments that the criteria refer to, and TIER_PROGRAM if they refer to the tier."""
    found: set[str] = set()
    for leaf in iter_leaves(criteria):
        if isinstance(leaf, SegmentCriterion):
            found.add(leaf.segment_id)
        elif isinstance(leaf, PassCriterion) and leaf.field == "tier":
            found.add(TIER_PROGRAM)
    return found


class Circle(InvalidInput):
    """Refusal of definitions that refer to each other in a circle. `members` are their ids, the first one again last."""

    def __init__(self, members: Sequence[str], field: tuple[str, ...], names: Mapping[str, str] | None = None) -> None:
        self.members, self.field = members, field
        named = " -> ".join((names or {}).get(each, each) for each in members)
        who = "Segments and the tier program" if TIER_PROGRAM in members else "Segments"
        super().__init__(Code.CYCLE, f"{who} must not refer to each other in a circle: {named}. Remove one.", *field)

    def with_names(self, names: Mapping[str, str]) -> Circle:
        """Return the refusal with the names of segments, by id, in its message."""
        return Circle(self.members, self.field, names)


def sort_by_dependency(criteria: Mapping[str, Criteria]) -> list[str]:
    """Return the segment ids in an order in which each segment follows the segments that it refers to.

    Raises Circle.
    """
    return sort_by_references({key: find_references(tree) for key, tree in criteria.items()})


def sort_by_references(references: Mapping[str, Collection[str]], *path: str) -> list[str]:
    """Return the order of `sort_by_dependency`, given the ids that each segment, and the tier program, refers to.

    `path` names the argument at fault; "criteria" if it is empty. Raises Circle.
    """
    ordered: list[str] = []
    done: set[str] = set()

    def visit(segment_id: str, trail: Sequence[str]) -> None:
        if segment_id in trail:
            raise Circle((*trail[trail.index(segment_id) :], segment_id), path or ("criteria",))
        if segment_id in done or segment_id not in references:
            return
        for other in sorted(references[segment_id]):
            visit(other, (*trail, segment_id))
        done.add(segment_id)
        ordered.append(segment_id)

    for segment_id in references:
        visit(segment_id, ())
    return ordered


def parse_key(raw: object, *field: str) -> str:
    """Return the key of a segment unchanged: 1 to 64 small letters, digits, '_' or '-'. Raises InvalidInput."""
    if not isinstance(raw, str) or not _KEY.fullmatch(raw):
        raise InvalidInput(
            Code.INVALID,
            "Give 1 to 64 small letters, digits, '_' or '-', beginning with a letter or digit.",
            *field,
        )
    return raw
