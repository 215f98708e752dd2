"""Return rate: active days, and customers who come again."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from random import Random
from statistics import median
from zoneinfo import ZoneInfo

import pytest

from app.domain.errors import Code, InvalidInput
from app.domain.insights.returns import ActiveDays, Returned, parse_within_days
from app.domain.values.instants import DAY_MS, HOUR_MS, from_ms

from .moments import START_MS, moment, random_moments

NOW_MS = START_MS + 1_000 * DAY_MS


def test_two_events_of_one_local_day_are_one_active_day() -> None:
    late = (
        START_MS + 21 * HOUR_MS
    )  # 22:00 in Berlin, so the next event lies on the next local day and the same day of UTC
    events = [moment("ann", late), moment("ann", late + HOUR_MS), moment("ann", late + 2 * HOUR_MS)]
    for zone, distribution in (("UTC", ()), ("Europe/Berlin", ((1, 1),))):
        active_days = ActiveDays((), ZoneInfo(zone), from_ms=START_MS, to_ms=START_MS + DAY_MS)
        active_days.add(events)
        assert active_days.answer([7], NOW_MS).distribution == distribution


def test_return_after_the_period_counts_and_unfinished_days_do_not() -> None:
    active_days = ActiveDays(["purchase"], ZoneInfo("UTC"), from_ms=START_MS, to_ms=START_MS + DAY_MS)
    active_days.add([moment("ann", START_MS), moment("bob", START_MS), moment("ann", START_MS + 30 * DAY_MS)])
    active_days.add([moment("bob", START_MS + DAY_MS, "visit"), moment("cas", START_MS + 2 * DAY_MS)])
    found = active_days.answer([29, 30, 90], START_MS + 60 * DAY_MS)
    assert found.customers == 2
    assert found.returned == (
        Returned(29, 2, 0, rate=Decimal(0)),
        Returned(30, 2, 1, rate=Decimal("0.5")),
        Returned(90, 0, 0, rate=None),
    )
    assert (found.median_days, found.distribution) == (None, ())


def local_day(at_ms: int, zone: str) -> int:
    """Return the number of the local day that contains an instant."""
    return from_ms(at_ms).astimezone(ZoneInfo(zone)).date().toordinal()


@pytest.mark.parametrize("zone", ["UTC", "America/Sao_Paulo", "Pacific/Apia", "Europe/Berlin"])
def test_answer_equals_an_independent_computation(zone: str) -> None:
    random = Random(zone)
    for _ in range(30):
        events = random_moments(random, 60, 120)
        types = random.choice([(), ("purchase", "visit")])
        begin_ms, end_ms = START_MS + 20 * DAY_MS, START_MS + 70 * DAY_MS
        now_ms = START_MS + random.randrange(60, 200) * DAY_MS
        active_days = ActiveDays(types, ZoneInfo(zone), from_ms=begin_ms, to_ms=end_ms)
        for part in (events[:25], events[25:]):
            active_days.add(part)
        found = active_days.answer([7, 30], now_ms)

        active = [(e.pass_id, e.at_ms) for e in events if (e.type in types if types else not e.made)]
        gaps: list[int] = []
        firsts: dict[str, tuple[int, list[int]]] = {}
        for name in {name for name, at_ms in active if begin_ms <= at_ms < end_ms}:
            inside = sorted({local_day(at, zone) for n, at in active if n == name and begin_ms <= at < end_ms})
            gaps += [b - a for a, b in pairwise(inside)]
            later = sorted({local_day(at, zone) for n, at in active if n == name and at >= begin_ms})
            firsts[name] = inside[0], [day - inside[0] for day in later if day > inside[0]]
        assert found.customers == len(firsts)
        assert dict(found.distribution) == dict(Counter(gaps))
        assert found.median_days == (Decimal(str(median(gaps))) if gaps else None)
        for each in found.returned:
            over = [later for first, later in firsts.values() if first + each.days < local_day(now_ms, zone)]
            again = sum(bool(later) and later[0] <= each.days for later in over)
            assert (each.customers, each.returned) == (len(over), again)
            assert each.rate is None or abs(Fraction(each.rate) - Fraction(again, len(over))) <= Fraction(1, 2_000_000)


def test_numbers_of_days_are_checked_and_sorted() -> None:
    assert parse_within_days(None) == (7, 30, 60, 90)
    assert parse_within_days([30, 7, 30]) == (7, 30)
    for wrong, code in (([0], Code.OUT_OF_RANGE), ([4_000], Code.OUT_OF_RANGE), ([], Code.TOO_MANY)):
        with pytest.raises(InvalidInput) as refused:
            parse_within_days(wrong, "input", "withinDays")
        assert refused.value.problems[0].code is code
