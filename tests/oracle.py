"""An independent oracle: memberships computed by brute force from all events, at every instant that could matter.

It shares no code with the product: plain lists, plain arithmetic, every question answered from the whole file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

DAY = 86_400_000


@dataclass(frozen=True)
class Happening:
    """One event as the oracle sees it; `gone` is when it was removed."""

    at: int
    amount: Decimal
    gone: int | None = None


Verdict = Callable[[list[Happening], int, int], bool]
"""(events up to T, T, when the pass joined) -> member."""


def bought_within(days: int) -> Verdict:
    return lambda events, t, joined: any(t - e.at < days * DAY for e in events)


def nothing_for(days: int) -> Verdict:
    return lambda events, t, joined: t - max((e.at for e in events), default=joined) >= days * DAY


def spent_within(amount: Decimal, days: int) -> Verdict:
    return lambda events, t, joined: sum((e.amount for e in events if t - e.at < days * DAY), Decimal(0)) >= amount


def at_least(count: int, days: int | None = None) -> Verdict:
    def verdict(events: list[Happening], t: int, joined: int) -> bool:
        return len([e for e in events if days is None or t - e.at < days * DAY]) >= count

    return verdict


def flips(
    events: Iterable[Happening], joined: int, until: int, verdict: Verdict, edges_days: Iterable[int]
) -> list[tuple[int, bool]]:
    """Every (instant, entered?) from joining to `until`, asked at each event, its removal, and each event plus N days."""
    ordered = sorted(events, key=lambda e: e.at)
    instants = {joined, *(e.at for e in ordered), *(e.gone for e in ordered if e.gone is not None)}
    for days in edges_days:
        instants |= {e.at + days * DAY for e in ordered} | {joined + days * DAY}
    found: list[tuple[int, bool]] = []
    member = False
    for t in sorted(i for i in instants if joined <= i <= until):
        now = verdict([e for e in ordered if e.at <= t and (e.gone is None or t < e.gone)], t, joined)
        if now != member:
            found.append((t, now))
            member = now
    return found
