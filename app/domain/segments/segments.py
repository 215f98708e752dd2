"""Segments and their definitions. A revision orders all changes of a workspace's definitions."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain.errors import Code, InvalidInput
from app.domain.values.instants import to_ms

from .criteria import Criteria, SegmentCriterion, iter_leaves

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
    def subject_id(self) -> str:
        """The id of the segment."""
        return self.segment_id

    @property
    def announces_backfill(self) -> bool:
        """Whether passes must be evaluated under the version at once: always."""
        return True

    @property
    def is_in_force(self) -> bool:
        """Whether passes are evaluated under the version."""
        return not self.archived

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
