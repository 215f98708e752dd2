"""Whether a rule's trigger, hours and period match what happened to a pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from app.domain.events.events import Event
from app.domain.state.measures import EARNED, EventFilter, Measure
from app.domain.values.instants import from_ms

from .occurrences import TierChanged
from .rules import RuleVersion, When
from .triggers import BalanceTrigger, EventTrigger, TierChange, TierTrigger

EARNED_TOTAL = Measure(EventFilter(), EARNED)
"""Points that a pass has earned in all."""


@dataclass(frozen=True, slots=True)
class TriggerFilter(EventFilter):
    """Filter of the events that `nth` counts: those that match the trigger with their own amount."""

    amount_min: Decimal | None = None
    amount_max: Decimal | None = None

    def matches(self, event: Event) -> bool:
        """Return whether the event counts."""
        # A dataclass with slots is a copy of the class, so that super() without arguments fails in Python 3.11.
        return EventFilter.matches(self, event) and is_within(self.amount_min, self.amount_max, event.amount)

    @property
    def reads_events(self) -> bool:
        """Whether the aggregates of a pass do not tell which of its events match: always."""
        return True


def is_within(low: Decimal | None, high: Decimal | None, amount: Decimal | None) -> bool:
    """Return whether an amount lies within bounds; both are inclusive. An event without amount lies in none."""
    if low is None and high is None:
        return True
    return amount is not None and (low is None or amount >= low) and (high is None or amount <= high)


def matches_event(rule: RuleVersion, trigger: EventTrigger, event: Event) -> bool:
    """Return whether an event matches the trigger and its metadata conditions, apart from amount and currency."""
    if event.type not in trigger.types or (trigger.sources and event.source not in trigger.sources):
        return False
    if trigger.categories and event.category not in trigger.categories:
        return False
    return not rule.event_metadata or all(
        condition.holds_for(event.values_at(condition.steps)) for condition in rule.event_metadata
    )


def is_in_bounds(rule: RuleVersion, event: Event, net: Decimal | None) -> bool:
    """Return whether the net amount of an event lies within the bounds of the trigger, if it has the currency of them."""
    trigger = rule.trigger
    if not isinstance(trigger, EventTrigger) or trigger.currency not in (None, event.currency):
        return True
    return is_within(trigger.amount_min, trigger.amount_max, net)


def matches_tier(trigger: TierTrigger, changed: TierChanged) -> bool:
    """Return whether a change of the tier matches the trigger."""
    key = changed.before if changed.change is TierChange.LEFT else changed.after
    return changed.change in trigger.changes and trigger.tier_key in (None, key)


def nth_measure(rule: RuleVersion) -> Measure | None:
    """Return the count of the events that match the rule's trigger; None if the rule does not ask for their number."""
    trigger = rule.trigger
    if rule.nth is None or not isinstance(trigger, EventTrigger):
        return None
    low, high = trigger.amount_min, trigger.amount_max
    if low is None and high is None:
        return Measure(EventFilter(trigger.types, trigger.categories, trigger.sources, metadata=rule.event_metadata))
    return Measure(
        TriggerFilter(
            trigger.types, trigger.categories, trigger.sources,
            metadata=rule.event_metadata, currency=trigger.currency, amount_min=low, amount_max=high,
        )
    )  # fmt: skip


def iter_rule_measures(rules: Iterable[RuleVersion]) -> Iterator[Measure]:
    """Iterate over the measures that triggers of rules need, beside those of their conditions."""
    for rule in rules:
        measure = nth_measure(rule)
        if measure is not None:
            yield measure
        if isinstance(rule.trigger, BalanceTrigger) and rule.trigger.is_earned_total:
            yield EARNED_TOTAL


def is_active(rule: RuleVersion, at_ms: int) -> bool:
    """Return whether an instant lies in the period in which the rule fires."""
    starts = rule.active_from_ms is None or rule.active_from_ms <= at_ms
    return starts and (rule.active_to_ms is None or at_ms < rule.active_to_ms)


def is_open(when: When, zone: ZoneInfo, at_ms: int) -> bool:
    """Return whether an instant lies in the hours of the week."""
    local = from_ms(at_ms).astimezone(zone)
    minute, day = local.hour * 60 + local.minute, local.weekday()
    start, end = when.from_minute, when.to_minute
    if start is not None and end is not None:
        if start <= end:
            if not start <= minute < end:
                return False
        elif minute < end:
            # Hours over midnight belong to the day on which they begin.
            day = (local - timedelta(days=1)).weekday()
        elif minute < start:
            return False
    return not when.weekdays or day in when.weekdays
