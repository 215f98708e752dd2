"""An independent oracle: it computes memberships from all events, at every instant that can change one.

The oracle shares no code with the product. It answers each question from the whole list of events, by plain arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

DAY = 86_400_000


@dataclass(frozen=True)
class OracleEvent:
    """One event as the oracle sees it, and the instant at which it was removed, if it was."""

    at_ms: int
    amount: Decimal
    removed_at_ms: int | None = None


Criteria = Callable[[list[OracleEvent], int, int], bool]
"""A function that returns whether a pass matches.

Its arguments are the events up to an instant, that instant, and the instant at which the pass was created (UTC ms).
"""


def bought_within(days: int) -> Criteria:
    """Return the criteria `bought within so many days`."""
    return lambda events, t, joined: any(t - e.at_ms < days * DAY for e in events)


def no_purchase_for(days: int) -> Criteria:
    """Return the criteria `no purchase in so many days`, counted from the creation of a pass without purchases."""
    return lambda events, t, joined: t - max((e.at_ms for e in events), default=joined) >= days * DAY


def spent_within(amount: Decimal, days: int) -> Criteria:
    """Return the criteria `amount or more spent within so many days`."""
    return lambda events, t, joined: sum((e.amount for e in events if t - e.at_ms < days * DAY), Decimal(0)) >= amount


def at_least(count: int, days: int | None = None) -> Criteria:
    """Return the criteria `count or more purchases`, within so many days if given."""

    def has_enough(events: list[OracleEvent], t: int, joined: int) -> bool:
        return len([e for e in events if days is None or t - e.at_ms < days * DAY]) >= count

    return has_enough


def list_transitions(
    events: Iterable[OracleEvent], joined: int, until: int, criteria: Criteria, edges_days: Iterable[int]
) -> list[tuple[int, bool]]:
    """Return (instant, entered) of each transition from `joined` to `until`.

    The oracle asks at each event, at each removal, and `edges_days` after each event and after `joined`.
    """
    ordered = sorted(events, key=lambda e: e.at_ms)
    instants = {joined, *(e.at_ms for e in ordered), *(e.removed_at_ms for e in ordered if e.removed_at_ms is not None)}
    for days in edges_days:
        instants |= {e.at_ms + days * DAY for e in ordered} | {joined + days * DAY}
    found: list[tuple[int, bool]] = []
    is_member = False
    for t in sorted(i for i in instants if joined <= i <= until):
        counted = [e for e in ordered if e.at_ms <= t and (e.removed_at_ms is None or t < e.removed_at_ms)]
        if criteria(counted, t, joined) != is_member:
            is_member = not is_member
            found.append((t, is_member))
    return found
