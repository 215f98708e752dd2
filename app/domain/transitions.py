"""Advance: one pass walked from the last instant it was judged at to now, every flip emitted at its own instant.

Pure, and shared by the fold (with events), the due pump (time alone) and the stale pump (new definitions). The walk
visits, in order: the creation of the pass, each event at its effective instant, each instant at which a verdict can flip
by itself, each new revision. At each it applies, judges, and emits. (Source: design protocol, "Advance".)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from .activities import ENTERED, LEFT, CauseKind, Entry, type_of
from .aggregates import fold
from .causes import Moment, cause_of, values_of
from .criteria import EventCriterion
from .decimals import add
from .events import Event
from .instants import to_ms
from .measures import MAX_LEAVERS, State, Window, added, built, expired, from_aggregates, refilled
from .needs import Refill, effective_ms
from .passes import Membership, Pass, Profile
from .profiles import FIELD_EVENTS, applied, rebuilt
from .segments import Active, Definitions, Version
from .verdicts import Frame, holds, joined_ms, unchanged_until_ms, until_ms


@dataclass(frozen=True, slots=True)
class Advanced:
    """The pass as it becomes, what goes to its outbox, and which events were folded (the others stay pending)."""

    card: Pass
    entries: tuple[Entry, ...]
    taken: tuple[str, ...]


def advance(
    card: Pass,
    definitions: Definitions,
    events: Sequence[Event] = (),
    *,
    limit_ms: int,
    recorded_ms: int,
    cut: bool = False,
    history: Sequence[Event] = (),
    refills: Mapping[str, Refill] | None = None,
) -> Advanced:
    """The pass walked to `limit_ms`, or to the last event taken if that lies later.

    `events` are pending and not yet counted; `cut` says that more are pending than are given, which stops the walk at the
    last of them. `history` (all events that count already) and `refills` are what `needs` asked for.
    """
    walk = _Walk(card, definitions, history, recorded_ms, refills or {})
    return walk.run(list(events), limit_ms, cut)


class _Walk:
    def __init__(
        self,
        card: Pass,
        definitions: Definitions,
        history: Sequence[Event],
        recorded_ms: int,
        refills: Mapping[str, Refill],
    ) -> None:
        self.card = card
        self.definitions = definitions
        self.history = history
        self.recorded_ms = recorded_ms
        self.at_ms = card.at_ms
        self.n = card.n
        self.rev = card.rev
        self.states: dict[str, State] = dict(card.state)
        self.members: dict[str, Membership] = dict(card.memberships)
        self.profile: Profile = card.profile
        self.points = card.points
        self.joined_ms = joined_ms(card)
        self.entries: list[Entry] = []
        self.applied: list[Event] = []
        self.active: Active = definitions.active(self.rev)
        self.earlier: Mapping[str, Version] = {}
        for key, refill in refills.items():
            state = self.states.get(key)
            if isinstance(state, Window) and state.more:
                self.states[key] = refilled(state, refill.leavers[:MAX_LEAVERS], refill.more)

    def run(self, events: list[Event], limit_ms: int, cut: bool) -> Advanced:
        start = self.at_ms
        created = to_ms(self.card.created_at)
        creation = created if start < created else None
        # Nothing happens to a pass before it exists: what occurred earlier counts from its creation on.
        floor = created if creation is not None else start
        timeline = sorted(
            ((max(effective_ms(e, start), floor), e.occurred_ms, e.id, e) for e in events), key=lambda item: item[:3]
        )
        on_time = [item[0] for item in timeline if item[0] == item[1] and item[1] > start]
        if cut:
            limit_ms = max(on_time or [item[0] for item in timeline])
            timeline = [item for item in timeline if item[0] <= limit_ms]
        elif timeline:
            limit_ms = max(limit_ms, timeline[-1][0])
        if creation is not None:
            limit_ms = max(limit_ms, created)
            self.rev = max(self.rev, self.definitions.rev_at(creation))
            self.active = self.definitions.active(self.rev)
        revisions = self.definitions.after(self.rev)
        place = 0
        while not self._starved():
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
            happened = []
            while place < len(timeline) and timeline[place][0] <= at:
                happened.append(timeline[place][3])
                place += 1
            if happened or not revisions or max(revisions[0].at_ms, self.at_ms) > at or at in (creation, due):
                self._judge(at, happened, None, created=at == creation)
                creation = None
            while revisions and revisions[0].at_ms <= at:
                version = revisions.pop(0)
                self._judge(at, [], version)
        due = self.at_ms if self._starved() else self._due()
        taken = tuple(item[3].id for item in timeline[:place])
        return Advanced(self._card(due), tuple(self.entries), taken)

    def _card(self, due: int | None) -> Pass:
        return replace(
            self.card,
            at_ms=self.at_ms,
            rev=self.rev,
            n=self.n,
            profile=self.profile,
            points=self.points,
            aggregates=fold(self.card.aggregates, self.applied) if self.applied else self.card.aggregates,
            state=self.states,
            memberships=self.members,
            due_ms=due,
            updated_at=self._updated_at(),
        )

    def _updated_at(self) -> datetime:
        changes = [e.recorded_at for e in self.applied if e.type in FIELD_EVENTS]
        return max([self.card.updated_at, *changes])

    def _starved(self) -> bool:
        """Whether a window's list of leavers has ended while more follow: the walk stops here and is asked again."""
        for measure in self.active.measures:
            state = self.states.get(measure.key)
            if isinstance(state, Window) and state.more and not state.instants:
                return True
        return False

    def _due(self, by_ms: int | None = None) -> int | None:
        """The next instant at which a verdict can flip by itself. Given `by_ms`, whatever lies later may be None."""
        frame = self._frame(self.at_ms)
        timed: Iterable[EventCriterion] = self.active.timed
        if by_ms is not None:
            soonest = ((leaf, unchanged_until_ms(leaf, frame)) for leaf in timed)
            timed = [leaf for leaf, at in soonest if at is not None and at <= by_ms]
        return min((t for leaf in timed if (t := until_ms(leaf, frame)) is not None), default=None)

    def _frame(self, at_ms: int) -> Frame:
        return Frame(at_ms, self.states, self.members, self.card, self.profile, self.points, self.joined_ms)

    def _judge(self, at_ms: int, events: Sequence[Event], version: Version | None, *, created: bool = False) -> None:
        before = Frame(
            at_ms, dict(self.states), dict(self.members), self.card, self.profile, self.points, self.joined_ms
        )
        moment = Moment(at_ms, before, events, version, created)
        self.earlier = self.active.by_segment
        for event in events:
            self._apply(event, at_ms)
        if version is not None:
            self._revise(version, at_ms)
        self.at_ms = at_ms
        self._expire(at_ms)
        frame = self._frame(at_ms)
        if version is not None:
            for gone in [key for key in self.members if key not in self.active.by_segment]:
                del self.members[gone]
                self._flip(version, False, moment)
        for judged in self.active.versions:
            member = holds(judged.criteria, frame)
            if member != (judged.segment_id in self.members):
                if member:
                    self.members[judged.segment_id] = Membership(judged.segment_id, at_ms, self.rev, {})
                else:
                    del self.members[judged.segment_id]
                self._flip(judged, member, moment)

    def _apply(self, event: Event, at_ms: int) -> None:
        late = event.occurred_ms < at_ms
        for measure in self.active.measures:
            if measure.filter.matches(event):
                state = added(measure, self.states.get(measure.key), event, at_ms)
                if state is not None:
                    self.states[measure.key] = state
        self.applied.append(event)
        self.points = add(self.points, event.points)
        if event.type in FIELD_EVENTS:
            if event.occurred_ms <= self.card.at_ms:
                self.profile = rebuilt(self.card.base, [*self.history, *self.applied])
            else:
                self.profile = applied(self.profile, event)
        self._emit(
            type_of(event), event.occurred_ms, {"kind": CauseKind.EVENT.value, "event": event.id}, {"event": event.id},
            late=late, historical=event.historical,
        )  # fmt: skip

    def _revise(self, version: Version, at_ms: int) -> None:
        known = self.active.keys
        self.rev = version.rev
        self.active = self.definitions.active(self.rev)
        for key in known - self.active.keys:
            self.states.pop(key, None)
        counted = None
        for measure in self.active.measures:
            if measure.key in known:
                continue
            if measure.plain:
                state = from_aggregates(measure, fold(self.card.aggregates, self.applied))
            else:
                counted = counted or [*self.history, *self.applied]
                state = built(measure, counted, at_ms)
            if state is not None:
                self.states[measure.key] = state

    def _expire(self, at_ms: int) -> None:
        for measure in self.active.measures:
            state = self.states.get(measure.key)
            if measure.within_ms is not None and isinstance(state, Window):
                state = expired(state, at_ms - measure.within_ms)
                if state.instants or state.more:
                    self.states[measure.key] = state
                else:
                    del self.states[measure.key]

    def _flip(self, judged: Version, member: bool, moment: Moment) -> None:
        at_ms, frame, version = moment.at_ms, self._frame(moment.at_ms), moment.version
        cause, event = cause_of(judged, member, moment, frame)
        if member:
            self.members[judged.segment_id] = replace(self.members[judged.segment_id], cause=cause)
        # What it was before: at the same instant without the events, or one millisecond earlier when time alone moved it.
        earlier = replace(moment.before, at_ms=at_ms - 1) if cause["kind"] == CauseKind.TIME.value else moment.before
        known = self.earlier.get(judged.segment_id)
        refs = {
            "segment": judged.segment_id,
            "version": judged.version,
            "before": () if known is None else values_of(known, earlier),
            "after": values_of(judged, frame),
        }
        self._emit(
            ENTERED if member else LEFT, at_ms, cause, refs,
            late=event is not None and event.occurred_ms < at_ms,
            silent=version is not None and version.silent,
            historical=event is not None and event.historical,
        )  # fmt: skip

    def _emit(
        self, kind: str, at_ms: int, cause: Mapping[str, object], refs: Mapping[str, object], **flags: bool
    ) -> None:
        self.n += 1
        self.entries.append(Entry(self.n, kind, at_ms, self.recorded_ms, cause, refs, **flags))
