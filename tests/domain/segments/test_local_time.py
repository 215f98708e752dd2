"""Criteria on local time that are refused, with the part at fault."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.domain.errors import InvalidInput
from app.domain.segments.local_time import depends_on_zone
from app.domain.segments.moments import MAX_MOMENTS, MomentCriterion
from app.domain.segments.parsing import parse_criteria
from app.domain.state.calendars import Calendar
from app.domain.values.instants import to_ms

ANNIVERSARY = {"field": "fields.birthday", "unit": "YEAR"}


@pytest.mark.parametrize(
    ("of_pass", "code", "field"),
    [
        ({"anniversary": {**ANNIVERSARY, "field": "updatedAt"}}, "UNKNOWN", "anniversary.field"),
        ({"anniversary": {**ANNIVERSARY, "unit": "WEEK"}}, "UNKNOWN", "anniversary.unit"),
        ({"anniversary": {**ANNIVERSARY, "nth": 0}}, "OUT_OF_RANGE", "anniversary.nth"),
        ({"anniversary": {**ANNIVERSARY, "forDays": 301}}, "OUT_OF_RANGE", "anniversary.forDays"),
        ({"anniversary": {**ANNIVERSARY, "unit": "MONTH", "forDays": 28}}, "OUT_OF_RANGE", "anniversary.forDays"),
        ({"anniversary": ANNIVERSARY, "field": "createdAt"}, "INVALID", "anniversary"),
        ({"anniversary": ANNIVERSARY, "value": {"days": 3}}, "INVALID", "anniversary"),
        ({"field": "status", "operator": "WITHIN_LAST", "value": {"days": 3}}, "UNKNOWN", "field"),
        ({"field": "createdAt", "operator": "WITHIN_LAST", "value": {"days": 0}}, "OUT_OF_RANGE", "value.days"),
        ({"field": "createdAt", "operator": "BEFORE", "value": 3}, "INVALID", "value"),
        ({"operator": "EQ", "value": 3}, "REQUIRED", "field"),
    ],
)
def test_criteria_on_instants_of_a_pass_that_make_no_sense_are_refused(
    of_pass: dict[str, object], code: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_criteria({"pass": of_pass}, "USD", "criteria")
    [problem] = refused.value.problems
    assert (problem.code.value, ".".join(problem.field)) == (code, f"criteria.pass.{field}")


@pytest.mark.parametrize(
    ("event", "code", "field"),
    [
        ({"value": 1, "calendar": {"unit": "DAY", "offset": 1}}, "OUT_OF_RANGE", "calendar.offset"),
        ({"value": 1, "calendar": {"unit": "DAY", "offset": -13}}, "OUT_OF_RANGE", "calendar.offset"),
        ({"value": 1, "calendar": {"unit": "HOUR"}}, "UNKNOWN", "calendar.unit"),
        ({"value": 1, "calendar": {"unit": "DAY"}, "within": {"days": 1}}, "INVALID", "calendar"),
        ({"value": 1, "metric": "DAYS_SINCE_LAST", "calendar": {"unit": "DAY"}}, "UNSUPPORTED", "calendar"),
        ({"value": 1, "metric": "DAYS_SINCE_FIRST", "calendar": {"unit": "DAY"}}, "UNSUPPORTED", "calendar"),
        ({"value": 1, "metric": "MEDIAN", "calendar": {"unit": "DAY"}}, "UNKNOWN", "metric"),
        (
            {"value": 101, "metric": "COUNT_DISTINCT", "field": "source", "calendar": {"unit": "DAY"}},
            "OUT_OF_RANGE",
            "value",
        ),
        ({"consecutive": {"unit": "YEAR", "atLeast": 2}}, "UNKNOWN", "consecutive.unit"),
        ({"consecutive": {"unit": "DAY", "atLeast": 61}}, "OUT_OF_RANGE", "consecutive.atLeast"),
        ({"consecutive": {"unit": "DAY", "atLeast": 0}}, "OUT_OF_RANGE", "consecutive.atLeast"),
        ({"consecutive": {"unit": "DAY", "atLeast": 5}, "value": 2}, "INVALID", "value"),
        ({"consecutive": {"unit": "DAY", "atLeast": 5}, "calendar": {"unit": "DAY"}}, "INVALID", "calendar"),
        ({"consecutive": {"unit": "DAY", "atLeast": 5}, "metric": "SUM"}, "INVALID", "consecutive"),
        ({"types": ["visit"]}, "REQUIRED", "value"),
    ],
)
def test_criteria_on_local_time_that_make_no_sense_are_refused(event: dict[str, object], code: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_criteria({"event": event}, "USD", "criteria")
    [problem] = refused.value.problems
    assert (problem.code.value, ".".join(problem.field)) == (code, f"criteria.event.{field}")


def test_stored_form_of_criteria_on_local_time_is_read_back() -> None:
    for event in (
        {"value": 1, "calendar": {"unit": "DAY", "offset": -2}},
        {"metric": "AVG", "value": 5, "calendar": {"unit": "YEAR"}},
        {"metric": "MAX", "field": "metadata.n", "value": 5, "calendar": {"unit": "MONTH", "offset": -12}},
        {"metric": "COUNT_DISTINCT", "field": "source", "value": 100, "calendar": {"unit": "WEEK"}},
        {"consecutive": {"unit": "WEEK", "atLeast": 4}},
    ):
        criteria = parse_criteria({"event": event}, "USD")
        assert depends_on_zone(criteria)
        assert parse_criteria(criteria.to_dict(), "USD") == criteria
        assert parse_criteria(criteria.to_dict(), "USD", stored_meaning=2) == criteria
    for of_pass in (
        {"anniversary": {**ANNIVERSARY, "nth": 3, "forDays": 7}},
        {"field": "fields.renewal", "operator": "BEFORE", "value": {"days": -7}},
    ):
        criteria = parse_criteria({"pass": of_pass}, "USD")
        assert depends_on_zone(criteria)
        assert parse_criteria(criteria.to_dict(), "USD", stored_meaning=2) == criteria
    plain = {"field": "createdAt", "operator": "WITHIN_LAST", "value": {"days": 3}}
    assert not depends_on_zone(parse_criteria({"pass": plain}, "USD"))


def test_moments_look_at_the_first_values_of_a_list_only() -> None:
    """A list of thousands of dates would keep the passes of other workspaces waiting."""
    today = to_ms(datetime(2026, 5, 3, 12, tzinfo=UTC))
    calendar = Calendar("Europe/Berlin")
    for of_pass in (
        {"anniversary": {**ANNIVERSARY, "unit": "YEAR"}},
        {"field": "fields.birthday", "operator": "BEFORE", "value": {"days": 300}},
    ):
        criterion = parse_criteria({"pass": of_pass}, "USD")
        assert isinstance(criterion, MomentCriterion)
        bound = criterion.bound_to(calendar)
        others = ["2026-04-01"] * (MAX_MOMENTS - 1)
        assert bound.holds([*others, "1990-05-03"], today)
        assert not bound.holds([*others, "2026-04-01", "1990-05-03"], today)
