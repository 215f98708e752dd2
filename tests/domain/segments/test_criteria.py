"""Criteria: parsing, their written form, and comparisons."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Code, Refused
from app.domain.events.events import Event
from app.domain.segments.criteria import All, EventCriterion, Metric, Not
from app.domain.segments.parsing import parse_criteria
from app.domain.state.measures import Total, build_measure
from app.domain.values.conditions import MEANING
from app.domain.values.instants import DAY_MS, HOUR_MS
from tests.domain.fold.test_advance import START, purchase_event


def points_event(i: int, points: int) -> Event:
    """Return an event that gives or takes points."""
    return replace(purchase_event(i, START), amount=None, currency=None, points=Decimal(points))


names = st.lists(st.sampled_from(["purchase", "visit", "scan"]), max_size=3)
events = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(["COUNT", "SUM"]),
        "operator": st.sampled_from(["GTE", "GT", "EQ", "LT", "LTE"]),
        "value": st.integers(0, 10**6),
    },
    optional={
        "types": names,
        "sources": names,
        "categories": st.lists(st.sampled_from(["TRANSACTION", "ACTIVITY"]), max_size=2),
        "within": st.sampled_from([{"days": 30}, {"hours": 5}, {"minutes": 90}]),
        "metadata": st.just([{"path": "store.city", "operator": "EQ", "value": "Bonn"}]),
        "currency": st.sampled_from(["USD", "EUR"]),
    },
).map(lambda body: {"event": body})
others = st.sampled_from(
    [
        {"pass": {"field": "fields.level", "operator": "IN", "value": ["gold", 7]}},
        {"segment": {"id": "seg_1", "member": False}},
        {"event": {"metric": "DAYS_SINCE_LAST", "operator": "GT", "value": "1.5", "never": "FAILS"}},
        {"event": {"metric": "COUNT", "value": 1, "between": {"from": "2026-01-01T00:00:00Z", "to": None}}},
    ]
)
trees = st.recursive(
    events | others,
    lambda children: (
        st.lists(children, min_size=1, max_size=3).map(lambda c: {"all": c})
        | st.lists(children, min_size=1, max_size=3).map(lambda c: {"any": c})
        | children.map(lambda c: {"not": c})
    ),
    max_leaves=6,
)


@given(trees)
def test_criteria_parsed_from_their_written_form_are_equal(tree: dict[str, object]) -> None:
    try:
        criteria = parse_criteria(tree, "USD")
    except Refused as refused:
        assert "deeper" in str(refused)  # noqa: PT017
        return
    assert parse_criteria(criteria.to_dict(), "XXX", stored_meaning=MEANING) == criteria


def nested(levels: int) -> dict[str, object]:
    """Return criteria of so many levels."""
    tree: dict[str, object] = {"event": {"value": 1}}
    for _ in range(levels - 1):
        tree = {"not": tree}
    return tree


@pytest.mark.parametrize(
    ("tree", "code"),
    [
        ({"all": [{"event": {"value": 1}}] * 51}, Code.LIMIT),
        ({"all": [{"sequence": {"steps": [{"event": {}}] * 3}}, *[{"event": {"value": 1}}] * 48]}, Code.LIMIT),
        ({"all": [*[{"event": {"value": 1}}] * 48, {"sequence": {"steps": [{"event": {}}] * 3}}]}, Code.LIMIT),
        (nested(9), Code.LIMIT),
        ({"pass": {"field": "fields.a", "value": "x" * 10_000}}, Code.TOO_LONG),
        (
            {"event": {"value": 1, "metadata": [{"path": "a", "operator": "CONTAINS", "value": ".*" * 5_000}]}},
            Code.TOO_LONG,
        ),
    ],
)
def test_criteria_beyond_a_limit_are_refused(tree: dict[str, object], code: Code) -> None:
    with pytest.raises(Refused) as refused:
        parse_criteria(tree, "EUR")
    assert refused.value.problems[0].code is code


def test_criteria_at_a_limit_are_accepted() -> None:
    assert isinstance(parse_criteria(nested(8), "EUR"), Not)
    assert isinstance(parse_criteria({"all": [{"event": {"value": 1}}] * 50}, "EUR"), All)


def test_sum_of_amounts_takes_the_currency_of_the_workspace() -> None:
    criteria = parse_criteria({"event": {"metric": "SUM", "operator": "GTE", "value": 5}}, "EUR")
    assert isinstance(criteria, EventCriterion)
    assert (criteria.metric, criteria.filter.currency, criteria.value) == (Metric.SUM, "EUR", Decimal(5))


@pytest.mark.parametrize(("field", "total"), [("points", 25), ("points.earned", 60), ("points.spent", 35)])
def test_sum_of_points_tells_given_ones_from_used_ones_and_corrections_undo_both(field: str, total: int) -> None:
    """Points earned decide about segments (WH1-09)."""
    criteria = parse_criteria({"event": {"metric": "SUM", "field": field, "value": 1}}, "EUR")
    assert isinstance(criteria, EventCriterion)
    given, used = (points_event(0, 100), points_event(1, -50))
    corrected = [
        replace(points_event(2, -40), correction_of=given.id),
        replace(points_event(3, 15), correction_of=used.id),
    ]
    assert build_measure(criteria.measure, [given, used, *corrected], START) == Total(Decimal(total))


@pytest.mark.parametrize(
    ("within", "ms"), [({"days": 2}, 2 * DAY_MS), ({"hours": 3}, 3 * HOUR_MS), ({"minutes": 1}, 60_000)]
)
def test_window_is_given_in_days_hours_or_minutes(within: dict[str, int], ms: int) -> None:
    criteria = parse_criteria({"event": {"value": 1, "within": within}}, "EUR")
    assert isinstance(criteria, EventCriterion)
    assert criteria.within_ms == ms
