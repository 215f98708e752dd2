"""Segments and their definitions. A revision orders all changes of a workspace's definitions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from app.domain.errors import Code, InvalidInput
from app.domain.passes.passes import Pass
from app.domain.state.measures import Measure
from app.domain.values.instants import to_ms

from .comparisons import MAX_WALK_COMPARISONS, count_comparisons
from .criteria import Criteria, EventCriterion, SegmentCriterion, iter_leaves

MAX_LIVE_SEGMENTS = 200
_KEY = re.compile(r"[a-z0-9][a-z0-9_\-]{0,63}")
SILENT = "SILENT"
EMIT = "EMIT"


@dataclass(frozen=True, slots=True)
class Segment:
    """Segment with its labels, and the criteria of its latest version. `revision` is that of the latest version."""

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

    @property
    def status(self) -> str:
        """The status: ACTIVE or ARCHIVED."""
        return "ARCHIVED" if self.archived else "ACTIVE"


@dataclass(frozen=True)
class Version:
    """Version of a segment's definition, created at the instant `at`. It is in force from its revision on."""

    segment_id: str
    revision: int
    version: int
    criteria: Criteria
    timezone: str
    archived: bool
    notify: str
    at: datetime

    @property
    def at_ms(self) -> int:
        """The instant from which passes are evaluated under the version, in ms."""
        return to_ms(self.at)

    @property
    def is_silent(self) -> bool:
        """Whether the transitions that this change causes are hidden by default."""
        return self.notify == SILENT


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """Version without its criteria: what a change of another segment has to know about it.

    `references` are the ids of the segments that the criteria name. `comparisons` are counted by `count_comparisons`.
    Equal criteria have the same `digest`.
    """

    segment_id: str
    revision: int
    version: int
    timezone: str
    archived: bool
    at: datetime
    references: frozenset[str]
    comparisons: int
    digest: str


@dataclass(frozen=True)
class ActiveDefinitions:
    """Definitions in force at one revision, in dependency order, with their event criteria and measures."""

    versions: tuple[Version, ...]
    event_criteria: tuple[EventCriterion, ...]
    measures: tuple[Measure, ...]

    @cached_property
    def by_segment(self) -> Mapping[str, Version]:
        """The version in force, by segment id."""
        return {version.segment_id: version for version in self.versions}

    @cached_property
    def comparisons(self) -> int:
        """The comparisons that one evaluation of a pass takes."""
        return sum(count_comparisons(version.criteria) for version in self.versions)

    @property
    def events_per_walk(self) -> int:
        """The number of events after which a walk stops."""
        return max(1, MAX_WALK_COMPARISONS // max(1, self.comparisons))

    @cached_property
    def measure_keys(self) -> frozenset[str]:
        """The keys of all measures that a pass stores under this revision."""
        return frozenset(measure.key for measure in self.measures)


class Definitions:
    """Versions of a workspace's segments, with a cache of the definitions in force at each revision.

    They are complete from the revision `complete_from` on; of earlier ones, only those still in force there are kept.
    """

    def __init__(self, versions: Iterable[Version] = (), complete_from: int = 0) -> None:
        self.versions = tuple(sorted(versions, key=lambda v: v.revision))
        self.complete_from = complete_from
        self._active: dict[int, ActiveDefinitions] = {}

    @property
    def revision(self) -> int:
        """The highest revision; 0 if the workspace never defined a segment."""
        return self.versions[-1].revision if self.versions else 0

    def extended(self, versions: Iterable[Version]) -> Definitions:
        """Return these definitions together with newer ones."""
        return Definitions((*self.versions, *versions), self.complete_from)

    def compacted(self, revision: int) -> Definitions:
        """Return the definitions that passes need which were evaluated under this revision or a later one."""
        in_force = self.latest(revision).values()
        kept = (*in_force, *self.after(revision))
        if len(kept) == len(self.versions):
            return self
        return Definitions(kept, max(self.complete_from, revision))

    def serve(self, card: Pass) -> bool:
        """Return whether no version is missing that a walk of the pass needs."""
        if card.revision >= self.complete_from:
            return True
        # The walk of a new pass begins with the definitions that were in force when the pass was created.
        created_ms = to_ms(card.created_at)
        return card.evaluated_until_ms < created_ms and self.revision_at(created_ms) >= self.complete_from

    def after(self, revision: int) -> list[Version]:
        """Return the versions with a higher revision, oldest first."""
        return [version for version in self.versions if version.revision > revision]

    def revision_at(self, at_ms: int) -> int:
        """Return the highest revision that was created at or before an instant."""
        return max((version.revision for version in self.versions if version.at_ms <= at_ms), default=0)

    def latest(self, revision: int | None = None) -> dict[str, Version]:
        """Return the latest version of each segment, archived ones included, by segment id.

        Versions with a higher revision than `revision` are left out.
        """
        return {
            version.segment_id: version for version in self.versions if revision is None or version.revision <= revision
        }

    @property
    def latest_active(self) -> ActiveDefinitions:
        """The definitions in force at the highest revision."""
        return self.active(self.revision)

    def active(self, revision: int) -> ActiveDefinitions:
        """Return the definitions in force at a revision."""
        found = self._active.get(revision)
        if found is None:
            live = {key: version for key, version in self.latest(revision).items() if not version.archived}
            ordered = sort_by_dependency({key: version.criteria for key, version in live.items()})
            versions = tuple(live[key] for key in ordered)
            event_criteria = tuple(
                {(leaf.meaning, repr(leaf.to_dict())): leaf for v in versions for leaf in iter_leaves(v.criteria)
                 if isinstance(leaf, EventCriterion)}.values()
            )  # fmt: skip
            measures = {leaf.measure.key: leaf.measure for leaf in event_criteria}
            found = ActiveDefinitions(versions, event_criteria, tuple(measures.values()))
            self._active[revision] = found
        return found


def find_references(criteria: Criteria) -> set[str]:
    """Return the ids of the segments that the criteria refer to."""
    return {leaf.segment_id for leaf in iter_leaves(criteria) if isinstance(leaf, SegmentCriterion)}


def sort_by_dependency(criteria: Mapping[str, Criteria]) -> list[str]:
    """Return the segment ids in an order in which each segment follows the segments that it refers to.

    Raises InvalidInput: CYCLE, with the ids of the cycle in its message.
    """
    return sort_by_references({key: find_references(tree) for key, tree in criteria.items()})


def sort_by_references(references: Mapping[str, Collection[str]]) -> list[str]:
    """Return the order of `sort_by_dependency`, given the ids that each segment refers to."""
    ordered: list[str] = []
    done: set[str] = set()

    def visit(segment_id: str, trail: Sequence[str]) -> None:
        if segment_id in trail:
            circle = " -> ".join((*trail, segment_id))
            raise InvalidInput(
                Code.CYCLE, f"Segments must not refer to each other in a circle: {circle}. Remove one.", "criteria"
            )
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
