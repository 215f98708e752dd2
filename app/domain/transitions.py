"""Advance: one pass walked from the last instant it was judged at to now, every flip emitted at its own instant.

Pure, and shared by the fold (with events), the due pump (time alone) and the stale pump (new definitions). The walk
visits, in order: the creation of the pass, each event at its effective instant, each instant at which a verdict can flip
by itself, each new revision. At each it applies, judges, and emits. (Source: design protocol, "Advance".)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from .activities import ENTERED, LEFT, CauseKind, Entry, type_of
from .aggregates import fold
from .criteria import EventCriterion, leaves
from .decimals import add
from .events import Event
from .instants import to_ms
from .measures import (
    MAX_LEAVERS,
    Measure,
    Number,
    State,
    Window,
    added,
    built,
    expired,
    from_aggregates,
    refilled,
)
from .passes import Membership, Pass, Profile
from .profiles import FIELD_EVENTS, applied, rebuilt
from .segments import Active, Definitions, Version
from .verdicts import Frame, Value, holds, joined_ms, measured, until_ms

MAX_VALUES = 6
"""Measured values an entry carries, at most: an entry of the outbox stays under 300 bytes."""


@dataclass(frozen=True, slots=True)
class Refill:
    """What leaves a window next: (ms, weight) ascending, whether more follow; `after_ms` says from where it was read."""

    after_ms: int
    leavers: Sequence[tuple[int, Number]]
    more: bool


@dataclass(frozen=True, slots=True)
class Needs:
    """What a walk has to read first: the whole history of the pass, and for some windows what leaves them next."""

    history: bool = False
    refills: Mapping[str, tuple[Measure, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Advanced:
    """The pass as it becomes, what goes to its outbox, and which events were folded (the others stay pending)."""

    card: Pass
    entries: tuple[Entry, ...]
    taken: tuple[str, ...]


def effective_ms(event: Event, at_ms: int) -> int:
    """When an event counts, for a pass judged until `at_ms`: when it occurred, or when recorded if that is over."""
    occurred = event.occurred_ms
    if event.historical or occurred <= at_ms:
        return max(event.recorded_ms, at_ms, occurred)
    return occurred


def needs(card: Pass, definitions: Definitions, events: Sequence[Event], limit_ms: int) -> Needs:
    """What `advance` must be given for this pass."""
    history = any(e.type in FIELD_EVENTS and e.occurred_ms <= card.at_ms for e in events)
    if not history and card.aggregates:
        known = definitions.active(card.rev).keys
        for version in definitions.after(card.rev):
            for measure in definitions.active(version.rev).measures:
                if measure.key not in known and not measure.plain and _may_match(measure, card):
                    history = True
    horizon = max([limit_ms, *(effective_ms(event, card.at_ms) for event in events)])
    refills = {}
    for measure in definitions.active(card.rev).measures:
        state = card.state.get(measure.key)
        if measure.within_ms is None or not isinstance(state, Window) or not state.more:
            continue
        if not state.instants or state.instants[-1] + measure.within_ms <= horizon:
            after = state.instants[-1] if state.instants else card.at_ms - measure.within_ms
            refills[measure.key] = (measure, after)
    return Needs(history, refills)


def _may_match(measure: Measure, card: Pass) -> bool:
    return any(measure.filter.may_match(kind, row.category, cur) for (kind, cur), row in card.aggregates.items())


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
        due = self._due()
        place = 0
        while True:
            if self._starved():
                due = self.at_ms
                break
            at = min(
                (t for t in (
                    creation,
                    timeline[place][0] if place < len(timeline) else None,
                    max(revisions[0].at_ms, self.at_ms) if revisions else None,
                    due if creation is None else None,
                ) if t is not None),
                default=None,
            )  # fmt: skip
            if at is None or at > limit_ms:
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
            due = self._due()
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

    def _due(self) -> int | None:
        frame = self._frame(self.at_ms)
        return min((t for leaf in self.active.timed if (t := until_ms(leaf, frame)) is not None), default=None)

    def _frame(self, at_ms: int) -> Frame:
        return Frame(at_ms, self.states, self.members, self.card, self.profile, self.points, self.joined_ms)

    def _judge(self, at_ms: int, events: Sequence[Event], version: Version | None, *, created: bool = False) -> None:
        before = replace(self._frame(at_ms), states=dict(self.states), members=dict(self.members))
        self.earlier = {v.segment_id: v for v in self.active.versions}
        for event in events:
            self._apply(event, at_ms)
        if version is not None:
            self._revise(version, at_ms)
        self.at_ms = at_ms
        self._expire(at_ms)
        frame = self._frame(at_ms)
        verdicts: dict[str, Version] = {v.segment_id: v for v in self.active.versions}
        for gone in [key for key in self.members if key not in verdicts]:
            assert version is not None
            del self.members[gone]
            self._flip(version, False, at_ms, events, version, before, created)
        for judged in self.active.versions:
            member = holds(judged.criteria, frame)
            if member != (judged.segment_id in self.members):
                if member:
                    self.members[judged.segment_id] = Membership(judged.segment_id, at_ms, self.rev, {})
                else:
                    del self.members[judged.segment_id]
                self._flip(judged, member, at_ms, events, version, before, created)

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

    def _flip(
        self, judged: Version, member: bool, at_ms: int, events: Sequence[Event], version: Version | None, before: Frame,
        created: bool,
    ) -> None:  # fmt: skip
        cause, event = self._cause(judged, member, at_ms, events, version, before, created)
        if member:
            self.members[judged.segment_id] = replace(self.members[judged.segment_id], cause=cause)
        frame = self._frame(at_ms)
        # What it was before: at the same instant without the events, or one millisecond earlier when time alone moved it.
        earlier = replace(before, at_ms=at_ms - 1) if cause["kind"] == CauseKind.TIME.value else before
        refs = {
            "segment": judged.segment_id,
            "version": judged.version,
            "before": _values(self.earlier[judged.segment_id], earlier) if judged.segment_id in self.earlier else (),
            "after": _values(judged, frame),
        }
        self._emit(
            ENTERED if member else LEFT, at_ms, cause, refs,
            late=event is not None and event.occurred_ms < at_ms,
            silent=version is not None and version.silent,
            historical=event is not None and event.historical,
        )  # fmt: skip

    def _cause(
        self, judged: Version, member: bool, at_ms: int, events: Sequence[Event], version: Version | None, before: Frame,
        created: bool,
    ) -> tuple[dict[str, object], Event | None]:  # fmt: skip
        if version is not None:
            kind = CauseKind.BACKFILL if version.version == 1 and not version.archived else CauseKind.DEFINITION_CHANGED
            return {"kind": kind.value, "version": version.version}, None
        without = replace(before, at_ms=at_ms)
        if not events or (not created and holds(judged.criteria, without) == member):
            return {"kind": (CauseKind.PASS_CREATED if created and not events else CauseKind.TIME).value}, None
        if created and holds(judged.criteria, without) == member:
            return {"kind": CauseKind.PASS_CREATED.value}, None
        event = self._tipping(judged, member, at_ms, events, before)
        return {"kind": CauseKind.EVENT.value, "event": event.id}, event

    def _tipping(self, judged: Version, member: bool, at_ms: int, events: Sequence[Event], before: Frame) -> Event:
        """The first event of this instant after which the verdict is what it became; else the last one that counts."""
        states, relevant = dict(before.states), [events[-1]]
        timed = [leaf for leaf in leaves(judged.criteria) if isinstance(leaf, EventCriterion)]
        measures = {leaf.measure.key: leaf.measure for leaf in timed}
        matching = [e for e in events if any(m.filter.matches(e) for m in measures.values())]
        for event in matching:
            relevant.append(event)
            for key, measure in measures.items():
                if measure.filter.matches(event):
                    state = added(measure, states.get(key), event, at_ms)
                    if state is not None:
                        states[key] = state
            if (
                holds(judged.criteria, replace(before, states=states, members=self.members, profile=self.profile))
                == member
            ):
                break
        return relevant[-1]

    def _emit(
        self, kind: str, at_ms: int, cause: Mapping[str, object], refs: Mapping[str, object], **flags: bool
    ) -> None:
        self.n += 1
        self.entries.append(Entry(self.n, kind, at_ms, self.recorded_ms, cause, refs, **flags))


def _values(version: Version, frame: Frame) -> tuple[Value, ...]:
    listed = list(leaves(version.criteria))[:MAX_VALUES]
    return tuple(measured(leaf, frame) for leaf in listed)
