"""Questions of aggregateEvents: local time, values of the metadata, bounds, order and comparisons (WH2-27, WH2-29)."""

from __future__ import annotations

from typing import Any

import pytest

from app.graphql.aggregations import questions
from tests.graphql.aggregations.test_aggregations import RECORD, sale
from tests.graphql.serving import Api

QUERY = """query Ask($input: AggregateInput!) { aggregateEvents(input: $input) {
  value count comparison { value change changeRatio count from to }
  groups { totalCount nodes { value count weekday hour metadata type from comparison { value change changeRatio } } } } }"""


@pytest.fixture
async def shop(api: Api) -> Api:
    """Record sales of two months."""
    events = [
        sale("ann", "10", "2025-11-03", metadata={"store": {"city": "Bonn"}, "size": 2}),
        sale("ann", "20", "2025-11-30", metadata={"store": {"city": "Köln"}}),
        sale("ann", "30", "2025-12-01", metadata={"store": {"city": "Bonn"}, "size": 2.0}),
        sale("bob", "5", "2025-12-03", metadata={"store": {"city": "Köln"}, "size": "2"}),
        sale("bob", "7", "2025-12-30", metadata={"tags": ["new", "sale", "new"]}),
        sale("bob", "1", "2025-12-31", "refund", metadata={"store": {"city": "Bonn"}}),
    ]
    data = await api.fetch_data(RECORD, input={"events": events, "createMissingPasses": True})
    assert data["recordEvents"]["created"] == len(events)
    return api


async def ask(api: Api, **fields: Any) -> Any:
    return (await api.fetch_data(QUERY, input={"function": "SUM", **fields}))["aggregateEvents"]


async def groups_of(api: Api, *names: str, **fields: Any) -> list[tuple[Any, ...]]:
    return [tuple(node[name] for name in names) for node in (await ask(api, **fields))["groups"]["nodes"]]


@pytest.mark.not_on_java("it has no $isoDayOfWeek")
async def test_events_are_grouped_by_weekday_and_hour_of_the_zone(shop: Api) -> None:
    days = await groups_of(shop, "weekday", "hour", "value", groupBy=["WEEKDAY"])
    assert days == [
        ("MONDAY", None, "40"), ("TUESDAY", None, "7"), ("WEDNESDAY", None, "4"), ("SUNDAY", None, "20"),
    ]  # fmt: skip
    hours = await groups_of(shop, "hour", "weekday", "count", groupBy=["HOUR"], timezone="Asia/Kolkata")
    assert hours == [(17, None, 6)]
    both = await groups_of(
        shop, "weekday", "hour", "type", groupBy=["WEEKDAY_AND_HOUR", "TYPE"], timezone="Pacific/Kiritimati"
    )
    assert both[0] == ("MONDAY", 2, "purchase")
    assert both[-1] == ("THURSDAY", 2, "refund")


async def test_events_are_grouped_by_values_of_the_metadata(shop: Api) -> None:
    cities = await groups_of(shop, "metadata", "value", "count", groupByMetadata=["store.city"])
    assert cities == [
        ({"store.city": None}, "7", 1), ({"store.city": "Bonn"}, "39", 3), ({"store.city": "Köln"}, "25", 2),
    ]  # fmt: skip
    sizes = await groups_of(shop, "metadata", "value", groupByMetadata=["size"], orderBy="VALUE")
    assert sizes == [({"size": 2}, "40"), ({"size": None}, "26"), ({"size": "2"}, "5")]
    tags = await groups_of(shop, "metadata", "count", function="COUNT", groupByMetadata=["tags"], groupBy=["TYPE"])
    assert tags == [
        ({"tags": None}, 4), ({"tags": "new"}, 1), ({"tags": "sale"}, 1), ({"tags": None}, 1),
    ]  # fmt: skip
    passes = await groups_of(
        shop, "metadata", "value", function="COUNT_PASSES", groupByMetadata=["store.city"], having={"gte": 2}
    )
    assert passes == [({"store.city": "Bonn"}, "2"), ({"store.city": "Köln"}, "2")]


