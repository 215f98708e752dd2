"""Time zones: the names that are accepted, and days as instants, also where a midnight is missing or comes twice."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo, available_timezones

import pytest

from app.domain.errors import Code, InvalidInput
from app.domain.values.instants import DAY_MS, EARLIEST, HOUR_MS, LATEST, from_ms, to_ms
from app.domain.values.zones import Days, days_of, parse_zone, stored_zone, zone_names

AT_MIDNIGHT = {
    "America/Santiago": "2022-09-11T04:00:00+00:00",
    "Asia/Beirut": "2022-03-26T22:00:00+00:00",
    "Africa/Cairo": "2024-04-25T22:00:00+00:00",
    "America/Sao_Paulo": "2018-11-04T03:00:00+00:00",
}
"""Zones whose clocks jumped over a midnight, and the instants."""
BACK_OVER_MIDNIGHT = {
    "America/St_Johns": "2006-10-29T02:31:00+00:00",
    "America/Sao_Paulo": "2019-02-17T02:00:00+00:00",
    "America/Havana": "2012-11-04T05:00:00+00:00",
}
"""Zones whose clocks went back at or shortly after a midnight, and the instants."""
OTHERS = (
    "UTC",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Etc/GMT+12",
)


def some_instants(random: Random, days: Days) -> list[int]:
    changes = days.offsets(to_ms(EARLIEST), to_ms(LATEST))
    near = [change.at_ms + shift for change in changes for shift in (-HOUR_MS, -1, 0, 1, HOUR_MS // 2, HOUR_MS)]
    return sorted(near + [random.randrange(to_ms(EARLIEST), to_ms(LATEST)) for _ in range(200)])


@pytest.mark.parametrize("name", [*AT_MIDNIGHT, *BACK_OVER_MIDNIGHT, *OTHERS])
def test_days_are_stretches_of_time_that_follow_each_other(name: str) -> None:
    days = days_of(ZoneInfo(name))
    before = date.min
    for at_ms in some_instants(Random(3), days):
        day = days.day_of(at_ms)
        assert day >= before
        assert days.start_ms(day) <= at_ms < days.start_ms(day + timedelta(days=1)) or at_ms < to_ms(EARLIEST)
        before = day


@pytest.mark.parametrize("name", [*AT_MIDNIGHT, *OTHERS])
def test_day_is_the_local_date_unless_clocks_went_back_over_a_midnight(name: str) -> None:
    zone = ZoneInfo(name)
    days = days_of(zone)
    for at_ms in some_instants(Random(4), days):
        assert days.day_of(at_ms) == from_ms(at_ms).astimezone(zone).date()


def test_day_without_a_midnight_begins_with_the_jump() -> None:
    for name, instant in AT_MIDNIGHT.items():
        at_ms = to_ms(datetime.fromisoformat(instant))
        days = days_of(ZoneInfo(name))
        day = days.day_of(at_ms)
        assert days.start_ms(day) == at_ms, name
        assert days.start_ms(day + timedelta(days=1)) - at_ms == 23 * HOUR_MS, name


def test_time_that_comes_twice_around_a_midnight_belongs_to_one_day() -> None:
    for name, instant in BACK_OVER_MIDNIGHT.items():
        at_ms = to_ms(datetime.fromisoformat(instant))
        days = days_of(ZoneInfo(name))
        lengths = {days.start_ms(days.day_of(at) + timedelta(days=1)) - days.start_ms(days.day_of(at))
                   for at in (at_ms - DAY_MS // 2, at_ms + DAY_MS // 2)}  # fmt: skip
        assert lengths == {DAY_MS, DAY_MS + HOUR_MS}, name


def test_day_that_a_zone_skipped_is_empty() -> None:
    days = days_of(ZoneInfo("Pacific/Apia"))
    skipped = date(2011, 12, 30)
    assert days.start_ms(skipped) == days.start_ms(skipped + timedelta(days=1))
    assert from_ms(days.start_ms(skipped)) == datetime(2011, 12, 30, 10, tzinfo=UTC)


def test_only_names_of_the_iana_list_are_accepted() -> None:
    assert parse_zone("Europe/Berlin").key == "Europe/Berlin"
    assert {"UTC", "America/Argentina/Buenos_Aires", "US/Pacific", "Etc/GMT+5"} <= zone_names()
    assert zone_names() <= available_timezones()
    for name in (
        "posixrules", "localtime", "Factory", "right/Europe/Berlin", "posix/Europe/Berlin", "europe/berlin", "Nowhere/Town",
        "", " UTC", "../etc/passwd", "Europe", "zone.tab", "Europe/Berlin\x00", 7, None, ["UTC"],
    ):  # fmt: skip
        with pytest.raises(InvalidInput) as refused:
            parse_zone(name, "timezone")
        [problem] = refused.value.problems
        assert (problem.code, problem.field) == (Code.UNKNOWN, ("timezone",)), name


def test_refused_name_comes_with_the_zone_that_is_most_like_it() -> None:
    for name, similar in (
        ("Europe/Berln", "Europe/Berlin"), ("america/new_york", "America/New_York"), ("Asia/Calcuta", "Asia/Calcutta"),
        ("new york", "America/New_York"), ("Berlin", "Europe/Berlin"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput) as refused:
            parse_zone(name, "timezone")
        assert f"Did you mean '{similar}'?" in refused.value.problems[0].message, name
    for raw in ("Mars", "", "x" * 10_000, 7):
        with pytest.raises(InvalidInput) as refused:
            parse_zone(raw, "timezone")
        [problem] = refused.value.problems
        assert "Did you mean" not in problem.message, raw
        assert len(problem.message) < 200, raw


def test_stored_zone_that_no_system_has_any_more_is_utc() -> None:
    assert stored_zone("Europe/Berlin").key == "Europe/Berlin"
    assert stored_zone("Nowhere/Town").key == "UTC"
