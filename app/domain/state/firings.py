"""Firings of each rule on a pass: the little that limits and `nth` ask, so that a walk need not read events for it."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from app.domain.events.events import Event

MAX_INSTANTS = 100
"""Instants of the last firings of a rule that a pass stores: the highest `count` of a limit over a time."""


@dataclass(frozen=True, slots=True)
class Firings:
    """Firings of one rule on one pass, a function of the set of its firings.

    - `total`: firings ever.
    - `numbers`: highest number of `nth` at which the rule fired, by the key of the measure that gave the number. A version
      with another trigger counts other events, so its numbers are others.
    - `instants`: the last firings in ms, ascending, at most MAX_INSTANTS.
    """

    total: int = 0
    numbers: Mapping[str, int] = field(default_factory=dict)
    instants: tuple[int, ...] = ()

    def count_after(self, at_ms: int) -> int:
        """Return the firings after an instant. The result is exact up to MAX_INSTANTS."""
        return len(self.instants) - bisect_right(self.instants, at_ms)

    def with_firing(self, at_ms: int, number: int, measure_key: str) -> Firings:
        """Return the firings with one more, of any instant. `number` is 0 for a rule without `nth`."""
        instants, numbers = list(self.instants), self.numbers
        insort(instants, at_ms)
        if number > numbers.get(measure_key, 0):
            numbers = {**numbers, measure_key: number}
        return Firings(self.total + 1, numbers, tuple(instants[-MAX_INSTANTS:]))


RuleFirings = Mapping[str, Firings]
"""Firings of a pass by rule id."""


def without_rules(firings: RuleFirings, rule_ids: Collection[str]) -> RuleFirings:
    """Return the firings without those of some rules; the same object if there are none of them."""
    if firings.keys().isdisjoint(rule_ids):
        return firings
    return {rule_id: each for rule_id, each in firings.items() if rule_id not in rule_ids}


def add_firing(firings: RuleFirings, event: Event) -> dict[str, Firings]:
    """Return the firings with the one that an event of the type RULE_FIRED records."""
    rule_id, number = event.origin.rule or "", event.metadata.get("number", 0)
    before = firings.get(rule_id, Firings())
    number = number if isinstance(number, int) else 0
    measure_key = str(event.metadata.get("counted", ""))
    return {**firings, rule_id: before.with_firing(event.occurred_ms, number, measure_key)}
