"""The query eventHistogram: busiest days and hours (WH1-14)."""

from __future__ import annotations

from typing import Any

import pytest

from app.commands.insights import sealed
from tests.graphql.insights.test_summaries import shop
from tests.graphql.serving import Api

__all__ = ["shop"]
HISTOGRAM = """query Histogram($input: EventHistogramInput!) { eventHistogram(input: $input) {
  from to timezone currency freshness { exact } buckets { weekday hour count passes revenue } } }"""


async def buckets_of(api: Api, **fields: Any) -> list[dict[str, Any]]:
    found = (await api.fetch_data(HISTOGRAM, input=fields))["eventHistogram"]
    assert found["freshness"] == {"exact": True}
    buckets: list[dict[str, Any]] = found["buckets"]
    return buckets


@pytest.mark.not_on_java("it has no $isoDayOfWeek")
async def test_buckets_have_events_passes_and_revenue(shop: Api) -> None:
    days = await buckets_of(shop, month="2025-12", by="WEEKDAY")
    assert [day["weekday"] for day in days][:2] == ["MONDAY", "TUESDAY"]
    assert [(day["count"], day["passes"], day["revenue"]) for day in days] == [
        (2, 2, "30.20"), (2, 2, "2.30"), (3, 2, "0"), *[(0, 0, "0")] * 4,
    ]  # fmt: skip
    hours = await buckets_of(shop, month="2025-12", by="HOUR", types=["visit"], timezone="Asia/Kolkata")
    assert [(each["hour"], each["count"], each["passes"]) for each in hours if each["count"]] == []
    hours = await buckets_of(
        shop, **{"from": "2025-12-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"},
        by="WEEKDAY_AND_HOUR", types=["visit"], timezone="Asia/Kolkata",
    )  # fmt: skip
    assert [each for each in hours if each["count"]] == [
        {"weekday": "THURSDAY", "hour": 5, "count": 2, "passes": 1, "revenue": "0"}
    ]
    assert len(hours) == 168


@pytest.mark.not_on_java("it has no $isoDayOfWeek")
async def test_revenue_is_in_one_currency(shop: Api) -> None:
    days = await buckets_of(shop, month="2025-12", by="WEEKDAY", currency="JPY", categories=["TRANSACTION"])
    assert [day["revenue"] for day in days] == ["0", "0", "1000", "0", "0", "0", "0"]
    [problem] = (await shop.fetch_error(HISTOGRAM, input={"month": "2025-12", "by": "HOUR", "currency": "EURO"}))[
        "extensions"
    ]["problems"]
    assert (problem["code"], problem["field"]) == ("UNKNOWN", ["input", "currency"])


async def test_revenue_of_checkouts_is_that_of_their_last_totals(shop: Api) -> None:
    business = shop.business
    [recorded] = (await business.record({"pass_external_id": "bob", "type": "checkout", "amount": 20})).results
    assert recorded.event is not None
    change = {"pass_external_id": "bob", "type": "checkout_update", "amount": 5, "correction_of": recorded.event.id}
    await business.record(change)
    await business.run_worker()
    [hour] = [
        each
        for each in await buckets_of(shop, period={"calendar": "DAY"}, by="HOUR", types=["checkout"])
        if each["count"]
    ]
    assert (hour["count"], hour["revenue"]) == (1, "5")


async def test_strong_questions_are_refused_where_others_leave_out_events(
    shop: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.business.run_worker()
    questions: tuple[tuple[str, dict[str, str]], ...] = (
        ("query Q($input: EventSummaryInput!) { eventSummary(input: $input) { freshness { exact } } }", {}),
        (
            "query Q($input: EventHistogramInput!) { eventHistogram(input: $input) { freshness { exact } } }",
            {"by": "HOUR"},
        ),
    )
    for query, fields in questions:
        asked = {"month": "2025-12", **fields}
        [[answer]] = [(await shop.fetch_data(query, input={**asked, "consistency": "STRONG"})).values()]
        assert answer["freshness"]["exact"], "nothing is left out"
        error = await shop.fetch_error(query, input={**asked, "consistency": "AT_LEAST", "token": "x"})
        assert error["extensions"]["problems"][0]["field"] == ["input", "token"]
        with monkeypatch.context() as patch:
            patch.setattr(sealed, "MAX_EVENTS", 1)
            [[answer]] = [(await shop.fetch_data(query, input=asked)).values()]
            assert not answer["freshness"]["exact"]
            error = await shop.fetch_error(query, input={**asked, "consistency": "STRONG"})
        [problem] = error["extensions"]["problems"]
        assert (problem["code"], problem["field"]) == ("LIMIT", ["input", "consistency"])
        assert "Ask for a period that ends at 2025-12-" in problem["message"]
