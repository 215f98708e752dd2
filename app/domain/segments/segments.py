"""Segments and their definitions. All versions are kept; a revision orders all changes of a workspace's definitions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from app.domain.errors import Code, InvalidInput
from app.domain.state.measures import Measure
from app.domain.values.instants import to_ms

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
    def measure_keys(self) -> frozenset[str]:
        """The keys of all measures that a pass stores under this revision."""
        return frozenset(measure.key for measure in self.measures)


class Definitions:
    """All versions of a workspace's segments, with a cache of the definitions in force at each revision."""

    def __init__(self, versions: Iterable[Version] = ()) -> None:
        self.versions = tuple(sorted(versions, key=lambda v: v.revision))
        self._active: dict[int, ActiveDefinitions] = {}

    @property
    def revision(self) -> int:
        """The highest revision; 0 if the workspace never defined a segment."""
        return self.versions[-1].revision if self.versions else 0

    def extended(self, versions: Iterable[Version]) -> Definitions:
        """Return these definitions together with newer ones."""
        return Definitions((*self.versions, *versions))

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

    def active(self, revision: int) -> ActiveDefinitions:
        """Return the definitions in force at a revision."""
        found = self._active.get(revision)
        if found is None:
            live = {key: version for key, version in self.latest(revision).items() if not version.archived}
            ordered = sort_by_dependency({key: version.criteria for key, version in live.items()})
            versions = tuple(live[key] for key in ordered)
            event_criteria = tuple(
                {leaf.to_dict().__repr__(): leaf for v in versions for leaf in iter_leaves(v.criteria)
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
    ordered: list[str] = []
    done: set[str] = set()

    def visit(segment_id: str, trail: Sequence[str]) -> None:
        if segment_id in trail:
            circle = " -> ".join((*trail, segment_id))
            raise InvalidInput(
                Code.CYCLE, f"Segments must not refer to each other in a circle: {circle}. Remove one.", "criteria"
            )
        if segment_id in done or segment_id not in criteria:
            return
        for other in sorted(find_references(criteria[segment_id])):
            visit(other, (*trail, segment_id))
        done.add(segment_id)
        ordered.append(segment_id)

    for segment_id in criteria:
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
