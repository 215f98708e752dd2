"""One instant of a walk: what happens at it, in order.

1. Points whose end has come leave the balance.
2. Events count, a correction after the event that it corrects.
3. The segments are evaluated.
4. Tombstones remove, and the segments are evaluated again.
5. The revisions of the instant come into force: a version does not see the events of its instant.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.definitions import DefinitionVersion
from app.domain.events.events import PASS_ERASED, PASS_MERGED, Event
from app.domain.passes.passes import Erased
from app.domain.passes.profiles import FIELD_EVENTS
from app.domain.segments.causes import Step
from app.domain.segments.segments import Version

from .walk import Walk


def count_events(walk: Walk, at_ms: int, events: Sequence[Event], *, is_creation: bool = False) -> None:
    """Let time pass to the instant, count the events of it, and evaluate all segments."""
    _run(walk, Step(at_ms, walk.snapshot(at_ms), events, is_creation=is_creation))


def remove_events(walk: Walk, at_ms: int, tombstones: Sequence[Event]) -> None:
    """Apply all tombstones of one instant together. The target of a tombstone may never have counted."""
    before = walk.snapshot(at_ms)
    derived, entries = walk.derived, walk.new_entries
    targets = [tombstone.removes for tombstone in tombstones if tombstone.removes is not None]
    removed = derived.remove_events(set(targets), walk.active.measures, at_ms)
    removed_ids = dict.fromkeys(event.id for event in removed)
    # Events that were to count here after a merge. They never did, but the merged pass published them.
    moved_ids = [target for target in targets if target in walk.moved_ids and target not in removed_ids]
    entries.report_removals([*removed_ids, *moved_ids], at_ms)
    if any(event.type in FIELD_EVENTS for event in removed):
        derived.updated_at = max(derived.updated_at, *(t.recorded_at for t in tombstones))
    _run(walk, Step(at_ms, before, removed=removed))
    survivors = [tombstone.into for tombstone in tombstones if tombstone.type == PASS_MERGED]
    if any(tombstone.type == PASS_ERASED for tombstone in tombstones):
        rows = [*derived.aggregates.values(), *derived.made_aggregates.values()]
        walk.erased = Erased(at_ms, sum(row.count for row in rows), len(rows), segments=tuple(walk.members))
        walk.leave_all_segments(Step(at_ms, walk.snapshot(at_ms), is_erasure=True))
        entries.report_end(at_ms, survivor_id=None)
    elif survivors:
        walk.merged_into = survivors[0]
        walk.leave_all_segments(Step(at_ms, walk.snapshot(at_ms), is_merge=True))
        entries.report_end(at_ms, walk.merged_into)


def apply_version(walk: Walk, at_ms: int, version: DefinitionVersion) -> None:
    """Put a version into force at the instant. Evaluate all segments under a version of a segment."""
    if isinstance(version, Version):
        _run(walk, Step(at_ms, walk.snapshot(at_ms), version=version))
    else:
        walk.apply_revision(version, at_ms)


def _run(walk: Walk, step: Step) -> None:
    """Apply what happened in the step, evaluate all segments, and emit the transitions."""
    walk.versions_before = walk.active.by_segment
    step = walk.pass_time(step)
    walk.count(step.events, step.at_ms)
    if step.version is not None:
        walk.apply_revision(step.version, step.at_ms)
    walk.evaluate(step)
