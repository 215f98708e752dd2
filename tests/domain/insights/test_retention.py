"""Retention: cohorts of new customers in the calendar of a zone."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from random import Random
from zoneinfo import ZoneInfo

import pytest

from app.domain.errors import Code, InvalidInput
from app.domain.insights.moments import Moment
from app.domain.insights.retention import Cohorts, CohortUnit
from app.domain.values.instants import DAY_MS, HOUR_MS, from_ms

from .moments import START_MS, moment, random_moments


def test_customer_who_acted_before_the_period_is_in_no_cohort() -> None:
    cohorts = Cohorts(CohortUnit.MONTH, (), "EUR", zone=ZoneInfo("UTC"), week_start=0)
    cohorts.add([moment("old", START_MS), moment("new", START_MS, "purchase", "5")])
    cohorts.add([moment("new", START_MS + 40 * DAY_MS, "refund", "2")])
    first, second = cohorts.answer(START_MS, START_MS + 41 * DAY_MS, not_new={"old"})
    assert (first.start_ms, first.size, second.size) == (START_MS, 1, 0)
    assert [(p.n, p.active, p.rate, p.revenue) for p in first.periods] == [
        (0, 1, Decimal(1), Decimal(5)),
        (1, 1, Decimal(1), Decimal(-2)),
    ]
    assert [(p.active, p.rate, p.revenue) for p in second.periods] == [(0, None, Decimal(0))]


def test_months_and_weeks_begin_in_the_time_zone_and_on_the_day_of_the_workspace() -> None:
    berlin, late = ZoneInfo("Europe/Berlin"), START_MS + 31 * DAY_MS - HOUR_MS
    months = Cohorts(CohortUnit.MONTH, (), "EUR", zone=berlin, week_start=0)
    months.add([moment("ann", late)])
    [month] = months.answer(None, late + 1)
    assert month.start_ms == late
    weeks = Cohorts(CohortUnit.WEEK, (), "EUR", zone=berlin, week_start=6)
    weeks.add([moment("ann", START_MS + 5 * DAY_MS)])
    [week] = weeks.answer(None, START_MS + 6 * DAY_MS)
    assert from_ms(week.start_ms).astimezone(berlin).date() == date(2025, 1, 5)


def test_more_periods_than_an_answer_has_are_refused() -> None:
    for unit, advice in (
        (CohortUnit.WEEK, "Ask for cohorts by MONTH, or for a later `from`."),
        (CohortUnit.MONTH, "Ask for a later `from`."),
    ):
        cohorts = Cohorts(unit, (), "EUR", zone=ZoneInfo("UTC"), week_start=0)
        assert cohorts.answer(None, START_MS) == ()
        with pytest.raises(InvalidInput) as refused:
            # Before any moment is added, so that a query can ask it before it reads events.
            cohorts.periods(START_MS - 7_000 * DAY_MS, START_MS, "input", "from")
        [problem] = refused.value.problems
        assert problem.code is Code.LIMIT
        assert problem.message.endswith(f"periods. {advice}")


def first_day(at_ms: int, unit: CohortUnit, zone: str, week_start: int) -> date:
    """Return the first day of the month or week that contains an instant."""
    day = from_ms(at_ms).astimezone(ZoneInfo(zone)).date()
    if unit is CohortUnit.MONTH:
        return day.replace(day=1)
    return day - timedelta(days=(day.weekday() - week_start) % 7)


def spend(event: Moment) -> Decimal:
    """Return what an event adds to the spend in EUR."""
    if event.amount is None or event.currency != "EUR":
        return Decimal(0)
    return -event.amount if event.type == "refund" else event.amount


@pytest.mark.parametrize("unit", list(CohortUnit))
@pytest.mark.parametrize("zone", ["UTC", "America/Sao_Paulo", "Asia/Kathmandu"])
def test_answer_equals_an_independent_computation(unit: CohortUnit, zone: str) -> None:
    random = Random(f"{unit} {zone}")
    for _ in range(20):
        events = random_moments(random, 80, 100)
        types = random.choice([(), ("purchase",), ("visit", "refund")])
        to_ms = START_MS + 90 * DAY_MS
        from_ms_ = random.choice([None, START_MS + 15 * DAY_MS])
        week_start = random.randrange(7)
        read = [e for e in events if e.at_ms < to_ms and (from_ms_ is None or e.at_ms >= from_ms_)]
        cohorts = Cohorts(unit, types, "EUR", zone=ZoneInfo(zone), week_start=week_start)
        for part in (read[:30], read[30:]):
            cohorts.add(part)
        acts = [e for e in events if (e.type in types if types else not e.made)]
        before = {e.pass_id for e in acts if from_ms_ is not None and e.at_ms < from_ms_}
        found = cohorts.answer(from_ms_, to_ms, not_new=before)

        period = partial(first_day, unit=unit, zone=zone, week_start=week_start)
        active = [e for e in read if (e.type in types if types else not e.made)]
        firsts: dict[str, int] = {}
        for event in sorted(active, key=lambda e: e.at_ms):
            firsts.setdefault(event.pass_id, event.at_ms)
        members = defaultdict(set)
        for name, at_ms in firsts.items():
            if name not in before:
                members[period(at_ms)].add(name)
        starts = [period(each.start_ms) for each in found]
        assert starts == sorted(set(starts))
        assert set(members) <= set(starts)
        for index, cohort in enumerate(found):
            names = members[starts[index]]
            assert cohort.size == len(names)
            assert [p.n for p in cohort.periods] == list(range(len(found) - index))
            for p in cohort.periods:
                there = [e for e in read if e.pass_id in names and period(e.at_ms) == starts[index + p.n]]
                assert p.active == len({e.pass_id for e in there if e in active})
                assert p.revenue == sum(map(spend, there))
