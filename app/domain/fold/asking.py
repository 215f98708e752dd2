"""Asking rules: which rules in force fire for what happened at one instant, and what they make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter
from zoneinfo import ZoneInfo

from app.domain.activities import activity_id
from app.domain.events.events import RULE_INCLUDED, Event
from app.domain.ids import inclusion_id, is_in_control_group
from app.domain.rules.cascades import MAX_DEPTH, MAX_MADE, MAX_MADE_AT_INSTANT
from app.domain.rules.made import Cause, Maker
from app.domain.rules.matching import is_active, is_in_bounds, is_open, matches_event, matches_tier
from app.domain.rules.occurrences import OF_DEFINITIONS, UNASKED, Happened, TierChanged, Transition, is_of_merge
from app.domain.rules.rules import OnHistorical, PerPassLimit, RuleVersion
from app.domain.rules.triggers import BalanceTrigger, EventTrigger, TierTrigger
from app.domain.segments.evaluation import EvaluationContext, evaluate
from app.domain.state.firings import Firings
from app.domain.state.measures import Total
from app.domain.state.numbers import plain_number
from app.domain.values.periods import period_start_ms

from .lacks import DataMissing
from .totals import Totals
from .walk import Walk

Match = tuple[int, RuleVersion, Cause]
"""A rule with its rank, and a cause that it matches."""


class Asking:
    """Rules that a walk asks, and why some did not fire.

    A rule is not asked about the instant of its first version. A later version is asked about what counts after it came into
    force, at its own instant, too: the version before is no longer in force then.

    `matched` counts by rule id what the trigger matched. `skipped` counts by (rule id, reason) those of them for which the
    rule did not fire.
    """

    def __init__(self, walk: Walk) -> None:
        # Each walk makes four of these, and a Counter takes three times as long to make.
        self.matched: defaultdict[str, int] = defaultdict(int)
        self.skipped: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._walk = walk
        # The recorded event from which each made event follows, and how many were made for it.
        self._chains: dict[str, str] = {}
        self._made: defaultdict[str, int] = defaultdict(int)
        self._fired_groups: set[tuple[str, str]] = set()
        self._firing: defaultdict[str, int] = defaultdict(int)
        # The instant that was asked about last, and the events made at it.
        self._at_ms, self._made_at_instant = -1, 0

    def ask(self, happened: Happened, at_ms: int, depth: int) -> list[Event]:
        """Return the events that rules make for what happened, by priority of the rules. They do not count yet.

        Raises DataMissing.
        """
        walk = self._walk
        if not walk.active.rules:
            return []
        asked = filter(walk.active.may_ask_about, happened.events)
        if lacking := frozenset(event.family for event in asked if walk.lacks_corrections(event)):
            raise DataMissing(families=lacking)
        found = sorted(self._find_causes(happened, at_ms, depth), key=itemgetter(0))
        walk.note_asked()
        if not found:
            return []
        made: list[Event] = []
        context = walk.context(at_ms)
        # Most causes make no rule fire, so the maker is built for the first one that does.
        maker: Maker | None = None
        self._firing.clear()
        if at_ms != self._at_ms:
            self._at_ms, self._made_at_instant = at_ms, 0
        for _, rule, cause in found:
            self.matched[rule.rule_id] += 1
            reason = self._find_obstacle(rule, cause, context)
            if reason is not None:
                self.skipped[rule.rule_id, reason] += 1
                continue
            is_control = is_in_control_group(rule.rule_id, walk.card.id, rule.control_percent)
            maker = maker or walk.maker(at_ms)
            events = maker.fire(rule, cause, is_control=is_control)
            if rule.group is not None:
                self._fired_groups.add((rule.group, cause.id))
            self._firing[rule.rule_id] += 1
            self._made[cause.chain] += len(events)
            self._made_at_instant += len(events)
            self._chains.update({event.id: cause.chain for event in events})
            made += events
        return made

    def _find_causes(self, happened: Happened, at_ms: int, depth: int) -> Iterator[Match]:
        """Iterate over the rules that match something, each with its rank, for each of its causes in order."""
        active, fires_rules = self._walk.active, happened.fires_rules
        for index, event in enumerate(happened.events):
            if event.type == RULE_INCLUDED:
                yield from self._find_included(event, at_ms, depth)
                continue
            ranked = active.rules_by_event_type.get(event.type)
            if ranked is None or is_of_merge(event):
                continue
            cause: Cause | None = None
            for rank, rule in ranked:
                if not self._is_about(rule, event, at_ms):
                    continue
                if cause is None:
                    chain = self._chains.get(event.id, event.id)
                    net = self._walk.net_amount(event)
                    cause = Cause(event.id, event, event.occurred_ms, chain=chain, depth=depth, net=net)
                if is_in_bounds(rule, event, cause.net):
                    yield rank, rule, self._with_number(rule, cause, happened, index)
        for transition in happened.transitions:
            for rank, rule in active.rules_by_transition.get((transition.segment_id, transition.entered), ()):
                if self._may_ask(rule, transition, at_ms, fires_rules=fires_rules):
                    yield rank, rule, self._activity_cause(transition.number, transition.event, at_ms, depth)
        for changed in happened.tier_changes:
            for rank, rule in active.tier_rules:
                assert isinstance(rule.trigger, TierTrigger)
                if matches_tier(rule.trigger, changed) and self._may_ask(rule, changed, at_ms, fires_rules=fires_rules):
                    yield rank, rule, self._activity_cause(changed.number, changed.event, at_ms, depth)
        if active.balance_rules and not happened.is_merge:
            before, now = self._walk.asked, self._walk.totals()
            for rank, rule in active.balance_rules:
                if rule.first_ms < at_ms and _has_reached(rule, before, now):
                    yield rank, rule, self._activity_cause(self._walk.new_entries.last_number, None, at_ms, depth)

    def _find_included(self, event: Event, at_ms: int, depth: int) -> Iterator[Match]:
        """Yield the rule that an event asks about a member, as if the pass had entered the segment at the event.

        The rule was asked itself about a member that entered since its first revision. A merge moves the events of another
        pass, whose id is no part of theirs.
        """
        rule_id, revision = str(event.metadata.get("rule")), event.metadata.get("revision")
        member = self._walk.members.get(str(event.metadata.get("segment")))
        if member is None or not isinstance(revision, int) or member.revision >= revision:
            return
        if event.id != inclusion_id(rule_id, self._walk.card.id):
            return
        for rank, rule in self._walk.active.rules_by_transition.get((member.segment_id, True), ()):
            if rule.rule_id == rule_id and rule.first_ms < at_ms:
                yield rank, rule, Cause(event.id, None, at_ms, chain=event.id, depth=depth, root=event.id)

    def _is_about(self, rule: RuleVersion, event: Event, at_ms: int) -> bool:
        """Return whether the rule is asked about an event of a type that it names, apart from amounts."""
        trigger = rule.trigger
        assert isinstance(trigger, EventTrigger)
        if rule.first_ms >= at_ms or not matches_event(rule, trigger, event):
            return False
        is_past = event.historical or event.occurred_ms <= rule.first_ms
        return not is_past or rule.historical is OnHistorical.FIRE

    def _with_number(self, rule: RuleVersion, cause: Cause, happened: Happened, index: int) -> Cause:
        """Return the cause with the number of its event among those that match the rule, if the rule asks for it."""
        measure = self._walk.active.nth_measures.get(rule.rule_id)
        if measure is None:
            return cause
        state = self._walk.derived.states.get(measure.key)
        total = plain_number(state.value) if isinstance(state, Total) else 0
        number = int(total) - sum(map(measure.matches, happened.events[index + 1 :]))
        return replace(cause, number=number, counted=measure.key)

    def _may_ask(self, rule: RuleVersion, changed: Transition | TierChanged, at_ms: int, *, fires_rules: bool) -> bool:
        """Return whether the rule is asked about a transition or a change of the tier.

        `fires_rules`: the change of a definition that caused it says so.
        """
        if rule.first_ms >= at_ms or changed.kind in UNASKED:
            return False
        if changed.kind in OF_DEFINITIONS:
            return fires_rules
        if changed.historical and rule.historical is OnHistorical.IGNORE:
            return False
        return changed.event is None or not is_of_merge(changed.event)

    def _activity_cause(self, number: int, event: Event | None, at_ms: int, depth: int) -> Cause:
        """Return the cause that the activity of this number names. `event` is what caused the activity, if known."""
        cause_id = activity_id(self._walk.card.id, number)
        chain = cause_id if event is None else self._chains.get(event.id, event.id)
        return Cause(cause_id, None, at_ms, chain=chain, depth=depth)

    def _find_obstacle(self, rule: RuleVersion, cause: Cause, context: EvaluationContext) -> str | None:
        """Return why the rule does not fire for a cause that its trigger matches; None if it fires."""
        trigger = rule.trigger
        event = cause.event
        if event is not None and isinstance(trigger, EventTrigger) and trigger.currency not in (None, event.currency):
            return "CURRENCY"
        if not is_active(rule, cause.occurred_ms):
            return "NOT_ACTIVE"
        if rule.when is not None and not is_open(rule.when, ZoneInfo(rule.timezone), cause.occurred_ms):
            return "WHEN"
        if rule.nth is not None and not rule.nth.includes(cause.number):
            return "NTH"
        if rule.nth is not None and cause.number <= self._firings_of(rule).numbers.get(cause.counted, 0):
            return "NTH"
        if rule.conditions is not None and not evaluate(rule.conditions, context):
            return "CONDITIONS"
        if rule.group is not None and (rule.group, cause.id) in self._fired_groups:
            return "GROUP"
        if rule.per_pass is not None and self._is_exhausted(rule, rule.per_pass, context.at_ms):
            return "LIMIT"
        if cause.depth > MAX_DEPTH:
            return "DEPTH"
        count = 1 + len(rule.effects)
        is_much = self._made_at_instant + count > MAX_MADE_AT_INSTANT
        return "TOO_MANY" if is_much or self._made[cause.chain] + count > MAX_MADE else None

    def _firings_of(self, rule: RuleVersion) -> Firings:
        return self._walk.derived.firings.get(rule.rule_id, Firings())

    def _is_exhausted(self, rule: RuleVersion, limit: PerPassLimit, at_ms: int) -> bool:
        """Return whether the rule has fired as often as the limit allows. Firings of this instant count, too."""
        firings = self._firings_of(rule)
        if limit.within_ms is not None:
            before = firings.count_after(at_ms - limit.within_ms)
        elif limit.calendar is not None:
            before = firings.count_after(period_start_ms(limit.calendar, ZoneInfo(rule.timezone), at_ms) - 1)
        else:
            before = firings.total
        return before + self._firing[rule.rule_id] >= limit.count


def _has_reached(rule: RuleVersion, before: Totals, now: Totals) -> bool:
    """Return whether the balance, or the total of earned points, has risen to the rule's since it was last asked."""
    trigger = rule.trigger
    assert isinstance(trigger, BalanceTrigger)
    if trigger.is_earned_total:
        return before.earned < trigger.reach <= now.earned
    return before.balance < trigger.reach <= now.balance
