"""One instant of a walk: what happens at it, in order.

1. A tier whose period ends is decided, with what held 1 ms before. Then points whose end has come leave the balance, and
   pending points enter it.
2. Unguarded events count, a correction after the event that it corrects. A correction is decided as it counts. Then the
   differences that corrections make, and the effects that retries make, count.
3. The segments and the tier program are evaluated, each after those that its criteria name.
4. Rules are asked about the events, the transitions and changes of the tier, and about the balance.
5. What they made counts, and 3 and 4 run for it, until nothing fires.
6. Guarded events are decided one by one, each followed by its corrections; after each that is accepted, 3 to 5 run.
7. Tombstones remove, and the differences of their families are made; then 3 to 5 run.
8. The revisions of the instant come into force: a version does not see the events of its instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.domain.definitions import DefinitionVersion
from app.domain.events.events import PASS_ERASED, PASS_MERGED, Event
from app.domain.passes.passes import Erased
from app.domain.passes.profiles import UPDATES
from app.domain.rules.occurrences import Happened, is_of_merge
from app.domain.segments.causes import Step
from app.domain.segments.segments import Version
from app.domain.segments.workspace_versions import WorkspaceVersion
from app.domain.tiers.programs import TierProgramVersion

from .asking import Asking
from .checkouts import checkout_differences, checkout_differences_of_removals
from .deciding import decide
from .families import differences_of, differences_of_events
from .retries import make_retried_effects
from .walk import Walk


def count_events(walk: Walk, asking: Asking, at_ms: int, events: Sequence[Event], *, is_creation: bool = False) -> None:
    """Let time pass to the instant, count the unguarded events of it, evaluate all segments, and ask the rules.

    The corrections among the events are decided.
    """
    step = _begin(walk, Step(at_ms, walk.snapshot(at_ms), events, is_creation=is_creation))
    counted = [accepted for event in events if (accepted := _count(walk, at_ms, event)) is not None]
    walk.count_points(counted, at_ms)
    # Most instants decide nothing, and `replace` takes a tenth of their time.
    _count_what_follows(walk, asking, at_ms, step if counted == events else replace(step, events=counted))


def decide_events(walk: Walk, asking: Asking, at_ms: int, events: Sequence[Event]) -> None:
    """Decide guarded events and their corrections one by one. After each that counts, evaluate and ask the rules."""
    for event in events:
        step = Step(at_ms, walk.snapshot(at_ms))
        walk.note_definitions()
        accepted = _count(walk, at_ms, event)
        if accepted is None:
            continue
        walk.count_points([accepted], at_ms)
        decision = walk.decisions.get(event.id)
        if decision is not None and decision.balance is not None:
            walk.decisions[event.id] = replace(decision, balance=walk.balance)
        _count_what_follows(walk, asking, at_ms, replace(step, events=[accepted]))


def _count(walk: Walk, at_ms: int, event: Event) -> Event | None:
    """Count an event, apart from its points, and return it as it counts; None if it is declined.

    An event that a merged pass declined stays declined, and was published there.
    """
    accepted: Event | None = event
    if event.guard is not None or event.correction_of is not None:
        accepted = None if event.outcome.is_declined else decide(walk, event, at_ms)
    if accepted is not None:
        walk.apply(accepted, at_ms)
    return accepted


def _count_what_follows(walk: Walk, asking: Asking, at_ms: int, step: Step) -> None:
    """Count what the walk makes for the step's events, which have counted, evaluate all segments, and ask the rules."""
    events = step.events
    differences = walk.count_made(checkout_differences(walk, at_ms, events), at_ms)
    differences += walk.count_made(differences_of_events(walk, at_ms, events), at_ms)
    differences += walk.count_made(make_retried_effects(walk, at_ms, events), at_ms)
    if differences:
        step = replace(step, events=(*events, *differences))
    transitions = walk.evaluate(step)
    is_merge = bool(events) and all(map(is_of_merge, events))
    _ask(walk, asking, at_ms, Happened(step.events, transitions, is_merge=is_merge))


