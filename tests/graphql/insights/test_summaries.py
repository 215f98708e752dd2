"""The query eventSummary (WH1-13)."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest

from tests.graphql.aggregations.test_aggregations import RECORD, sale
from tests.graphql.serving import Api

SUMMARY = """query Summary($input: EventSummaryInput!, $unit: PeriodUnit! = MONTH) { eventSummary(input: $input) {
  from to timezone totalEvents purchases visits redemptions activePasses newPasses returningPasses
  byType { type count } revenue { currency gross refunded net orders average } freshness { exact error }
  series(unit: $unit) { at to totalEvents purchases visits redemptions revenue { net } }
  comparison { from to freshness { exact } totalEvents { value change changeRatio } purchases { change } visits { value }
    redemptions { value } activePasses { value change }
    revenue { currency net { value change changeRatio } orders { value } average { value } } } } }"""


@pytest.fixture
async def shop(api: Api) -> Api:
    """Record the events of two months. None of the events is folded."""
    events = [
        sale("ann", "10", "2025-11-03"),
        sale("ann", "30.20", "2025-12-01"),
        sale("ann", "5.20", "2025-12-30", "refund"),
        sale("bob", "7.50", "2025-12-30", "checkout"),
        sale("cas", "1000", "2025-12-31", currency="JPY"),
        {"passExternalId": "bob", "type": "visit", "occurredAt": "2025-12-31T23:30:00Z"},
        {"passExternalId": "bob", "type": "visit", "occurredAt": "2025-12-31T23:50:00Z"},
        {"passExternalId": "cas", "type": "check_in", "occurredAt": "2025-12-01T00:00:00Z"},
    ]
    data = await api.fetch_data(RECORD, input={"events": events, "createMissingPasses": True})
    assert data["recordEvents"]["created"] == len(events)
    return api


async def summary_of(api: Api, **fields: Any) -> Any:
    return (await api.fetch_data(SUMMARY, input=fields))["eventSummary"]


async def test_summary_of_a_month_has_counts_revenue_customers_and_series(shop: Api) -> None:
    december = await summary_of(shop, month="2025-12", compareTo="PREVIOUS_PERIOD")
    comparison, series = december.pop("comparison"), december.pop("series")
    assert december == {
        "from": "2025-12-01T00:00:00.000Z",
        "to": "2026-01-01T00:00:00.000Z",
        "timezone": "UTC",
        "totalEvents": 7,
        "purchases": 3,
        "visits": 3,
        "redemptions": 0,
        "activePasses": 3,
        "newPasses": 2,
        "returningPasses": 1,
        "byType": [
            {"type": "check_in", "count": 1},
            {"type": "checkout", "count": 1},
            {"type": "purchase", "count": 2},
            {"type": "refund", "count": 1},
            {"type": "visit", "count": 2},
        ],
        "revenue": [
            {"currency": "JPY", "gross": "1000", "refunded": "0", "net": "1000", "orders": 1, "average": "1000.000000"},
            {
                "currency": "USD",
                "gross": "37.70",
                "refunded": "5.20",
                "net": "32.50",
                "orders": 2,
                "average": "16.250000",
            },
        ],
        "freshness": {"exact": True, "error": None},
    }
    assert [(each["at"], each["totalEvents"]) for each in series] == [("2025-12-01T00:00:00.000Z", 7)]
    assert (comparison["from"], comparison["to"]) == ("2025-11-01T00:00:00.000Z", "2025-12-01T00:00:00.000Z")
    assert comparison["totalEvents"] == {"value": "1", "change": "6", "changeRatio": "6.000000"}
    assert comparison["activePasses"] == {"value": "1", "change": "2"}
    assert [each["net"] for each in comparison["revenue"]] == [
        {"value": "0", "change": "1000", "changeRatio": None},
        {"value": "10", "change": "22.50", "changeRatio": "2.250000"},
    ]
    assert comparison["freshness"] == {"exact": True}


async def test_series_follows_the_days_of_the_zone_and_adds_up_to_the_summary(shop: Api) -> None:
    for zone, unit in (("Asia/Kolkata", "DAY"), ("America/New_York", "WEEK"), ("UTC", "MONTH")):
        asked = {"from": "2025-11-02T13:15:00Z", "to": "2025-12-31T23:45:00Z", "timezone": zone}
        found = (await shop.fetch_data(SUMMARY, input=asked, unit=unit))["eventSummary"]
        series = found["series"]
        assert (series[0]["at"], series[-1]["to"]) == (found["from"], found["to"])
        assert all(one["to"] == other["at"] for one, other in itertools.pairwise(series))
        assert sum(each["totalEvents"] for each in series) == found["totalEvents"] == 7
        dollars = {row["currency"]: Decimal(row["net"]) for row in found["revenue"]}
        total = sum(Decimal(row["net"]) for each in series for row in each["revenue"])
        assert total == dollars["JPY"] + dollars["USD"]


async def test_period_of_now_ends_with_the_present_instant(shop: Api) -> None:
    day = await summary_of(shop, period={"rolling": {"hours": 1}})
    assert (day["from"], day["to"], day["totalEvents"]) == (
        "2025-12-31T23:00:00.001Z",
        "2026-01-01T00:00:00.001Z",
        2,
    )
    month = await summary_of(shop, period={"calendar": "MONTH"}, timezone="America/New_York")
    assert (month["from"], month["comparison"]) == ("2025-12-01T05:00:00.000Z", None)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "REQUIRED", "from"),
    ({"from": "2025-01-01T00:00:00Z"}, "REQUIRED", "to"),
    ({"month": "2025-01", "period": {"calendar": "MONTH"}}, "INVALID", "input"),
    ({"month": "January"}, "INVALID", "month"),
    ({"period": {"allTime": True}}, "UNSUPPORTED", "allTime"),
    ({"period": {"allTime": False}}, "UNSUPPORTED", "allTime"),
    ({"period": {"rolling": {"days": 9999}}}, "OUT_OF_RANGE", "days"),
    ({"from": "1925-01-01T00:00:00Z", "to": "2025-01-01T00:00:00Z"}, "OUT_OF_RANGE", "to"),
    ({"from": "2025-01-01T00:00:00Z", "to": "2025-01-01T00:00:00Z"}, "OUT_OF_RANGE", "from"),
    ({"month": "2025-01", "timezone": "Berlin"}, "UNKNOWN", "timezone"),
]


async def test_period_that_is_none_is_refused_with_advice(api: Api) -> None:
    for fields, code, field in REFUSED:
        [problem] = (await api.fetch_error(SUMMARY, input=fields))["extensions"]["problems"]
        assert (problem["code"], problem["field"][-1]) == (code, field), problem


async def test_series_of_more_than_400_parts_asks_for_a_longer_unit(api: Api) -> None:
    asked = {"from": "2024-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
    error = await api.fetch_error(SUMMARY, input=asked, unit="DAY")
    assert "longer unit" in error["message"]
