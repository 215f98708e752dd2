"""Plans of periods: whatever is sealed, absent or dirty, the parts that are read add up to the events of the period."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random
from zoneinfo import ZoneInfo

import pytest

from app.domain.rollups.building import Content, build_content, rows_of
from app.domain.rollups.choices import Choice, Expansion, choose, choose_hours
from app.domain.rollups.levels import Level
from app.domain.rollups.plans import Head, Period, PeriodPlan, plan_period, runs_of
from app.domain.rollups.rows import CountedRow, add_rows, row_of
from app.domain.rollups.selections import CALENDAR, Cells, Selection
from app.domain.values.instants import DAY_MS, HOUR_MS
from app.domain.values.periods import period_days
from app.domain.values.zones import UTC, days_of
from tests.domain.rollups.test_rows import purchase

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Asia/Beirut",
)
START_MS = row_of(purchase(0, "1")).start_ms  # 2026-01-01T00:00Z
MINUTES = 100 * 24 * 60
CLEAN = Head(token=1)


def rows_at(*minutes: int) -> list[CountedRow]:
    return [row_of(purchase(minute, "1.5")) for minute in minutes]


def contents_of(rows: Iterable[CountedRow]) -> dict[Period, Content]:
    found: dict[Period, list[CountedRow]] = {}
    for row in rows:
        for level in Level:
            found.setdefault(Period(level, level.start_ms(row.start_ms)), []).append(row)
    return {period: build_content(inside, period.level) for period, inside in found.items()}


def choices_of(plan: PeriodPlan, heads: Mapping[Period, Head], dirty: list[Period]) -> Choice:
    """Choose on all levels, as a reading does."""
    hours = [each for each in dirty if each.level is Level.HOUR]
    starts = {each.around(Level.MONTH).start_ms for each in heads}
    by_month = Expansion({}, frozenset(), plan.days_of_short)
    if not plan.is_short:
        by_month = choose(plan, Level.MONTH, plan.months(starts), heads, dirty)
    by_day = choose(plan, Level.DAY, by_month.inside, heads, hours)
    by_hour = choose_hours(plan, by_day.inside, heads, hours)
    return Choice(
        {**by_month.contents, **by_day.contents, **by_hour.contents},
        by_month.absent | by_day.absent | by_hour.absent,
        by_hour.dirty,
    )


def cut(plan: PeriodPlan, period: Period, rows: Iterable[CountedRow]) -> Iterable[CountedRow]:
    """Join the rows of a content between its cuts, and drop those that the plan does not take."""
    cuts = plan.cell_cuts(period)
    for row in rows:
        number = (row.start_ms - period.start_ms) // period.level.cell_ms
        starts = [each for each in cuts[:-1] if each <= number < cuts[-1]]
        if cuts and not starts:
            continue
        start_ms = period.start_ms + starts[-1] * period.level.cell_ms if cuts else row.start_ms
        if plan.has_row(period, start_ms):
            yield replace(row, start_ms=start_ms)


def random_heads(random: Random, contents: Mapping[Period, Content]) -> tuple[dict[Period, Head], list[Period]]:
    """Return heads as sealing leaves them: what is dirty, or never sealed, has no clean period around it."""
    dirty = [period for period in contents if period.level is Level.HOUR and random.random() < 0.02]
    dirty += [period for period in contents if period.level is Level.DAY and random.random() < 0.1]
    heads = dict.fromkeys(contents, CLEAN) | {period: Head(dirty=5, token=1) for period in dirty}
    for period in dirty:
        for level in (Level.DAY, Level.MONTH):
            if level is not period.level and random.random() < 0.3:
                heads.pop(period.around(level), None)
    return heads, dirty


def cell_of(plan: PeriodPlan, at_ms: int) -> int:
    cells = plan.selection.cells
    if cells is Cells.TOTAL:
        return 0
    if cells is Cells.QUARTER_HOUR:
        return at_ms
    if cells is Cells.HOUR:
        return days_of(plan.zone).local_ms(at_ms) // HOUR_MS
    return period_days(days_of(plan.zone).day_of(at_ms), CALENDAR[cells], plan.selection.week_start)[0].toordinal()


@pytest.mark.parametrize("seed", range(4))
def test_parts_of_a_plan_add_up_to_the_events_of_the_period_by_cell(seed: int) -> None:
    random = Random(seed)
    rows = rows_at(*(random.randrange(MINUTES) for _ in range(400)))
    contents = contents_of(rows)
    for cells in Cells:
        heads, dirty = random_heads(random, contents)
        zone = ZoneInfo(random.choice(ZONES))
        low, high = sorted(START_MS + random.randrange(-DAY_MS, 100 * DAY_MS) for _ in range(2))
        plan = plan_period(Selection(low, high, cells=cells, week_start=random.randrange(7)), zone)
        assert plan is not None
        choice = choices_of(plan, heads, dirty)
        read = [row for each in choice.contents for row in cut(plan, each, rows_of(contents[each], *each))]
        hours = {hour.start_ms for hour in choice.dirty}
        inside = [row for row in rows if plan.low_ms <= row.start_ms < plan.high_ms]
        read += [row for row in inside if row.start_ms - row.start_ms % HOUR_MS in hours]
        expected = add_rows(replace(row, start_ms=cell_of(plan, row.start_ms)) for row in inside)
        found = add_rows(replace(row, start_ms=cell_of(plan, row.start_ms)) for row in read)
        assert sorted(found, key=str) == sorted(expected, key=str), (seed, cells, zone)
        assert all(period in choice.contents or period not in contents for period in choice.heads)


def test_year_in_a_zone_reads_months_and_the_two_days_at_its_ends() -> None:
    rows = rows_at(*range(0, MINUTES, 300))
    contents = contents_of(rows)
    plan = plan_period(Selection(START_MS - HOUR_MS, START_MS + 59 * DAY_MS - HOUR_MS), ZoneInfo("Europe/Berlin"))
    assert plan is not None
    choice = choices_of(plan, dict.fromkeys(contents, CLEAN), [])
    assert [each.level for each in choice.contents] == [Level.MONTH, Level.MONTH, Level.DAY]
    assert not choice.dirty


def test_parts_of_quarters_at_the_ends_of_a_period_are_read_from_events() -> None:
    plan = plan_period(Selection(START_MS + 1, START_MS + HOUR_MS + 5), UTC)
    assert plan is not None
    assert plan.edges == ((START_MS + 1, START_MS + 900_000), (START_MS + HOUR_MS, START_MS + HOUR_MS + 5))
    short = plan_period(Selection(START_MS + 1, START_MS + 5), UTC)
    assert short is not None
    assert (short.edges, short.low_ms >= short.high_ms) == (((START_MS + 1, START_MS + 5),), True)


def test_zone_whose_offset_has_seconds_is_read_from_events() -> None:
    monrovia, past = ZoneInfo("Africa/Monrovia"), -30 * DAY_MS
    assert plan_period(Selection(past, 0, cells=Cells.DAY), monrovia) is None
    assert plan_period(Selection(past, 0), monrovia) is not None
    assert plan_period(Selection(START_MS, START_MS + DAY_MS, cells=Cells.DAY), monrovia) is not None


def test_runs_join_hours_in_a_row_and_then_those_with_the_shortest_gaps() -> None:
    hours = [Period(Level.HOUR, number * HOUR_MS) for number in (1, 2, 4, 20, 22)]
    spans = [(1, 3), (4, 5), (20, 21), (22, 23)]
    assert runs_of(hours, 9) == [(low * HOUR_MS, high * HOUR_MS) for low, high in spans]
    assert runs_of(hours, 2) == [(1 * HOUR_MS, 5 * HOUR_MS), (20 * HOUR_MS, 23 * HOUR_MS)]
