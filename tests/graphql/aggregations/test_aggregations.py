"""aggregateEvents at the edge (WH2-06, WH2-27, WH2-28, WH2-29)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.graphql.serving import Api

ASK = """query Ask($input: AggregateInput!, $first: Int, $after: String) { aggregateEvents(input: $input) {
  value count currency from to timezone freshness { exact pendingEvents asOf computedThrough }
  groups(first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor }
    nodes { value count type category source currency from to pass { externalId } } } } }"""
RECORD = """mutation Record($input: RecordEventsInput!) { recordEvents(input: $input) { created } }"""


def sale(customer: str, amount: str, on: str, kind: str = "purchase", **also: Any) -> dict[str, Any]:
    return {"passExternalId": customer, "type": kind, "amount": amount, "occurredAt": f"{on}T12:00:00Z", **also}


@pytest.fixture
async def shop(api: Api) -> Api:
    """Six sales, a return, a purchase in another currency and a visit; none of them folded yet."""
    events = [
        sale("ann", "10.10", "2025-12-29", metadata={"guests": 2}),
        sale("ann", "20.20", "2025-12-30", metadata={"guests": "3"}),
        sale("bob", "5", "2025-12-30", metadata={"guests": True}),
        sale("bob", "7.50", "2025-11-30", source="till"),
        sale("ann", "5.05", "2025-12-30", "refund"),
        sale("cas", "1000", "2025-12-30", currency="JPY"),
        {"passExternalId": "cas", "type": "visit", "occurredAt": "2025-12-31T23:30:00Z"},
    ]
    events = [{**event, "externalId": f"e{place}"} for place, event in enumerate(events)]
    data = await api.data(RECORD, input={"events": events, "createMissingPasses": True})
    assert data["recordEvents"]["created"] == len(events)
    return api


async def ask(api: Api, **asked: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await api.data(ASK, input=asked))["aggregateEvents"]
    return answer


async def test_refunds_subtract_from_a_sum_and_currencies_are_not_mixed(shop: Api) -> None:
    spent = await ask(shop, function="SUM")
    assert (spent["value"], spent["count"], spent["currency"]) == ("37.75", 5, "USD")
    assert spent["freshness"] == {
        "exact": True,
        "pendingEvents": 0,
        "asOf": "2026-01-01T00:00:00.000Z",
        "computedThrough": "2026-01-01T00:00:00.000Z",
    }
    assert (await ask(shop, function="SUM", gross=True))["value"] == "47.85"
    assert (await ask(shop, function="SUM", currency="JPY"))["value"] == "1000"
    by_currency = await ask(shop, function="SUM", groupBy=["CURRENCY"])
    assert by_currency["value"] is None
    assert [(g["currency"], g["value"]) for g in by_currency["groups"]["nodes"]] == [("JPY", "1000"), ("USD", "37.75")]


async def test_groups_are_paged_from_either_end(shop: Api) -> None:
    query = """query ($first: Int, $last: Int, $before: String) {
      aggregateEvents(input: {function: COUNT, groupBy: [TYPE], first: 2}) {
        groups(first: $first, last: $last, before: $before) {
          pageInfo { hasPreviousPage startCursor } nodes { type } } } }"""

    async def page(**variables: Any) -> tuple[list[str], Any]:
        found = (await shop.data(query, **variables))["aggregateEvents"]["groups"]
        return [group["type"] for group in found["nodes"]], found["pageInfo"]

    assert (await page())[0] == ["purchase", "refund"]
    latest, info = await page(last=1)
    assert (latest, info["hasPreviousPage"]) == (["visit"], True)
    assert (await page(last=2, before=info["startCursor"]))[0] == ["purchase", "refund"]


async def test_the_functions_of_the_reference_are_there(shop: Api) -> None:
    bought = {"types": ["purchase"], "currency": "USD"}
    values = {name: (await ask(shop, function=name, **bought))["value"] for name in ("COUNT", "AVG", "MIN", "MAX")}
    assert values == {"COUNT": "4", "AVG": "10.700000", "MIN": "5", "MAX": "20.20"}
    assert (await ask(shop, function="COUNT_PASSES"))["value"] == "3"
    assert (await ask(shop, function="COUNT", sources=["till"]))["value"] == "1"
    assert (await ask(shop, function="COUNT", categories=["ACTIVITY"]))["value"] == "1"
    assert (await ask(shop, function="MAX", types=["dance"]))["value"] is None


async def test_windows_are_those_of_the_calendar_in_the_zone_asked_for(shop: Api) -> None:
    year = await ask(shop, function="COUNT", timeWindow={"calendar": "YEAR"}, timezone="Europe/Berlin")
    assert (year["value"], year["from"], year["timezone"]) == ("1", "2025-12-31T23:00:00.000Z", "Europe/Berlin")
    assert (await ask(shop, function="COUNT", timeWindow={"calendar": "YEAR"}))["value"] == "0"
    assert (await ask(shop, function="COUNT", timeWindow={"rolling": {"days": 2}}))["value"] == "5"
    assert (await ask(shop, function="COUNT", timeWindow={"allTime": True}))["value"] == "7"
    november = {"from": "2025-11-01T00:00:00Z", "to": "2025-12-01T00:00:00Z"}
    assert (await ask(shop, function="COUNT", **november))["value"] == "1"


async def test_the_best_customers_come_first_and_are_paged(shop: Api) -> None:
    best: list[tuple[str, str]] = []
    cursor = None
    for _ in range(2):
        data = await shop.data(
            ASK, input={"function": "SUM", "groupBy": ["PASS"], "orderBy": "VALUE"}, first=1, after=cursor
        )
        groups = data["aggregateEvents"]["groups"]
        assert groups["totalCount"] == 2
        best += [(node["pass"]["externalId"], node["value"]) for node in groups["nodes"]]
        cursor = groups["pageInfo"]["endCursor"]
    assert best == [("ann", "25.25"), ("bob", "12.50")]
    assert not groups["pageInfo"]["hasNextPage"]


async def test_a_group_by_month_and_type_says_which_month(shop: Api) -> None:
    answer = await ask(shop, function="COUNT", groupBy=["MONTH", "TYPE"], timezone="America/New_York")
    december = ("2025-12-01T05:00:00.000Z", "2026-01-01T05:00:00.000Z")
    assert [(g["from"], g["to"], g["type"], g["value"]) for g in answer["groups"]["nodes"]] == [
        ("2025-11-01T04:00:00.000Z", "2025-12-01T05:00:00.000Z", "purchase", "1"),
        (*december, "purchase", "4"),
        (*december, "refund", "1"),
        (*december, "visit", "1"),
    ]


async def test_numbers_in_metadata_count_as_they_do_for_segments(shop: Api) -> None:
    guests = {"field": "metadata.guests", "types": ["purchase"]}
    assert (await ask(shop, function="SUM", **guests))["value"] == "5"
    assert (await ask(shop, function="AVG", **guests))["value"] == "2.500000"
    by_day = await ask(shop, function="MAX", groupBy=["DAY"], **guests)
    assert [group["value"] for group in by_day["groups"]["nodes"]] == ["2", "3"]


WRONG: tuple[dict[str, Any], ...] = (
    {"function": "SUM", "field": "colour"},
    {"function": "COUNT", "field": "amount"},
    {"function": "SUM", "groupBy": ["DAY", "WEEK"]},
    {"function": "SUM", "groupBy": ["PASS", "TYPE", "SOURCE", "DAY"]},
    {"function": "SUM", "timezone": "Nowhere/Town"},
    {"function": "SUM", "currency": "XYZ"},
    {"function": "SUM", "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
    {"function": "SUM", "timeWindow": {"allTime": True}, "from": "2026-01-02T00:00:00Z"},
)


async def test_what_cannot_be_worked_out_is_refused_with_advice(api: Api) -> None:
    for wrong in WRONG:
        refusal = await api.refusal(ASK, input=wrong)
        assert refusal["extensions"]["code"] == "BAD_USER_INPUT", wrong
