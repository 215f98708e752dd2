"""Walk of one pass from the last instant evaluated to now. Each transition is emitted at its own instant.

This pure code is shared by the stages fold (with events), due (time alone) and backfill (new definitions). The walk
visits these instants in order:

- the creation of the pass;
- the effective instant of each event;
- each instant at which time alone changes something;
- each new revision of the definitions.

At each instant it applies what happened, evaluates the segments, and emits the transitions. (Source:
docs/explanation/segments-and-time.md, "The walk".)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.activities import ENTERED, LEFT, CauseKind, Entry
from app.domain.definitions import ActiveDefinitions, Definitions, DefinitionVersion
from app.domain.events.events import PASS_ERASED, PASS_MERGED, TOMBSTONES, Event
from app.domain.passes.passes import Erased, Membership, Pass, Profile
from app.domain.passes.profiles import FIELD_EVENTS
from app.domain.segments.causes import Step, collect_values, find_cause
from app.domain.segments.comparisons import MAX_WALK_COMPARISONS
from app.domain.segments.criteria import EventCriterion
from app.domain.segments.evaluation import EvaluationContext, earliest_change_ms, evaluate, joined_ms, next_change_ms
from app.domain.segments.segments import Version
from app.domain.state.measures import Window
from app.domain.values.decimals import ZERO
from app.domain.values.instants import to_ms

from .derived import Derived
from .entries import NewEntries
from .prefetch import WindowPage
from .timelines import build_timeline

LATE_CAUSES = frozenset({CauseKind.EVENT_REMOVED.value, CauseKind.PASS_MERGED.value})
"""Causes whose transitions are always late."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """Result of a walk: the pass, the new entries of its outbox, and the ids of the folded events.

    Events that are not folded stay pending.
    """

    card: Pass
    entries: tuple[Entry, ...]
    folded_ids: tuple[str, ...]


def advance(
    card: Pass,
    definitions: Definitions,
    events: Sequence[Event] = (),
    *,
    limit_ms: int,
    recorded_ms: int,
    has_more: bool = False,
    history: Sequence[Event] = (),
    pages: Mapping[str, WindowPage] | None = None,
    moved_ids: Collection[str] = (),
) -> Advanced:
    """Walk the pass to `limit_ms`, or to the last of `events` if that one lies later, and return the result.

    - `events`: pending events that are not counted yet.
    - `recorded_ms`: instant at which the worker runs, for the new entries.
    - `has_more`: more events are pending than these. The walk then stops at the last event that is on time; if none is,
      at the last event.
    - `history`, `pages`: all events that count already, and pages of windows, as `find_prefetch` asked for them.
    - `moved_ids`: those targets of tombstones in `events` that do not count in this pass yet, but that a merged pass
      published. Targets in `events` may be left out.
    """
    walk = _Walk(card, definitions, history=history, recorded_ms=recorded_ms, pages=pages or {})
    walk.moved_ids = {*moved_ids, *(event.id for event in events if event.move and event.move.was_published)}
    return walk.run(list(events), limit_ms, has_more)


class _Walk:
    """State of a pass during one walk."""

    def __init__(
        self,
        card: Pass,
        definitions: Definitions,
        history: Sequence[Event],
        recorded_ms: int,
        pages: Mapping[str, WindowPage],
    ) -> None:
        self.card = card
        self.definitions = definitions
        self.at_ms = card.evaluated_until_ms
        self.revision = card.revision
        self.members: dict[str, Membership] = dict(card.memberships)
        self.derived = Derived(card, history, pages)
        self.joined_ms = joined_ms(card)
        self.new_entries = NewEntries(card.last_activity, recorded_ms)
        self.active: ActiveDefinitions = definitions.active(self.revision)
        self.versions_before: Mapping[str, Version] = {}
        self.erased: Erased | None = None
        self.merged_into: str | None = None
        self.moved_ids: Collection[str] = ()
        self.comparisons_left = MAX_WALK_COMPARISONS

    def run(self, events: list[Event], limit_ms: int, has_more: bool) -> Advanced:
        start_ms = self.at_ms
        created_ms = to_ms(self.card.created_at)
        creation_ms = created_ms if start_ms < created_ms else None
        # Events that occurred before the creation of the pass count from its creation on.
        timeline = build_timeline(events, start_ms, created_ms if creation_ms is not None else start_ms)
        on_time = [at_ms for at_ms, _, event in timeline if start_ms < at_ms == event.occurred_ms]
        if has_more:
            limit_ms = max(on_time or [item[0] for item in timeline])
            timeline = [item for item in timeline if item[0] <= limit_ms]
        elif timeline:
            limit_ms = max(limit_ms, timeline[-1][0])
        if creation_ms is not None:
            limit_ms = max(limit_ms, created_ms)
            self.revision = max(self.revision, self.definitions.revision_at(creation_ms))
            self.active = self.definitions.active(self.revision)
        revisions = self.definitions.after(self.revision)
        index = 0
        # A walk that stops early leaves the pass due, behind, or with pending events: the next round continues.
        while not (self._is_erased_or_merged() or self._has_exhausted_window() or self.comparisons_left <= 0):
            due_ms = None
            if creation_ms is not None:
                at_ms = creation_ms
            else:
                at_ms = timeline[index][0] if index < len(timeline) else limit_ms + 1
                if revisions:
                    at_ms = min(at_ms, max(revisions[0].at_ms, self.at_ms))
                due_ms = self._find_next_due(at_ms)
                if due_ms is not None:
                    at_ms = min(at_ms, due_ms)
            if at_ms > limit_ms:
                break
            at_ms = max(at_ms, self.at_ms)
            counting: list[Event] = []
            tombstones: list[Event] = []
            while index < len(timeline) and timeline[index][0] <= at_ms:
                event = timeline[index][2]
                (tombstones if event.type in TOMBSTONES else counting).append(event)
                index += 1
            has_revision = any(max(each.at_ms, self.at_ms) <= at_ms for each in revisions[:1])
            if counting or at_ms in (creation_ms, due_ms) or not (has_revision or tombstones):
                self._evaluate_step(Step(at_ms, self._snapshot(at_ms), counting, is_creation=at_ms == creation_ms))
                creation_ms = None
            if tombstones:
                self._remove(at_ms, tombstones)
            while not self._is_erased_or_merged() and revisions and revisions[0].at_ms <= at_ms:
                if self.comparisons_left <= 0:
                    break
                version = revisions.pop(0)
                if isinstance(version, Version):
                    self._evaluate_step(Step(at_ms, self._snapshot(at_ms), version=version))
                else:
                    self._apply_revision(version, at_ms)
        folded_ids = tuple(event.id for _, _, event in timeline[:index])
        return Advanced(self._build_pass(), tuple(self.new_entries.entries), folded_ids)

    def _build_pass(self) -> Pass:
        derived = self.derived
        if self._is_erased_or_merged():
            ended = replace(
                self.card,
                evaluated_until_ms=self.at_ms,
                last_activity=self.new_entries.last_number,
                points=ZERO,
                aggregates={},
                measures={},
                memberships={},
                lots=None,
                next_due_ms=None,
                tier=None,
            )
            if self.erased is None:
                return replace(ended, alias_of=self.merged_into)
            return replace(ended, initial_profile=Profile(), profile=Profile(), installed_at=None, erased=self.erased)
        return replace(
            self.card,
            evaluated_until_ms=self.at_ms,
            revision=self.revision,
            last_activity=self.new_entries.last_number,
            profile=derived.profile,
            points=derived.points_account.balance,
            lots=derived.points_account.lots,
            aggregates=derived.aggregates,
            measures=derived.states,
            memberships=self.members,
            next_due_ms=self.at_ms if self._has_exhausted_window() else self._find_next_due(),
            updated_at=derived.updated_at,
        )

    def _is_erased_or_merged(self) -> bool:
        return self.erased is not None or self.merged_into is not None

    def _has_exhausted_window(self) -> bool:
        """Return whether the list of a window is empty while more events follow in the window.

        The walk then stops, and the pass is due at once: the next round reads the next events of the window.
        """
        for measure in self.active.measures:
            state = self.derived.states.get(measure.key)
            if isinstance(state, Window) and state.has_more and not state.instants:
                return True
        return False

    def _find_next_due(self, by_ms: int | None = None) -> int | None:
        """Return the next instant at which a result may change, or points expire, by time alone; None for never.

        With `by_ms`, the result is exact only if it lies at or before `by_ms`. This is faster.
        """
        context = self._context(self.at_ms)
        leaves: Iterable[EventCriterion] = self.active.event_criteria
        if by_ms is not None:
            lower_bounds = ((leaf, earliest_change_ms(leaf, context)) for leaf in leaves)
            leaves = [leaf for leaf, at in lower_bounds if at is not None and at <= by_ms]
        change = min((at for leaf in leaves if (at := next_change_ms(leaf, context)) is not None), default=None)
        expiry = self.derived.points_account.next_expiry_ms()
        return (
            min(change, expiry) if change is not None and expiry is not None else change if expiry is None else expiry
        )

    def _context(self, at_ms: int) -> EvaluationContext:
        derived = self.derived
        return EvaluationContext(
            at_ms,
            derived.states,
            self.members,
            card=self.card,
            profile=derived.profile,
            points=derived.points_account.balance,
            joined_ms=self.joined_ms,
        )

    def _snapshot(self, at_ms: int) -> EvaluationContext:
        """Return a copy of the present context, which later steps do not change."""
        context = self._context(at_ms)
        context.states, context.members = dict(context.states), dict(context.members)
        return context

    def _evaluate_step(self, step: Step) -> None:
        """Apply what happened in the step, evaluate all segments, and emit the transitions."""
        at_ms, version = step.at_ms, step.version
        self.versions_before = self.active.by_segment
        if expired := self.derived.expire_points(at_ms):
            self.new_entries.report_expiries(expired, at_ms)
            step = replace(step, aged_points=self.derived.points_account.balance)
        for event in step.events:
            self.derived.apply(event, self.active.measures, at_ms)
            self.new_entries.report_event(event, at_ms)
        if expired := self.derived.count_points(step.events, at_ms, self.at_ms):
            self.new_entries.report_expiries(expired, at_ms)
        if version is not None:
            self._apply_revision(version, at_ms)
        self.at_ms = at_ms
        self.derived.expire_windows(self.active.measures, at_ms)
        if version is not None:
            for archived_id in [segment_id for segment_id in self.members if segment_id not in self.active.by_segment]:
                del self.members[archived_id]
                self._emit_transition(version, False, step)
        context = self._context(at_ms)
        self.comparisons_left -= self.active.comparisons * (1 + len(step.events))
        for evaluated in self.active.versions:
            is_member = evaluate(evaluated.criteria, context)
            if is_member != (evaluated.segment_id in self.members):
                if is_member:
                    membership = Membership(evaluated.segment_id, at_ms, self.revision, cause={})
                    self.members[evaluated.segment_id] = membership
                else:
                    del self.members[evaluated.segment_id]
                self._emit_transition(evaluated, is_member, step)

    def _remove(self, at_ms: int, tombstones: Sequence[Event]) -> None:
        """Apply all tombstones of one instant together. The target of a tombstone may never have counted."""
        before = self._snapshot(at_ms)
        targets = [tombstone.removes for tombstone in tombstones if tombstone.removes is not None]
        removed = self.derived.remove_events(set(targets), self.active.measures, at_ms)
        removed_ids = dict.fromkeys(event.id for event in removed)
        # Events that were to count here after a merge. They never did, but the merged pass published them.
        moved_ids = [target for target in targets if target in self.moved_ids and target not in removed_ids]
        self.new_entries.report_removals([*removed_ids, *moved_ids], at_ms)
        if any(event.type in FIELD_EVENTS for event in removed):
            self.derived.updated_at = max(self.derived.updated_at, *(t.recorded_at for t in tombstones))
        self._evaluate_step(Step(at_ms, before, removed=removed))
        survivors = [tombstone.into for tombstone in tombstones if tombstone.type == PASS_MERGED]
        if any(tombstone.type == PASS_ERASED for tombstone in tombstones):
            rows = self.derived.aggregates.values()
            self.erased = Erased(at_ms, sum(row.count for row in rows), len(rows), segments=tuple(self.members))
            self._leave_all_segments(Step(at_ms, self._snapshot(at_ms), is_erasure=True))
            self.new_entries.report_end(at_ms, survivor_id=None)
        elif survivors:
            self.merged_into = survivors[0]
            self._leave_all_segments(Step(at_ms, self._snapshot(at_ms), is_merge=True))
            self.new_entries.report_end(at_ms, self.merged_into)

    def _leave_all_segments(self, step: Step) -> None:
        self.versions_before = self.active.by_segment
        for segment_id in list(self.members):
            del self.members[segment_id]
            self._emit_transition(self.active.by_segment[segment_id], False, step)

    def _apply_revision(self, version: DefinitionVersion, at_ms: int) -> None:
        keys_before = self.active.measure_keys
        self.revision = version.revision
        self.active = self.definitions.active(self.revision)
        self.derived.drop_measures(keys_before - self.active.measure_keys)
        for measure in self.active.measures:
            if measure.key not in keys_before:
                self.comparisons_left -= len(self.derived.counted)
                self.derived.begin_measure(measure, at_ms)

    def _emit_transition(self, evaluated: Version, is_member: bool, step: Step) -> None:
        at_ms, context, version = step.at_ms, self._context(step.at_ms), step.version
        cause, event = find_cause(evaluated, is_member, step, context)
        if is_member:
            self.members[evaluated.segment_id] = replace(self.members[evaluated.segment_id], cause=cause)
        # The values before: without the events of this instant, or 1 ms earlier if time alone caused the transition.
        before = replace(step.before, at_ms=at_ms - 1) if cause["kind"] == CauseKind.TIME.value else step.before
        version_before = self.versions_before.get(evaluated.segment_id)
        refs = {
            "segment": evaluated.segment_id,
            "version": evaluated.version,
            # The activities of an erased pass hold no measured values, because they may be personal.
            "before": () if version_before is None or step.is_erasure else collect_values(version_before, before),
            "after": () if step.is_erasure else collect_values(evaluated, context),
        }
        is_creation = cause["kind"] == CauseKind.PASS_CREATED.value
        is_historical = self.card.historical if is_creation else event is not None and event.historical
        self.new_entries.add(
            ENTERED if is_member else LEFT, at_ms, cause, refs,
            late=cause["kind"] in LATE_CAUSES or (event is not None and event.occurred_ms < at_ms),
            silent=version is not None and version.is_silent,
            historical=is_historical,
        )  # fmt: skip
