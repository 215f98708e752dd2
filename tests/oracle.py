"""An independent oracle: it computes memberships from all events, at every instant that can change one.

The oracle shares no code with the product. It answers each question from the whole list of events, by plain arithmetic.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class OraclePoints:
    """One event as the oracle of points sees it.

    The points end at an instant (`ends_at_ms`), or after `idle_days` without activity. `corrects` is the id of the event
    that this one corrects. A removed event counts no more, but a correction of it keeps its order.
    """

    id: str
    at_ms: int
    points: Decimal
    ends_at_ms: int | None = None
    idle_days: int | None = None
    corrects: str | None = None
    is_activity: bool = True
    is_removed: bool = False
    step: int = 0
    is_award: bool = False
    """Whether a rule gave or took the points. Awards with the same end share what is left of them."""
    is_reversal: bool = False
    """Whether the points take an award back. A deduction takes points as spending does."""
    is_difference: bool = False
    """Whether a correction made the award, or took it back."""
    matures_at_ms: int | None = None
    """The instant from which an award is in the balance."""


@dataclass(frozen=True)
class PointsState:
    """The result of the oracle: the balance, what each grant with an end has left, and (grant, points, instant) of ends."""

    balance: Decimal
    left: dict[str, Decimal]
    expired: list[tuple[str, Decimal, int]]


@dataclass
class _Grant:
    id: str
    at_ms: int
    left: Decimal
    ends_at_ms: int | None
    idle_days: int | None
    award: tuple[int | None, int | None] | None = None
    number: int = field(default_factory=itertools.count().__next__)

    def end_ms(self, active_ms: int) -> int | None:
        return self.ends_at_ms if self.idle_days is None else active_ms + self.idle_days * DAY


def points_until(events: Iterable[OraclePoints], until_ms: int) -> PointsState:
    """Return the points at an instant, from every event in the order in which events count by then.

    Every grant lies in one list. A correction counts after what it corrects, whatever its own date is.
    """
    by_id = {event.id: event for event in events}

    def place(event: OraclePoints) -> tuple[int, int]:
        original = None if event.corrects is None else by_id.get(event.corrects)
        at_ms, depth = (event.at_ms - 1, 0) if original is None else place(original)
        return (event.at_ms, 0) if event.at_ms > at_ms else (at_ms, depth + 1)

    grants: list[_Grant] = []
    expired: list[tuple[str, Decimal, int]] = []
    debt, active_ms = Decimal(0), 0

    # Points of awards, by end: given, expired, and taken back after the end. Awards that wait, as (instant, event).
    given: dict[object, Decimal] = defaultdict(Decimal)
    lapsed: dict[object, Decimal] = defaultdict(Decimal)
    taken: dict[object, Decimal] = defaultdict(Decimal)
    waiting: list[tuple[int, OraclePoints, Decimal]] = []
    # The last award that inactivity ends, by the number of days: all such awards end together.
    latest: dict[int | None, int] = defaultdict(int)

    def end_of(grant: _Grant) -> int | None:
        if grant.award is None or grant.idle_days is None:
            return grant.end_ms(active_ms)
        return grant.end_ms(max(active_ms, latest[grant.idle_days]))

    def order(grant: _Grant) -> tuple[bool, int, int, str]:
        end = end_of(grant)
        return (True, grant.number, 0, "") if end is None else (False, end, grant.at_ms, grant.id)

    def remove_ended(now_ms: int) -> None:
        for grant in sorted(grants, key=order):
            end = end_of(grant)
            if end is not None and end <= now_ms:
                grants.remove(grant)
                lapsed[grant.award] += grant.left
                if grant.left:
                    expired.append((grant.id, grant.left, end))

    def matures_before(each: tuple[int, OraclePoints, Decimal]) -> tuple[int, bool, bool, int]:
        """Return the order in which points enter the balance: at one instant, those that end at an instant come first."""
        at_ms, event, _ = each
        ends = event.ends_at_ms is None and event.idle_days is None
        return at_ms, ends, event.idle_days is not None, event.ends_at_ms or event.idle_days or 0

    def expire(now_ms: int) -> None:
        while waiting and (first := min(waiting, key=matures_before))[0] <= now_ms:
            waiting.remove(first)
            remove_ended(first[0])
            award(first[1], first[2], first[0])
        remove_ended(now_ms)

    def award(event: OraclePoints, points: Decimal, at_ms: int) -> None:
        nonlocal debt
        key = (event.ends_at_ms, event.idle_days)
        grant = _Grant(event.id, at_ms, points, event.ends_at_ms, event.idle_days, key)
        end = grant.end_ms(max(active_ms, at_ms))
        if end is None or end > at_ms:
            given[key] += points
            latest[event.idle_days] = at_ms
            repaid = min(debt, points)
            debt, grant.left = debt - repaid, points - repaid
            grants.append(grant)

    def spend(points: Decimal) -> None:
        nonlocal debt
        for grant in sorted(grants, key=order):
            used = min(grant.left, points)
            grant.left, points = grant.left - used, points - used
        debt += points

    def change_award(event: OraclePoints, now_ms: int) -> None:
        """Count an award, a reversal of one, or a deduction by a rule."""
        nonlocal debt
        key, points = (event.ends_at_ms, event.idle_days), event.points
        end = event.ends_at_ms if event.idle_days is None else active_ms + event.idle_days * DAY
        is_left = any(grant.award == key and grant.left for grant in grants)
        has_ended = end is not None and end <= now_ms and not is_left
        if points > 0:
            if event.matures_at_ms is not None and event.matures_at_ms > now_ms:
                waiting.append((event.matures_at_ms, event, points))
            elif has_ended and event.is_difference:
                back = min(points, taken[key])
                taken[key] -= back
                given[key] += back
                spend_back = min(debt, back)
                debt -= spend_back
                if back > spend_back:
                    grants.append(_Grant(event.id, now_ms, back - spend_back, None, None))
            else:
                if event.is_difference:
                    taken[key] -= min(points, taken[key])
                award(event, points, now_ms)
            return
        if not event.is_reversal:
            spend(-points)
            return
        owed = -points
        for index, (at_ms, each, left) in enumerate(waiting):
            if (at_ms, each.ends_at_ms, each.idle_days) == (event.matures_at_ms, *key):
                used = min(owed, left)
                owed, waiting[index] = owed - used, (at_ms, each, left - used)
        if key == (None, None):
            # Points that never expire, those of awards first.
            for grant in sorted(grants, key=lambda grant: grant.award is None):
                if end_of(grant) is None:
                    used = min(owed, grant.left)
                    owed, grant.left = owed - used, grant.left - used
        elif has_ended:
            owed = min(owed, max(Decimal(0), given[key] - lapsed[key]))
            given[key] -= owed
            taken[key] += owed
        else:
            given[key] -= owed
            for grant in grants:
                if grant.award == key:
                    used = min(owed, grant.left)
                    owed, grant.left = owed - used, grant.left - used
            taken[key] += owed
        spend(owed)

    def order_of(event: OraclePoints) -> tuple[int, int, int, str]:
        at_ms, depth = place(event)
        return at_ms, event.step, depth, event.id

    counted = sorted(order_of(event) for event in by_id.values() if not event.is_removed)
    for now_ms, _, _, event_id in counted:
        if now_ms > until_ms:
            break
        event = by_id[event_id]
        expire(now_ms)
        active_ms = max(active_ms, event.at_ms) if event.is_activity else active_ms
        points = event.points
        if event.is_award:
            change_award(event, now_ms)
        elif points > 0:
            grant = _Grant(event.id, now_ms, points, event.ends_at_ms, event.idle_days)
            end = grant.end_ms(max(active_ms, now_ms))
            if end is None or end > now_ms:
                repaid = min(debt, points)
                debt, grant.left = debt - repaid, points - repaid
                grants.append(grant)
        elif points < 0:
            spend(-points)
        elif event.ends_at_ms is not None or event.idle_days is not None:
            for grant in grants:
                if grant.id == event.corrects:
                    grant.ends_at_ms = None if event.ends_at_ms is None else max(event.ends_at_ms, now_ms)
                    grant.idle_days = event.idle_days
    expire(until_ms)
    left = {grant.id: grant.left for grant in grants if grant.end_ms(0) is not None and grant.left}
    return PointsState(sum((grant.left for grant in grants), Decimal(0)) - debt, left, expired)
