"""Sentences of explanations: each kind of criterion and operator in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.domain.explanation.explaining import Explanation
from app.domain.explanation.outlook import Outlook
from app.domain.explanation.sentences import sentence_of
from app.domain.explanation.trees import explain
from app.domain.passes.passes import Membership, Pass, Profile
from app.domain.segments.evaluation import context_of
from app.domain.segments.parsing import parse_criteria
from app.domain.values.instants import DAY_MS
from tests.domain.fold.test_advance import START, PassSimulation, count_criteria, definitions_of, purchase_event

TWO = count_criteria(2)


def purchases(**fields: object) -> dict[str, object]:
    return {"event": {"types": ["purchase"], "value": 1, **fields}}


def of_pass(field: str, operator: str, value: object = None) -> dict[str, object]:
    return {"pass": {"field": field, "operator": operator, "value": value}}


def reason(criteria: dict[str, Any], card: Pass) -> str:
    """Return the part of the sentence after "because"."""
    definitions = definitions_of(criteria)
    simulation = PassSimulation(definitions, replace(card, revision=0))
    simulation.pending = [purchase_event(1, START), purchase_event(2, START + DAY_MS)]
    at_ms = START + 3 * DAY_MS
    simulation.fold(at_ms)
    [version] = definitions.latest_active.versions
    tree = explain(version.criteria, context_of(simulation.card, at_ms))
    found = Explanation(simulation.card, at_ms, tree.holds, tree, Outlook(None, at_ms, (), instants=0), timezone="UTC")
    text = sentence_of(found, "S", {"seg_x": "VIP"}).removesuffix(".")
    return text.partition(", because ")[2].partition(", and that stays so")[0]


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        (TWO, "it has 2 purchase events (it takes at least 2)"),
        (purchases(operator="EQ", value=3, within={"days": 1}),
         "it has 0 purchase events in the last day (it takes exactly 3)"),
        (purchases(within={"hours": 60}), "it has 1 purchase event in the last 60 hours (it takes at least 1)"),
        (purchases(metric="SUM", operator="LT", value="20.50"),
         "the amount of its purchase events comes to 20 USD (it takes less than 20.5)"),
        (purchases(metric="SUM", field="points.earned", value=5),
         "the earned points of its purchase events come to 0 (it takes at least 5)"),
        (purchases(metric="AVG", value=5), "the average amount of its purchase events is 10 USD (it takes at least 5)"),
        (purchases(metric="MIN", field="metadata.n", operator="LT", value=5),
         "none of its purchase events has a value of the metadata value n (it takes less than 5)"),
        (purchases(metric="COUNT_DISTINCT", field="source", value=2, within={"days": 9}),
         "its purchase events in the last 9 days have 1 different value of the source (it takes at least 2)"),
        ({"sequence": {"steps": [{"event": {"types": ["purchase"]}}, {"event": {"types": ["refund"]}, "withinDays": 14}],
                       "within": {"days": 30}}},
         "it took 1 of 2 steps: purchase event, then refund event within 14 days, the last one in the last 30 days "
         "(it takes all of them)"),
        (purchases(metric="DAYS_SINCE_LAST", operator="GT", value=5),
         "the last of its purchase events was 2 days ago (it takes more than 5 days)"),
        (purchases(metric="DAYS_SINCE_FIRST", operator="LTE", value=5),
         "the first of its purchase events was 3 days ago (it takes at most 5 days)"),
        ({"event": {"types": ["visit", "call"], "metric": "DAYS_SINCE_LAST", "value": 9}},
         "it has no call or visit events and joined 3 days ago (it takes at least 9 days)"),
        ({"event": {"types": ["visit"], "metric": "DAYS_SINCE_FIRST", "operator": "LT", "value": 9}},
         "it has no visit events (it takes less than 9 days)"),
        ({"event": {"categories": ["TRANSACTION"], "sources": ["shop", "web"], "value": 1}},
         "it has 0 transaction events from shop or web (it takes at least 1)"),
        (purchases(metadata=[{"path": "a", "operator": "EQ", "value": 1}]),
         "it has 0 purchase events that meet its conditions (it takes at least 1)"),
        (purchases(between={"from": "1970-01-01T00:00:00Z", "to": "1971-02-03T04:05:00Z"}),
         "it has 0 purchase events from 1 January 1970 at 00:00 (UTC) before 3 February 1971 at 04:05 (UTC) "
         "(it takes at least 1)"),
        (purchases(value=2, calendar={"unit": "DAY", "offset": -3}),
         "it has 1 purchase event in the day 3 days before today (it takes at least 2)"),
        (purchases(calendar={"unit": "MONTH"}), "it has 2 purchase events in this month (it takes at least 1)"),
        (purchases(metric="AVG", value=5, calendar={"unit": "MONTH"}),
         "the average amount of its purchase events in this month is 10 USD (it takes at least 5)"),
        (purchases(metric="MAX", value=5, calendar={"unit": "YEAR", "offset": -1}),
         "none of its purchase events in the year before this one has a value of the amount (it takes at least 5)"),
        (purchases(metric="COUNT_DISTINCT", field="source", value=2, calendar={"unit": "DAY", "offset": -3}),
         "its purchase events in the day 3 days before today have 1 different value of the source (it takes at least 2)"),
        (purchases(calendar={"unit": "WEEK", "offset": -1}),
         "it has 0 purchase events in the week before this one (it takes at least 1)"),
        (purchases(consecutive={"unit": "WEEK", "atLeast": 3}),
         "its purchase events cover 1 week in a row (it takes at least 3)"),
        (of_pass("createdAt", "WITHIN_LAST", {"days": 1}),
         "its time of creation is 27 September 1972 at 00:00 (UTC) (it takes an instant in the last day)"),
        ({"not": of_pass("createdAt", "AFTER", {"days": -2})},
         "its time of creation is 27 September 1972 at 00:00 (UTC) (it takes no instant after 2 days from now)"),
        ({"pass": {"anniversary": {"field": "createdAt", "unit": "MONTH", "nth": 2, "forDays": 7}}},
         "its time of creation is 27 September 1972 at 00:00 (UTC) (it takes a monthly anniversary "
         "number 2 in the last 7 days)"),
        (of_pass("consent.email", "EQ", True), "its consent to email has no value (it takes exactly true)"),
        (of_pass("createdAt", "LT", "1973-01-01T00:00:00+01:00"),
         "its time of creation is 27 September 1972 at 00:00 (UTC) (it takes an instant before "
         "31 December 1972 at 23:00 (UTC))"),
        (of_pass("fields.city", "IN", ["Rome", "Oslo", "Kyiv", "Lima"]),
         "its field city is Bonn (it takes one of Rome, Oslo, Kyiv or 1 other)"),
        (of_pass("fields.city", "CONTAINS", "on"), "its field city is Bonn (it takes a text that contains on)"),
        ({"not": of_pass("fields.city", "CONTAINS", "on")},
         "its field city is Bonn (it takes no text that contains on)"),
        ({"not": of_pass("fields.city", "EQ", "Bonn")}, "its field city is Bonn (it takes anything but Bonn)"),
        (of_pass("fields.none", "EXISTS"), "its field none has no value (it takes any value)"),
        ({"segment": {"id": "seg_x"}}, "it is not in the segment VIP"),
        ({"not": TWO}, "it has 2 purchase events (it takes less than 2)"),
        ({"any": [TWO, of_pass("fields.none", "EXISTS")]}, "it has 2 purchase events (it takes at least 2)"),
        ({"all": [TWO, of_pass("fields.none", "EXISTS")]}, "its field none has no value (it takes any value)"),
        ({"all": [TWO, TWO, TWO, TWO, TWO]},
         " and ".join(["it has 2 purchase events (it takes at least 2)"] * 3) + " and 2 more criteria agree"),
    ],
)  # fmt: skip
def test_sentence_says_what_each_criterion_measured_and_what_it_takes(criteria: dict[str, Any], expected: str) -> None:
    card = PassSimulation(definitions_of()).card
    card = replace(card, profile=Profile(fields={"city": "Bonn"}), initial_profile=Profile(fields={"city": "Bonn"}))
    assert reason(criteria, card) == expected


def test_sentence_names_the_list_that_wins_over_the_criteria() -> None:
    simulation = PassSimulation(definitions_of(TWO))
    simulation.fold(START)
    card = replace(simulation.card, memberships={"seg_0": Membership("seg_0", START, 1, {})})
    tree = explain(parse_criteria(TWO, "USD"), context_of(card, START))
    outlook = Outlook(START + DAY_MS, None, (None,), instants=1)
    zone = "Europe/Berlin"
    found = Explanation(card, START, True, tree, outlook, timezone=zone, since_ms=START, listed="INCLUDE")
    assert sentence_of(found, "VIP", {}) == (
        "Pass x is in the segment VIP since 27 September 1972 at 01:00 (Europe/Berlin), because it is on the list of passes "
        "that always belong to it, and it leaves the segment on 28 September 1972 at 01:00 (Europe/Berlin) if nothing "
        "happens."
    )
