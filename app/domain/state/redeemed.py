"""Units of each reward that a pass has redeemed: the little that limits ask, so that a walk need not read events for it."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.domain.events.events import REDEMPTION_ROLLBACK, Event

from .firings import MAX_INSTANTS

Units = tuple[int, int]
"""Instant of a redemption in ms, and its units."""


@dataclass(frozen=True, slots=True)
class Redeemed:
    """Units of one reward that a pass has redeemed, a function of the set of its redemptions and their rollbacks.

    - `total`: units ever, less those that were rolled back.
    - `taken`: the last redemptions, ascending, at most MAX_INSTANTS, also those that were rolled back.
    - `returned`: those of the last redemptions that were rolled back, by the instant of the redemption.
    """

    total: int = 0
    taken: tuple[Units, ...] = ()
    returned: tuple[Units, ...] = ()

    def count_after(self, at_ms: int) -> int:
        """Return the units that were redeemed after an instant and not rolled back. It is exact up to MAX_INSTANTS."""
        return _count(self.taken, at_ms) - _count(self.returned, at_ms)

    def with_taken(self, at_ms: int, units: int) -> Redeemed:
        """Return the units with those of one more redemption, of any instant."""
        return Redeemed(self.total + units, _insert(self.taken, (at_ms, units)), self.returned)

    def with_returned(self, at_ms: int, units: int) -> Redeemed:
        """Return the units without those of a redemption of this instant, which was rolled back."""
        return Redeemed(self.total - units, self.taken, _insert(self.returned, (at_ms, units)))


RedeemedRewards = Mapping[str, Redeemed]
"""Units that a pass has redeemed, by the id of the reward."""


def add_redeemed(rewards: RedeemedRewards, event: Event) -> RedeemedRewards:
    """Return the units after an event that counts. Events that redeem no reward, and return none, change nothing."""
    if event.type == REDEMPTION_ROLLBACK:
        reward_id, units = event.metadata.get("reward"), event.metadata.get("quantity")
        if not isinstance(reward_id, str) or not isinstance(units, int) or event.corrected_order is None:
            return rewards
        before = rewards.get(reward_id, Redeemed())
        return {**rewards, reward_id: before.with_returned(event.corrected_order[0], units)}
    if event.guard is None or event.guard.reward is None:
        return rewards
    reward = event.guard.reward
    before = rewards.get(reward.reward_id, Redeemed())
    return {**rewards, reward.reward_id: before.with_taken(event.order_ms, reward.quantity)}


def count_redeemed(events: Iterable[Event]) -> RedeemedRewards:
    """Return the units after all events that count, in any order."""
    rewards: RedeemedRewards = {}
    for event in events:
        rewards = add_redeemed(rewards, event)
    return rewards


def _count(units: Iterable[Units], after_ms: int) -> int:
    return sum(count for at_ms, count in units if at_ms > after_ms)


def _insert(units: tuple[Units, ...], new: Units) -> tuple[Units, ...]:
    found = list(units)
    insort(found, new)
    return tuple(found[-MAX_INSTANTS:])