async def test_groups_are_bounded_and_ordered_by_value(shop: Api) -> None:
    async def values(**fields: Any) -> list[Any]:
        return [value for (value,) in await groups_of(shop, "value", groupBy=["DAY"], **fields)]

    assert await values(orderBy="VALUE_ASC") == ["-1", "5", "7", "10", "20", "30"]
    assert await values(orderBy="VALUE", having={"lte": "10"}) == ["10", "7", "5", "-1"]
    assert await values(having={"gte": 7, "lte": 20}) == ["10", "20", "7"]
    assert await values(function="AVG", having={"gte": 7}, orderBy="VALUE_ASC") == [
        "7.000000", "10.000000", "20.000000", "30.000000",
    ]  # fmt: skip
    assert await values(function="COUNT", having={"gte": 2}) == []
    answer = await ask(shop, groupBy=["DAY"], having={"gte": 30})
    assert (answer["value"], answer["groups"]["totalCount"]) == ("71", 1)


async def test_values_are_compared_with_the_earlier_period(shop: Api) -> None:
    december = {"from": "2025-12-01T00:00:00Z", "to": "2026-01-01T00:00:00Z", "compareTo": "PREVIOUS_PERIOD"}
    answer = await ask(shop, **december, groupByMetadata=["store.city"])
    assert answer["comparison"] == {
        "value": "30",
        "change": "11",
        "changeRatio": "0.366667",
        "count": 2,
        "from": "2025-11-01T00:00:00.000Z",
        "to": "2025-12-01T00:00:00.000Z",
    }
    changes = [(node["metadata"]["store.city"], node["comparison"]) for node in answer["groups"]["nodes"]]
    assert changes == [
        (None, None),
        ("Bonn", {"value": "10", "change": "19", "changeRatio": "1.900000"}),
        ("Köln", {"value": "20", "change": "-15", "changeRatio": "-0.750000"}),
    ]
    days = await groups_of(shop, "from", "comparison", **december, groupBy=["DAY"])
    compared = {day: None if change is None else change["value"] for day, change in days}
    assert compared == {
        "2025-12-01T00:00:00.000Z": None, "2025-12-03T00:00:00.000Z": "10", "2025-12-30T00:00:00.000Z": "20",
        "2025-12-31T00:00:00.000Z": None,
    }  # fmt: skip
    year = await ask(shop, timeWindow={"rolling": {"days": 31}}, compareTo="SAME_PERIOD_LAST_YEAR")
    assert year["comparison"]["value"] is None
    assert (await ask(shop, function="COUNT", compareTo="PREVIOUS_PERIOD", timeWindow={"calendar": "YEAR"}))[
        "comparison"
    ]["change"] == "-6"


REFUSED: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"groupBy": ["WEEKDAY", "HOUR"]}, "INVALID", ["input", "groupBy"]),
    ({"groupBy": ["TYPE", "SOURCE"], "groupByMetadata": ["a", "b"]}, "TOO_MANY", ["input", "groupByMetadata"]),
    ({"groupByMetadata": ["a", "a"]}, "INVALID", ["input", "groupByMetadata"]),
    ({"groupByMetadata": ["$a"]}, "INVALID", ["input", "groupByMetadata", "0"]),
    ({"having": {"gte": "much"}}, "INVALID", ["input", "having", "gte"]),
    ({"compareTo": "PREVIOUS_PERIOD"}, "REQUIRED", ["input", "from"]),
]


async def test_questions_without_an_answer_are_refused_with_advice(api: Api) -> None:
    for fields, code, field in REFUSED:
        error = await api.fetch_error(QUERY, input={"function": "SUM", **fields})
        [problem] = error["extensions"]["problems"]
        assert (problem["code"], problem["field"]) == (code, field), problem


async def test_too_many_groups_are_refused_with_advice_that_helps(shop: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MAX_GROUPS", 1)
    for fields, advice in (
        ({"groupBy": ["DAY"]}, "Select a shorter time or fewer dimensions, or order by VALUE."),
        ({"groupByMetadata": ["store.city"]}, "Select a shorter time or fewer dimensions."),
    ):
        [problem] = (await shop.fetch_error(QUERY, input={"function": "COUNT", **fields}))["extensions"]["problems"]
        assert problem["message"].endswith(advice)
        assert problem["field"] == ["input", *fields]