def remove_events(walk: Walk, asking: Asking, at_ms: int, tombstones: Sequence[Event]) -> None:
    """Apply all tombstones of one instant together. The target of a tombstone may never have counted."""
    before = walk.snapshot(at_ms)
    derived, entries = walk.derived, walk.new_entries
    targets = [tombstone.removes for tombstone in tombstones if tombstone.removes is not None]
    removed = derived.remove_events(set(targets), walk.active.measures, at_ms)
    removed_ids = dict.fromkeys(event.id for event in removed)
    # Events that were to count here after a merge. They never did, but the merged pass published them.
    moved_ids = [target for target in targets if target in walk.moved_ids and target not in removed_ids]
    entries.report_removals([*removed_ids, *moved_ids], at_ms)
    if any(event.type in UPDATES for event in removed):
        derived.updated_at = max(derived.updated_at, *(t.recorded_at for t in tombstones))
    step = _begin(walk, Step(at_ms, before, removed=removed))
    walk.count_points((), at_ms)
    tombstone_ids = {tombstone.removes: tombstone.id for tombstone in tombstones}
    causes = {event.family: tombstone_ids[event.id] for event in removed}
    differences = walk.count_made(checkout_differences_of_removals(walk, at_ms, causes), at_ms)
    differences += walk.count_made(differences_of(walk, at_ms, causes), at_ms)
    transitions = walk.evaluate(step)
    survivors = [tombstone.into for tombstone in tombstones if tombstone.type == PASS_MERGED]
    is_erased = any(tombstone.type == PASS_ERASED for tombstone in tombstones)
    if not (is_erased or survivors):
        _ask(walk, asking, at_ms, Happened(differences, transitions))
    elif is_erased:
        rows = [*derived.aggregates.values(), *derived.made_aggregates.values()]
        walk.erased = Erased(at_ms, sum(row.count for row in rows), len(rows), segments=tuple(walk.members))
        walk.leave_all_segments(Step(at_ms, walk.snapshot(at_ms), is_erasure=True))
        entries.report_end(at_ms, survivor_id=None)
    else:
        walk.merged_into, walk.tier_for_survivor = survivors[0], walk.tier.present
        walk.leave_all_segments(Step(at_ms, walk.snapshot(at_ms), is_merge=True))
        entries.report_end(at_ms, walk.merged_into)


def apply_version(walk: Walk, asking: Asking, at_ms: int, version: DefinitionVersion) -> None:
    """Put a version into force at the instant. Evaluate all segments and the tier, unless it is of a rule or reward."""
    if not isinstance(version, Version | TierProgramVersion | WorkspaceVersion):
        walk.apply_revision(version, at_ms)
        # An event that occurred before the version and comes after it is late: it counts under the version.
        walk.reach(at_ms)
        # A rule that is new to the pass compares with the balance of now.
        walk.note_asked()
        return
    step = _begin(walk, Step(at_ms, walk.snapshot(at_ms), version=version))
    walk.count_points((), at_ms)
    walk.apply_revision(version, at_ms)
    transitions = walk.evaluate(step)
    fires_rules = isinstance(version, Version) and version.fires_rules
    _ask(walk, asking, at_ms, Happened(transitions=transitions, fires_rules=fires_rules))


def _begin(walk: Walk, step: Step) -> Step:
    """Let time pass to the instant of the step."""
    walk.note_definitions()
    return walk.pass_time(walk.end_tier_period(step))


def _ask(walk: Walk, asking: Asking, at_ms: int, happened: Happened) -> None:
    """Ask the rules what they make, count it, and ask again about that, until nothing fires."""
    depth = 1
    if tier_changes := walk.tier.take_changes():
        happened = replace(happened, tier_changes=tier_changes)
    while made := asking.ask(happened, at_ms, depth):
        before = walk.snapshot(at_ms)
        walk.note_definitions()
        counted = walk.count_made(made, at_ms)
        transitions = walk.evaluate(Step(at_ms, before, counted))
        happened, depth = Happened(counted, transitions, walk.tier.take_changes()), depth + 1
    walk.note_asked()
