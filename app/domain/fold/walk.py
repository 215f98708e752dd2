"""State of a pass during a walk, and the evaluation of its segments after each step.

`instant.py` gives the order of what happens at one instant, `advance.py` the order of the instants.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from app.domain.definitions import ActiveDefinitions, Definitions, DefinitionVersion
from app.domain.events.events import CHECKOUT, Event
from app.domain.events.guards import Decision
from app.domain.passes.merges import is_profile_of_alias
from app.domain.passes.passes import Erased, Membership, Pass, PassTier
from app.domain.rules.made import Maker
from app.domain.rules.matching import EARNED_TOTAL
from app.domain.rules.occurrences import Transition
from app.domain.rules.terms import net_amount
from app.domain.rules.texts import PlainTexts, Texts
from app.domain.segments.causes import Step
from app.domain.segments.comparisons import MAX_WALK_COMPARISONS
from app.domain.segments.evaluation import EvaluationContext, TimedLeaf, belongs, earliest_change_ms, next_change_ms
from app.domain.segments.segments import Version
from app.domain.state.measures import Total
from app.domain.state.numbers import plain_number
from app.domain.state.refilling import exhausted_from_ms, is_exhausted
from app.domain.tiers.programs import TierProgramVersion

from .derived import Derived
from .entries import NewEntries
from .prefetch import Family, WindowPage, comes_first
from .tiers import TierState
from .totals import Totals
from .transitions import emit_transition


class Walk:
    """State of a pass during one walk.

    `moved_ids` are the events that a merged pass published and that do not count here yet, as `advance` takes them.
    """

    def __init__(
        self,
        card: Pass,
        definitions: Definitions,
        history: Sequence[Event] | None,
        recorded_ms: int,
        pages: Mapping[str, WindowPage],
        moved_ids: Collection[str] = (),
        families: Mapping[str, Family] | None = None,
        texts: Texts | None = None,
    ) -> None:
        self.card = card
        self.definitions = definitions
        self.at_ms = card.evaluated_until_ms
        self.revision = card.revision
        self.members: dict[str, Membership] = dict(card.memberships)
        self.derived = Derived(card, history, pages)
        self.new_entries = NewEntries(card.last_activity, recorded_ms)
        self.active: ActiveDefinitions = definitions.active_for(self.revision, card.profile)
        self.tier = TierState(card, self.new_entries)
        self.versions_before: Mapping[str, Version] = {}
        self.program_before = self.active.program
        self.erased: Erased | None = None
        self.merged_into: str | None = None
        self.tier_for_survivor: PassTier | None = None
        self.decisions: dict[str, Decision] = {}
        self.moved_ids = moved_ids
        self.families = families or {}
        self.texts = texts or PlainTexts()
        self.recorded_ms = recorded_ms
        self.comparisons_left = MAX_WALK_COMPARISONS
        self.asked = self.totals()

    @property
    def is_over(self) -> bool:
        """Whether the pass was erased or merged: nothing counts there any more."""
        return self.erased is not None or self.merged_into is not None

    @property
    def must_stop(self) -> bool:
        """Whether the walk ends here. The pass is then due, behind, or has pending events: the next round continues."""
        is_full = self.comparisons_left <= 0 or self.new_entries.are_many
        return self.is_over or is_full or self.has_exhausted_window()

    def has_exhausted_window(self) -> bool:
        """Return whether the list of a window does not tell what follows when its next event leaves.

        The walk then stops, and the pass is due at once: the next round reads the next events of the window.
        """
        return any(is_exhausted(self.derived.states.get(measure.key)) for measure in self.active.windows)

    def find_next_due(self, by_ms: int | None = None) -> int | None:
        """Return the next instant at which a result may change, or points expire, by time alone; None for never.

        With `by_ms`, the result is exact only if it lies at or before `by_ms`. This is faster.
        """
        context = self.context(self.at_ms)
        leaves: Iterable[TimedLeaf] = self.active.timed
        if by_ms is not None:
            lower_bounds = ((leaf, earliest_change_ms(leaf, context)) for leaf in leaves)
            leaves = [leaf for leaf, at in lower_bounds if at is not None and at <= by_ms]
        change = min((at for leaf in leaves if (at := next_change_ms(leaf, context)) is not None), default=None)
        changes = [change, self.derived.points_account.next_change_ms(), self.tier.until_ms]
        if by_ms is not None:
            changes.append(self.next_list_end_ms())
        return min((at for at in changes if at is not None), default=None)

    def next_list_end_ms(self) -> int | None:
        """Return the next instant at which the list of a window ends that only rules read; None for never.

        The walk must not pass that instant without reading the next events of the window.
        """
        states = self.derived.states
        ends = (exhausted_from_ms(measure, states.get(measure.key)) for measure in self.active.rule_windows)
        return min((at for at in ends if at is not None), default=None)

    def context(self, at_ms: int) -> EvaluationContext:
        """Return what an evaluation depends on, as it is now. Later steps change it."""
        derived = self.derived
        return EvaluationContext(
            at_ms,
            derived.states,
            self.members,
            card=self.card,
            profile=derived.profile,
            points=derived.points_account.balance,
            joined_ms=derived.joined_ms,
            installed_at=derived.installed_at,
            tier=self.tier.key,
            updated_at=derived.updated_at,
        )

    def snapshot(self, at_ms: int) -> EvaluationContext:
        """Return a copy of the present context, which later steps do not change."""
        context = self.context(at_ms)
        context.states, context.members = dict(context.states), dict(context.members)
        return context

    def maker(self, at_ms: int) -> Maker:
        """Return the maker of events of rules at this instant."""
        return Maker(
            self.card, at_ms, self.recorded_ms, texts=self.texts,
            profile=self.derived.profile, points=self.derived.points_account.balance, tier=self.tier.key,
        )  # fmt: skip

    @property
    def balance(self) -> Decimal:
        """The points of the pass now."""
        return self.derived.points_account.balance

    def totals(self) -> Totals:
        """Return the points that rules compare with."""
        earned = self.derived.states.get(EARNED_TOTAL.key)
        return Totals(self.balance, Decimal(plain_number(earned.value) if isinstance(earned, Total) else 0))

    def note_asked(self) -> None:
        """Note the points with which rules were asked last: a rule on the balance fires when they have risen since."""
        if self.active.balance_rules:
            self.asked = self.totals()

    @property
    def has_checkouts(self) -> bool:
        """Whether checkouts count in the pass."""
        return any(kind == CHECKOUT for kind, _ in self.derived.aggregates)

    def has_family(self, root: str) -> bool:
        """Return whether all members of a family are at hand: they were read, or its first event counted in this walk.

        Before a late first event, or one that a merge moved, others of its family may have counted.
        """
        return root in self.families or any(
            event.id == root and comes_first(event, self.card) for event in self.derived.families.get(root, ())
        )

    def lacks_corrections(self, event: Event) -> bool:
        """Return whether corrections of the event may have counted that are not at hand."""
        is_first = event.id == event.family and event.amount is not None and not event.is_made
        return is_first and not comes_first(event, self.card) and event.family not in self.families

    def net_amount(self, event: Event) -> Decimal | None:
        """Return the amount of an event less what its corrections take back; None without one."""
        if event.amount is None or event.is_made:
            return event.amount
        read = self.families.get(event.family)
        counted = self.derived.families.get(event.family, ())
        return net_amount(event, counted if read is None else [*read.members, *counted])

    def family_members(self, root: str) -> Sequence[Event] | None:
        """Return the members that count in this pass; None if one that counted lies on another pass."""
        read = self.families.get(root)
        if read is not None and read.is_split:
            return None
        members = {event.id: event for event in (read.members if read is not None else ())}
        members |= {event.id: event for event in self.derived.families.get(root, ())}
        return [event for event in members.values() if event.id not in self.derived.removed_ids]

    def members_until_now(self, root: str) -> Sequence[Event]:
        """Return the members of a family that count now, those included that a merge has not brought here yet."""
        read = self.families.get(root)
        members = {event.id: event for event in ((*read.members, *read.coming) if read is not None else ())}
        members |= {event.id: event for event in self.derived.families.get(root, ())}
        return [event for event in members.values() if event.id not in self.derived.removed_ids]

    def decline(self, event: Event, decision: Decision, at_ms: int) -> None:
        """Note that an event counts nowhere, and add its activity."""
        self.decisions[event.id] = decision
        self.new_entries.report_declined(event, decision, at_ms)

    def pass_time(self, step: Step) -> Step:
        """Let points expire and pending points mature, and return the step with the balance afterwards."""
        expired, matured = self.derived.pass_time(step.at_ms)
        if not (expired or matured):
            return step
        self.new_entries.report_expiries(expired, step.at_ms)
        self.new_entries.report_maturities(matured, step.at_ms)
        return replace(step, aged_points=self.derived.points_account.balance)

    def note_definitions(self) -> None:
        """Note the definitions in force, so that a change of them can be compared with what held before."""
        self.versions_before, self.program_before = self.active.by_segment, self.active.program

    def end_tier_period(self, step: Step) -> Step:
        """Decide about a tier whose period ends, and return the step with the tier afterwards."""
        if not self.tier.is_over(step.at_ms):
            return step
        self.tier.end_period(self.active.program, step.at_ms, step.before)
        return replace(step, ended_tier=self.tier.key, has_ended_tier=True)

    def apply(self, event: Event, at_ms: int) -> None:
        """Count an event at an instant, apart from its points, and add its activities."""
        self.derived.apply(event, self.active.measures_of(event.type), at_ms)
        self.new_entries.report_event(event, at_ms)
        if is_profile_of_alias(event.id):
            self.tier.take_over(self.active.program, event, at_ms)

    def count_made(self, events: Sequence[Event], at_ms: int) -> list[Event]:
        """Count events that rules make, add their activities, and return the events with their steps."""
        if not events:
            return []
        counted = [self.new_entries.report_made(event, at_ms) for event in events]
        for event in counted:
            self.derived.apply(event, self.active.measures_of(event.type), at_ms)
        self.count_points(counted, at_ms)
        return counted

    def count_points(self, events: Sequence[Event], at_ms: int) -> None:
        """Count the points of the events applied at an instant."""
        if expired := self.derived.count_points(events, at_ms, self.at_ms):
            self.new_entries.report_expiries(expired, at_ms)

    def reach(self, at_ms: int) -> None:
        """Make an instant the last one that was visited: events leave their windows until then."""
        self.at_ms = at_ms
        self.derived.build_doubted()
        self.comparisons_left -= self.derived.take_examined()
        self.derived.expire_windows(self.active.windows, at_ms)

    def evaluate(self, step: Step) -> list[Transition]:
        """Evaluate all segments after what happened in the step, and emit and return the transitions."""
        at_ms, version = step.at_ms, step.version
        transitions: list[Transition] = []
        if self.active.zone_fields:  # an event may have changed the zone of the pass, and so its measures
            self._activate(at_ms)
        self.reach(at_ms)
        if isinstance(version, Version):
            archived = [segment_id for segment_id in self.members if segment_id not in self.active.by_segment]
            transitions += [emit_transition(self, version, self.members.pop(each), step) for each in archived]
        context = self.context(at_ms)
        self.comparisons_left -= self.active.comparisons * (1 + len(step.events))
        if self.active.program is None:
            self.tier.evaluate(None, self.program_before, step, context)
            context.tier = self.tier.key
        for evaluated in self.active.ordered:
            if isinstance(evaluated, TierProgramVersion):
                self.tier.evaluate(evaluated, self.program_before, step, context)
                context.tier = self.tier.key
                continue
            is_member = belongs(evaluated.segment_id, evaluated.criteria, context)
            if is_member != (evaluated.segment_id in self.members):
                ended = self.members.pop(evaluated.segment_id, None)
                if ended is None:
                    membership = Membership(evaluated.segment_id, at_ms, self.revision, cause={})
                    self.members[evaluated.segment_id] = membership
                transitions.append(emit_transition(self, evaluated, ended, step))
        return transitions

    def leave_all_segments(self, step: Step) -> None:
        """Emit the exits from all segments, and from the tier, of a pass that was erased or merged."""
        self.versions_before = self.active.by_segment
        self.tier.leave(self.active.program, step)
        for segment_id in list(self.members):
            emit_transition(self, self.active.by_segment[segment_id], self.members.pop(segment_id), step)

    def apply_revision(self, version: DefinitionVersion, at_ms: int) -> None:
        """Put a version into force: drop the measures that nothing uses any more, and build the new ones."""
        self.revision = version.revision
        self._activate(at_ms)

    def _activate(self, at_ms: int) -> None:
        """Take the definitions in force for the pass as it is now."""
        active = self.definitions.active_for(self.revision, self.derived.profile)
        if active is self.active:
            return
        keys_before = self.active.measure_keys
        self.active = active
        self.derived.drop_measures(keys_before - self.active.measure_keys)
        for measure in self.active.measures:
            if measure.key not in keys_before:
                self.derived.begin_measure(measure, at_ms)
