"""Segments and their definitions: every version is kept, and a revision orders all changes of a workspace."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from app.domain.errors import Code, InvalidInput
from app.domain.state.measures import Measure
from app.domain.values.instants import to_ms

from .criteria import Criteria, EventCriterion, SegmentCriterion, leaves

MAX_LIVE_SEGMENTS = 200
_KEY = re.compile(r"[a-z0-9][a-z0-9_\-]{0,63}")
SILENT = "SILENT"
EMIT = "EMIT"


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as users see it: its labels, and the criteria of its latest version (made at revision `rev`)."""

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
        """ACTIVE or ARCHIVED."""
        return "ARCHIVED" if self.archived else "ACTIVE"


@dataclass(frozen=True)
class Version:
    """One version of a segment's definition: in force from revision `rev`, made at `at`."""

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
        """The instant at which passes are judged under it."""
        return to_ms(self.at)

    @property
    def silent(self) -> bool:
        """Whether the flips that this change itself causes are hidden by default."""
        return self.notify == SILENT


@dataclass(frozen=True)
class ActiveDefinitions:
    """What is in force at one revision: versions in dependency order, their leaves and their measures."""

    versions: tuple[Version, ...]
    timed: tuple[EventCriterion, ...]
    measures: tuple[Measure, ...]

    @cached_property
    def by_segment(self) -> Mapping[str, Version]:
        """The version in force of each segment."""
        return {version.segment_id: version for version in self.versions}

    @cached_property
    def measure_keys(self) -> frozenset[str]:
        """The keys of all measures kept under this revision."""
        return frozenset(measure.key for measure in self.measures)


class Definitions:
    """All versions of a workspace's segments, by revision; what was in force at any of them is compiled once."""

    def __init__(self, versions: Iterable[Version] = ()) -> None:
        self.versions = tuple(sorted(versions, key=lambda v: v.revision))
        self._active: dict[int, ActiveDefinitions] = {}

    @property
    def revision(self) -> int:
        """The highest revision; 0 where nothing was ever defined."""
        return self.versions[-1].revision if self.versions else 0

    def extended(self, versions: Iterable[Version]) -> Definitions:
        """These definitions and newer ones."""
        return Definitions((*self.versions, *versions))

    def after(self, rev: int) -> list[Version]:
        """The versions made after revision `rev`, oldest first."""
        return [version for version in self.versions if version.revision > rev]

    def revision_at(self, at_ms: int) -> int:
        """The highest revision made at or before an instant."""
        return max((version.revision for version in self.versions if version.at_ms <= at_ms), default=0)

    def latest(self, rev: int | None = None) -> dict[str, Version]:
        """The version of each segment in force at a revision (the highest, if omitted), archived ones included."""
        return {version.segment_id: version for version in self.versions if rev is None or version.revision <= rev}

    def active(self, rev: int) -> ActiveDefinitions:
        """What is in force at revision `rev`."""
        found = self._active.get(rev)
        if found is None:
            live = {key: version for key, version in self.latest(rev).items() if not version.archived}
            ordered = in_dependency_order({key: version.criteria for key, version in live.items()})
            versions = tuple(live[key] for key in ordered)
            timed = tuple(
                {leaf.to_dict().__repr__(): leaf for v in versions for leaf in leaves(v.criteria)
                 if isinstance(leaf, EventCriterion)}.values()
            )  # fmt: skip
            measures = {leaf.measure.key: leaf.measure for leaf in timed}
            found = self._active[rev] = ActiveDefinitions(versions, timed, tuple(measures.values()))
        return found


def references(criteria: Criteria) -> set[str]:
    """The ids of the segments that the criteria speak of."""
    return {leaf.segment_id for leaf in leaves(criteria) if isinstance(leaf, SegmentCriterion)}


def in_dependency_order(criteria: Mapping[str, Criteria]) -> list[str]:
    """The ids such that a segment comes after those it refers to. Raises InvalidInput CYCLE, naming the cycle's ids."""
    ordered: list[str] = []
    done: set[str] = set()

    def visit(key: str, trail: Sequence[str]) -> None:
        if key in trail:
            raise InvalidInput(
                Code.CYCLE, f"Segments refer to each other in a circle: {' -> '.join((*trail, key))}.", "criteria"
            )
        if key in done or key not in criteria:
            return
        for other in sorted(references(criteria[key])):
            visit(other, (*trail, key))
        done.add(key)
        ordered.append(key)

    for key in criteria:
        visit(key, ())
    return ordered


def parse_key(raw: object, *field: str) -> str:
    """The key of a segment: 1 to 64 small letters, digits, _ and -. Raises InvalidInput."""
    if not isinstance(raw, str) or not _KEY.fullmatch(raw):
        raise InvalidInput(
            Code.INVALID,
            "A key is 1 to 64 small letters, digits, '_' or '-', beginning with a letter or digit.",
            *field,
        )
    return raw
