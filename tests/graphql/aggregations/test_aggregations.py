"""The query aggregateEvents (WH2-06, WH2-27, WH2-28, WH2-29)."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import AsyncMock

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import delete_events, erase_pass
from app.domain.events.event_queries import EventQuery
from app.domain.jobs import JobStatus
from app.graphql.types.ids import to_global_id
from app.store.stages.erase import EraseQueries
from tests.graphql.serving import Api
from tests.workers.jobs.test_imports import run_to_end
from workers.main import STAGES
from workers.stages import erase
from workers.sweep import Sweep

AGGREGATE = """query Aggregate($input: AggregateInput!, $first: Int, $after: String) { aggregateEvents(input: $input) {
  value count currency from to timezone freshness { exact pendingEvents asOf computedThrough }
  groups(first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor }
    nodes { value count type category source currency from to pass { externalId } } } } }"""
NOW = "2026-01-01T00:00:00.000Z"
RECORD = """mutation Record($input: RecordEventsInput!) { recordEvents(input: $input) { created } }"""


def sale(customer: str, amount: str, on: str, kind: str = "purchase", **fields: Any) -> dict[str, Any]:
    return {"passExternalId": customer, "type": kind, "amount": amount, "occurredAt": f"{on}T12:00:00Z", **fields}


@pytest.fixture
async def shop(api: Api) -> Api:
    """Record four purchases and a refund in USD, a purchase in JPY and a visit. None of the events is folded."""
    events = [
        sale("ann", "10.10", "2025-12-29", metadata={"guests": 2}),
        sale("ann", "20.20", "2025-12-30", metadata={"guests": "3"}),
        sale("bob", "5", "2025-12-30", metadata={"guests": True}),
        sale("bob", "7.50", "2025-11-30", source="till"),
        sale("ann", "5.05", "2025-12-30", "refund"),
        sale("cas", "1000", "2025-12-30", currency="JPY"),
        {"passExternalId": "cas", "type": "visit", "occurredAt": "2025-12-31T23:30:00Z"},
    ]
    events = [{**event, "externalId": f"e{index}"} for index, event in enumerate(events)]
    data = await api.fetch_data(RECORD, input={"events": events, "createMissingPasses": True})
    assert data["recordEvents"]["created"] == len(events)
    return api


async def aggregate(api: Api, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await api.fetch_data(AGGREGATE, input=fields))["aggregateEvents"]
    return answer


async def test_sum_subtracts_refunds_and_never_mixes_currencies(shop: Api) -> None:
    spent = await aggregate(shop, function="SUM")
    assert (spent["value"], spent["count"], spent["currency"]) == ("37.75", 5, "USD")
    assert spent["freshness"] == {
        "exact": True,
        "pendingEvents": 0,
        "asOf": "2026-01-01T00:00:00.000Z",
        "computedThrough": "2026-01-01T00:00:00.000Z",
    }
    assert (await aggregate(shop, function="SUM", gross=True))["value"] == "47.85"
    assert (await aggregate(shop, function="SUM", currency="JPY"))["value"] == "1000"
    by_currency = await aggregate(shop, function="SUM", groupBy=["CURRENCY"])
    assert by_currency["value"] is None
    assert [(g["currency"], g["value"]) for g in by_currency["groups"]["nodes"]] == [("JPY", "1000"), ("USD", "37.75")]


async def test_groups_are_paged_forwards_and_backwards(shop: Api) -> None:
    query = """query ($first: Int, $last: Int, $before: String) {
      aggregateEvents(input: {function: COUNT, groupBy: [TYPE], first: 2}) {
        groups(first: $first, last: $last, before: $before) {
          pageInfo { hasPreviousPage startCursor } nodes { type } } } }"""

    async def read_page(**variables: Any) -> tuple[list[str], Any]:
        found = (await shop.fetch_data(query, **variables))["aggregateEvents"]["groups"]
        return [group["type"] for group in found["nodes"]], found["pageInfo"]

    assert (await read_page())[0] == ["purchase", "refund"]
    latest, info = await read_page(last=1)
    assert (latest, info["hasPreviousPage"]) == (["visit"], True)
    assert (await read_page(last=2, before=info["startCursor"]))[0] == ["purchase", "refund"]


async def test_each_aggregate_function_returns_its_value(shop: Api) -> None:
    purchases = {"types": ["purchase"], "currency": "USD"}
    values = {
        name: (await aggregate(shop, function=name, **purchases))["value"] for name in ("COUNT", "AVG", "MIN", "MAX")
    }
    assert values == {"COUNT": "4", "AVG": "10.700000", "MIN": "5", "MAX": "20.20"}
    assert (await aggregate(shop, function="COUNT_PASSES"))["value"] == "3"
    assert (await aggregate(shop, function="COUNT", sources=["till"]))["value"] == "1"
    assert (await aggregate(shop, function="COUNT", categories=["ACTIVITY"]))["value"] == "1"
    assert (await aggregate(shop, function="MAX", types=["dance"]))["value"] is None


async def test_calendar_window_follows_the_time_zone_of_the_query(shop: Api) -> None:
    year = await aggregate(shop, function="COUNT", timeWindow={"calendar": "YEAR"}, timezone="Europe/Berlin")
    assert (year["value"], year["from"], year["timezone"]) == ("1", "2025-12-31T23:00:00.000Z", "Europe/Berlin")
    assert (await aggregate(shop, function="COUNT", timeWindow={"calendar": "YEAR"}))["value"] == "0"
    assert (await aggregate(shop, function="COUNT", timeWindow={"rolling": {"days": 2}}))["value"] == "5"
    assert (await aggregate(shop, function="COUNT", timeWindow={"allTime": True}))["value"] == "7"
    november = {"from": "2025-11-01T00:00:00Z", "to": "2025-12-01T00:00:00Z"}
    assert (await aggregate(shop, function="COUNT", **november))["value"] == "1"


async def test_groups_ordered_by_value_start_with_the_highest_and_are_paged(shop: Api) -> None:
    best: list[tuple[str, str]] = []
    cursor = None
    for _ in range(2):
        data = await shop.fetch_data(
            AGGREGATE, input={"function": "SUM", "groupBy": ["PASS"], "orderBy": "VALUE"}, first=1, after=cursor
        )
        groups = data["aggregateEvents"]["groups"]
        assert groups["totalCount"] == 2
        best += [(node["pass"]["externalId"], node["value"]) for node in groups["nodes"]]
        cursor = groups["pageInfo"]["endCursor"]
    assert best == [("ann", "25.25"), ("bob", "12.50")]
    assert not groups["pageInfo"]["hasNextPage"]


@pytest.mark.not_on_java("it has no $dateTrunc")
async def test_group_by_month_has_the_start_and_the_end_of_the_month(shop: Api) -> None:
    answer = await aggregate(shop, function="COUNT", groupBy=["MONTH", "TYPE"], timezone="America/New_York")
    december = ("2025-12-01T05:00:00.000Z", "2026-01-01T05:00:00.000Z")
    assert [(g["from"], g["to"], g["type"], g["value"]) for g in answer["groups"]["nodes"]] == [
        ("2025-11-01T04:00:00.000Z", "2025-12-01T05:00:00.000Z", "purchase", "1"),
        (*december, "purchase", "4"),
        (*december, "refund", "1"),
        (*december, "visit", "1"),
    ]


async def test_metadata_field_counts_numbers_and_numeric_texts_but_no_booleans(shop: Api) -> None:
    guests = {"field": "metadata.guests", "types": ["purchase"]}
    assert (await aggregate(shop, function="SUM", **guests))["value"] == "5"
    assert (await aggregate(shop, function="AVG", **guests))["value"] == "2.500000"
    by_day = await aggregate(shop, function="MAX", groupBy=["DAY"], **guests)
    assert [group["value"] for group in by_day["groups"]["nodes"]] == ["2", "3"]


async def test_metadata_field_adds_all_numbers_exactly_whatever_their_places(api: Api) -> None:
    metadata = ({"kwh": 1.5}, {"kwh": 0.30000000000000004}, {"kwh": 12345678.1234567}, {"kwh": "1,5"}, {"kwh": None})
    lines = {"lines": [{"net": 0.1}, {"net": 0.2}, {"net": "0.3"}, {"vat": 9}]}
    await api.business.record(*({"type": "visit", "metadata": each} for each in (*metadata, lines, {"utm.n": 7})))
    for field, value, count in (
        ("kwh", "12345679.92345670000000004", 3), ("lines.net", "0.6", 1), ("lines.1.net", "0.2", 1), ("utm.n", "7", 1),
    ):  # fmt: skip
        answer = await aggregate(api, function="SUM", field=f"metadata.{field}", types=["visit"])
        assert (answer["value"], answer["count"]) == (value, count)
    answer = await aggregate(api, function="AVG", field="metadata.lines.net", types=["visit"])
    assert (answer["value"], answer["count"]) == ("0.200000", 1)


async def test_freshness_is_not_exact_while_a_removal_is_pending(shop: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    business, ctx = shop.business, shop.business.ctx
    fresh = {"exact": True, "pendingEvents": 0, "asOf": NOW, "computedThrough": NOW}
    pending = {**fresh, "exact": False, "computedThrough": "2025-12-31T23:59:59.999Z"}
    await business.run_worker()
    assert await aggregate_freshness(shop) == (7, fresh)
    job, _ = await delete_events(ctx, EventQuery(sources=("till",)))
    assert job is not None
    # The job has not found its events yet.
    assert await aggregate_freshness(shop) == (7, {**pending, "pendingEvents": 1})
    job = await run_to_end(business, job)
    assert (job.status, job.tally.created) == (JobStatus.SUCCEEDED, 1)
    assert await aggregate_freshness(shop) == (7, {**pending, "pendingEvents": 1})
    await business.run_worker()
    assert await aggregate_freshness(shop) == (6, fresh)
    await erase_pass(ctx, external_id="cas")
    assert await aggregate_freshness(shop) == (6, {**pending, "pendingEvents": 1})
    with monkeypatch.context() as patch:
        # The fold has ended the pass, and its events are not removed yet.
        patch.setattr(erase, "CACHE_EXPIRY_SECONDS", 60)
        patch.setattr(EraseQueries, "replace_events_by_stubs", AsyncMock(return_value=False))
        await Sweep(business.worker, STAGES).fold()
        assert await aggregate_freshness(shop) == (6, {**pending, "pendingEvents": 1})
    await business.run_worker()
    assert await aggregate_freshness(shop) == (4, fresh)
    ids = await ctx.workspace.passes.ids_of(["ann", "bob"])
    await merge_passes(ctx, ids["bob"], ids["ann"])
    assert await aggregate_freshness(shop) == (4, {**pending, "pendingEvents": 1})
    await business.run_worker()
    assert await aggregate_freshness(shop) == (4, fresh)


WINDOW = """query { pass(externalId: "ann") { statistics(from: "2025-12-31T00:00:00Z") {
  spend { net } freshness { exact pendingEvents } } } }"""


async def test_answers_from_events_are_not_exact_while_a_correction_is_unfinished(api: Api) -> None:
    business, sweep = api.business, Sweep(api.business.worker, STAGES)
    [recorded] = (await business.record({"type": "checkout", "amount": 20})).results
    assert recorded.event is not None
    await business.run_worker()

    async def ask(pending: int, *, exact: bool) -> str:
        freshness = {"exact": exact, "pendingEvents": pending}
        [spend] = (window := (await api.fetch_data(WINDOW))["pass"]["statistics"])["spend"]
        answer = await aggregate(api, function="SUM", categories=["TRANSACTION"])
        assert {name: answer["freshness"][name] for name in freshness} == window["freshness"] == freshness
        assert answer["value"] == spend["net"]
        return str(spend["net"])

    assert await ask(0, exact=True) == "20"
    await business.record({"type": "checkout_update", "amount": 5, "correction_of": recorded.event.id})
    update = await aggregate(api, function="COUNT", types=["checkout_update"])
    assert (update["freshness"]["exact"], update["freshness"]["pendingEvents"]) == (False, 1)
    await sweep.fold()
    # The fold has made the difference, and publish has not stored it.
    assert await ask(0, exact=False) == "20"
    await sweep.publish()
    assert await ask(0, exact=True) == "5"


async def aggregate_freshness(api: Api) -> tuple[int, dict[str, Any]]:
    answer = await aggregate(api, function="COUNT")
    return int(answer["value"]), answer["freshness"]


async def test_sum_of_transactions_equals_the_spend_of_the_pass_in_every_question(api: Api) -> None:
    """Each type of transaction, with corrections, in statistics, in a window, in an aggregation and in a segment."""
    items = [
        sale("ann", "100", "2025-12-01", externalId="bought"),
        sale("ann", "30", "2025-12-02", "payment"),
        sale("ann", "7", "2025-12-03", "charge", externalId="charged"),
        sale("ann", "2.50", "2025-12-04", "credit"),
        sale("ann", "8", "2025-12-05", "dues", category="TRANSACTION"),
        sale("ann", "999", "2025-12-06", "redemption"),
    ]
    await api.fetch_data(RECORD, input={"events": items, "createMissingPasses": True})
    ids = {event.external_id: event.id for event in (await api.business.ctx.workspace.events.scan(EventQuery()))[0]}
    corrections = [
        {"correctionOf": to_global_id("Event", ids["bought"]), **sale("ann", "20", "2025-12-07", "refund")},
        {"correctionOf": to_global_id("Event", ids["bought"]), **sale("ann", "5", "2025-12-08", "charge")},
        {"correctionOf": to_global_id("Event", ids["charged"]), "passExternalId": "ann", "type": "refund"},
    ]
    await api.fetch_data(RECORD, input={"events": corrections})
    await api.business.run_worker()
    statistics = """{ pass(externalId: "ann") {
      allTime: statistics { spend { currency gross refunded net orders } }
      window: statistics(timeWindow: {rolling: {days: 60}}) { spend { currency gross refunded net orders } } } }"""
    card = (await api.fetch_data(statistics))["pass"]
    expected = {"currency": "USD", "gross": "150", "refunded": "29.50", "net": "120.50", "orders": 1}
    assert card["allTime"]["spend"] == card["window"]["spend"] == [expected]
    total = await aggregate(api, function="SUM", categories=["TRANSACTION"])
    assert (total["value"], total["count"]) == ("120.50", 8)
    for value, is_member in (("120.50", True), ("120.51", False)):
        criteria = {"metric": "SUM", "categories": ["TRANSACTION"], "operator": "GTE", "value": value, "types": []}
        segment = await api.business.create_segment(f"s{is_member}".lower(), {"event": criteria})
        assert await api.business.read_members(segment) == (["ann"] if is_member else [])


INVALID: tuple[dict[str, Any], ...] = (
    {"function": "SUM", "field": "colour"},
    {"function": "COUNT", "field": "amount"},
    {"function": "SUM", "groupBy": ["DAY", "WEEK"]},
    {"function": "SUM", "groupBy": ["PASS", "TYPE", "SOURCE", "DAY"]},
    {"function": "SUM", "timezone": "Nowhere/Town"},
    {"function": "SUM", "currency": "XYZ"},
    {"function": "SUM", "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
    {"function": "SUM", "timeWindow": {"allTime": True}, "from": "2026-01-02T00:00:00Z"},
)


async def test_aggregation_with_invalid_or_contradictory_input_is_refused(api: Api) -> None:
    for fields in INVALID:
        error = await api.fetch_error(AGGREGATE, input=fields)
        assert error["extensions"]["code"] == "BAD_USER_INPUT", fields


async def test_plan_says_what_an_answer_was_computed_from_if_the_request_asks(shop: Api) -> None:
    fields = (
        "sum: aggregateEvents(input: {function: SUM}) { value }",
        "all: aggregateEvents(input: {function: COUNT_PASSES}) { value }",
    )
    query = f"{{ {' '.join(fields)} }}"
    body = {"query": query, "extensions": {"explain": True}}
    answer = (await shop.post(json.dumps(body))).json()
    assert answer["data"] == {"sum": {"value": "37.75"}, "all": {"value": "3"}}
    by_source = {each["source"]: each for each in answer["extensions"]["plan"]}
    # Nothing is folded, so that the sum is that of pending events.
    counts = dict.fromkeys(("months", "days", "hours", "eventHours"), 0)
    assert by_source["ROLLUPS"] == {"field": "aggregateEvents", "source": "ROLLUPS", **counts}
    assert "passes" in by_source["EVENTS"]["reason"]
    assert "plan" not in (await shop.execute(query))["extensions"]
    refused = (await shop.post(json.dumps({**body, "extensions": {"explain": 1}}))).json()
    assert "'explain'" in refused["errors"][0]["message"]
