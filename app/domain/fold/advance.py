"""Advance: one pass walked from the last instant it was judged at to now, every flip emitted at its own instant.

Pure, and shared by the fold (with events), the due pump (time alone) and the stale pump (new definitions). The walk
visits, in order: the creation of the pass, each event at its effective instant, each instant at which a verdict can flip
by itself, each new revision. At each it applies, judges, and emits. (Source: docs/explanation/exactly-once.md.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from app.domain.activities import DELETED, ENTERED, LEFT, POINTS_EXPIRED, UPDATED, CauseKind, Entry, type_of
from app.domain.events.events import PASS_ERASED, PASS_MERGED, TOMBSTONES, Event
from app.domain.passes.passes import Erased, Membership, Pass, Profile
from app.domain.passes.profiles import FIELD_EVENTS
from app.domain.segments.causes import Step, collect_values, find_cause
from app.domain.segments.criteria import EventCriterion
from app.domain.segments.evaluation import EvaluationContext, earliest_change_ms, evaluate, joined_ms, next_change_ms
from app.domain.segments.segments import ActiveDefinitions, Definitions, Version
from app.domain.state.measures import Window
from app.domain.state.points import ExpiredLot
from app.domain.values.decimals import ZERO
from app.domain.values.instants import to_ms

from .derived import Derived
from .prefetch import WindowPage
from .timelines import build_timeline

REMOVING = frozenset({CauseKind.EVENT_REMOVED.value, CauseKind.PASS_MERGED.value})


@dataclass(frozen=True, slots=True)
class Advanced:
    """The pass as it becomes, what goes to its outbox, and which events were folded (the others stay pending)."""

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
) -> Advanced:
    """The pass walked to `limit_ms`, or to the last event taken if that lies later.

    `events` are pending and not yet counted; `has_more` says that more are pending than are given, which stops the walk at the
    last of them. `history` (all events that count already) and `pages` are what `needs` asked for.
    """
    walk = _Walk(card, definitions, history, recorded_ms, pages or {})
    return walk.run(list(events), limit_ms, has_more)


class _Walk:
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
        self.recorded_ms = recorded_ms
        self.at_ms = card.evaluated_until_ms
        self.n = card.last_activity
        self.rev = card.revision
        self.members: dict[str, Membership] = dict(card.memberships)
        self.derived = Derived(card, history, pages)
        self.joined_ms = joined_ms(card)
        self.entries: list[Entry] = []
        self.active: ActiveDefinitions = definitions.active(self.rev)
        self.earlier: Mapping[str, Version] = {}
        self.erased: Erased | None = None
        self.merged: str | None = None

    def run(self, events: list[Event], limit_ms: int, has_more: bool) -> Advanced:
        start = self.at_ms
        created = to_ms(self.card.created_at)
        creation = created if start < created else None
        # Nothing happens to a pass before it exists: what occurred earlier counts from its creation on.
        timeline = build_timeline(events, start, created if creation is not None else start)
        on_time = [item[0] for item in timeline if item[0] == item[1] and item[1] > start]
        if has_more:
            limit_ms = max(on_time or [item[0] for item in timeline])
            timeline = [item for item in timeline if item[0] <= limit_ms]
        elif timeline:
            limit_ms = max(limit_ms, timeline[-1][0])
        if creation is not None:
            limit_ms = max(limit_ms, created)
            self.rev = max(self.rev, self.definitions.revision_at(creation))
            self.active = self.definitions.active(self.rev)
        revisions = self.definitions.after(self.rev)
        place = 0
        while not self._ended():
            due = None
            if creation is not None:
                at = creation
            else:
                at = timeline[place][0] if place < len(timeline) else limit_ms + 1
                if revisions:
                    at = min(at, max(revisions[0].at_ms, self.at_ms))
                due = self._due(at)
                if due is not None:
                    at = min(at, due)
            if at > limit_ms:
                break
            at = max(at, self.at_ms)
            happened: list[Event] = []
            tombstones: list[Event] = []
            while place < len(timeline) and timeline[place][0] <= at:
                event = timeline[place][3]
                (tombstones if event.type in TOMBSTONES else happened).append(event)
                place += 1
            revised = any(max(version.at_ms, self.at_ms) <= at for version in revisions[:1])
            if happened or at in (creation, due) or not (revised or tombstones):
                self._judge(Step(at, self._before(at), happened, created=at == creation))
                creation = None
            if tombstones:
                self._remove(at, tombstones)
            while not self._gone() and revisions and revisions[0].at_ms <= at:
                self._judge(Step(at, self._before(at), version=revisions.pop(0)))
        taken = tuple(item[3].id for item in timeline[:place])
        return Advanced(self._card(), tuple(self.entries), taken)

    def _card(self) -> Pass:
        derived = self.derived
        if self.erased is not None:
            return replace(
                self.card, evaluated_until_ms=self.at_ms, last_activity=self.n, initial_profile=Profile(), profile=Profile(), installed_at=None, points=ZERO,
                aggregates={}, measures={}, memberships={}, lots=None, next_due_ms=None, tier=None, erased=self.erased,
            )  # fmt: skip
        if self.merged is not None:
            return replace(
                self.card, evaluated_until_ms=self.at_ms, last_activity=self.n, points=ZERO, aggregates={}, measures={}, memberships={}, lots=None,
                next_due_ms=None, tier=None, alias_of=self.merged,
            )  # fmt: skip
        return replace(
            self.card,
            evaluated_until_ms=self.at_ms,
            revision=self.rev,
            last_activity=self.n,
            profile=derived.profile,
            points=derived.points_account.balance,
            lots=derived.points_account.lots,
            aggregates=derived.aggregates,
            measures=derived.states,
            memberships=self.members,
            next_due_ms=self.at_ms if self._starved() else self._due(),
            updated_at=derived.updated_at,
        )

    def _ended(self) -> bool:
        return self._gone() or self._starved()

    def _gone(self) -> bool:
        """Whether the pass is none of its own any more."""
        return self.erased is not None or self.merged is not None

    def _starved(self) -> bool:
        """Whether a window's list of leavers has ended while more follow: the walk stops here and is asked again."""
        for measure in self.active.measures:
            state = self.derived.states.get(measure.key)
            if isinstance(state, Window) and state.has_more and not state.instants:
                return True
        return False

    def _due(self, by_ms: int | None = None) -> int | None:
        """The next instant at which a verdict can flip or points end by themselves.

        Given `by_ms`, whatever lies later may be None.
        """
        frame = self._frame(self.at_ms)
        timed: Iterable[EventCriterion] = self.active.timed
        if by_ms is not None:
            soonest = ((leaf, earliest_change_ms(leaf, frame)) for leaf in timed)
            timed = [leaf for leaf, at in soonest if at is not None and at <= by_ms]
        flips = min((at for leaf in timed if (at := next_change_ms(leaf, frame)) is not None), default=None)
        ends = self.derived.points_account.next_expiry_ms()
        return min(flips, ends) if flips is not None and ends is not None else flips if ends is None else ends

    def _frame(self, at_ms: int) -> EvaluationContext:
        now = self.derived
        return EvaluationContext(
            at_ms, now.states, self.members, self.card, now.profile, now.points_account.balance, self.joined_ms
        )

    def _before(self, at_ms: int) -> EvaluationContext:
        """The frame as it is now, which nothing that happens later changes."""
        frame = self._frame(at_ms)
        frame.states, frame.members = dict(frame.states), dict(frame.members)
        return frame

    def _judge(self, moment: Step) -> None:
        """Applies what happened at the moment, and emits the flips that follow."""
        at_ms, version = moment.at_ms, moment.version
        self.earlier = self.active.by_segment
        if ended := self.derived.expire_points(at_ms):
            self._end(ended, at_ms)
            moment = replace(moment, aged_points=self.derived.points_account.balance)
        for event in moment.events:
            self._apply(event, at_ms)
        if ended := self.derived.count_points(moment.events, at_ms, self.at_ms):
            self._end(ended, at_ms)
        if version is not None:
            self._revise(version, at_ms)
        self.at_ms = at_ms
        self.derived.expire_windows(self.active.measures, at_ms)
        if version is not None:
            for gone in [key for key in self.members if key not in self.active.by_segment]:
                del self.members[gone]
                self._flip(version, False, moment)
        frame = self._frame(at_ms)
        for judged in self.active.versions:
            member = evaluate(judged.criteria, frame)
            if member != (judged.segment_id in self.members):
                if member:
                    self.members[judged.segment_id] = Membership(judged.segment_id, at_ms, self.rev, {})
                else:
                    del self.members[judged.segment_id]
                self._flip(judged, member, moment)

    def _apply(self, event: Event, at_ms: int) -> None:
        self.derived.apply(event, self.active.measures, at_ms)
        if event.move is not None and event.move.was_published:
            return
        self._emit(
            type_of(event), event.occurred_ms, {"kind": CauseKind.EVENT.value, "event": event.id}, {"event": event.id},
            late=event.occurred_ms < at_ms, historical=event.historical,
        )  # fmt: skip

    def _end(self, ended: Iterable[ExpiredLot], at_ms: int) -> None:
        for lot in ended:
            refs = {"event": lot.event_id, "points": lot.points, "balance": lot.balance}
            self._emit(POINTS_EXPIRED, at_ms, {"kind": CauseKind.TIME.value}, refs, late=lot.at_ms < at_ms)

    def _remove(self, at_ms: int, tombstones: Sequence[Event]) -> None:
        """Takes out what is removed at one instant, all at once; what never counted is not there to be taken out."""
        before = self._before(at_ms)
        removed = self.derived.remove_events({t.removes for t in tombstones if t.removes}, self.active.measures, at_ms)
        for event in removed:
            cause = {"kind": CauseKind.EVENT_REMOVED.value, "event": event.id}
            self._emit(UPDATED, at_ms, cause, {"removed": event.id}, late=True)
        if any(event.type in FIELD_EVENTS for event in removed):
            self.derived.updated_at = max(self.derived.updated_at, *(t.recorded_at for t in tombstones))
        self._judge(Step(at_ms, before, removed=removed))
        merged = [tombstone.into for tombstone in tombstones if tombstone.type == PASS_MERGED]
        if any(tombstone.type == PASS_ERASED for tombstone in tombstones):
            rows = self.derived.aggregates.values()
            self.erased = Erased(at_ms, sum(row.count for row in rows), len(rows), tuple(self.members))
            self._leave_all(Step(at_ms, self._before(at_ms), erased=True))
            self._emit(DELETED, at_ms, {}, {})
        elif merged:
            self.merged = merged[0]
            self._leave_all(Step(at_ms, self._before(at_ms), merged=True))
            self._emit(DELETED, at_ms, {"kind": CauseKind.PASS_MERGED.value}, {"into": self.merged})

    def _leave_all(self, moment: Step) -> None:
        """Leaves every segment behind."""
        self.earlier = self.active.by_segment
        for segment_id in list(self.members):
            del self.members[segment_id]
            self._flip(self.active.by_segment[segment_id], False, moment)

    def _revise(self, version: Version, at_ms: int) -> None:
        known = self.active.measure_keys
        self.rev = version.revision
        self.active = self.definitions.active(self.rev)
        self.derived.drop_measures(known - self.active.measure_keys)
        for measure in self.active.measures:
            if measure.key not in known:
                self.derived.begin_measure(measure, at_ms)

    def _flip(self, judged: Version, member: bool, moment: Step) -> None:
        at_ms, frame, version = moment.at_ms, self._frame(moment.at_ms), moment.version
        cause, event = find_cause(judged, member, moment, frame)
        if member:
            self.members[judged.segment_id] = replace(self.members[judged.segment_id], cause=cause)
        # What it was before: at the same instant without the events, or one millisecond earlier when time alone moved it.
        earlier = replace(moment.before, at_ms=at_ms - 1) if cause["kind"] == CauseKind.TIME.value else moment.before
        known = self.earlier.get(judged.segment_id)
        refs = {
            "segment": judged.segment_id,
            "version": judged.version,
            # Of an erased pass nothing measured is told any more.
            "before": () if known is None or moment.erased else collect_values(known, earlier),
            "after": () if moment.erased else collect_values(judged, frame),
        }
        self._emit(
            ENTERED if member else LEFT, at_ms, cause, refs,
            late=cause["kind"] in REMOVING or (event is not None and event.occurred_ms < at_ms),
            silent=version is not None and version.silent,
            historical=event is not None and event.historical,
        )  # fmt: skip

    def _emit(
        self, kind: str, at_ms: int, cause: Mapping[str, object], refs: Mapping[str, object], **flags: bool
    ) -> None:
        self.n += 1
        self.entries.append(Entry(self.n, kind, at_ms, self.recorded_ms, cause, refs, **flags))
