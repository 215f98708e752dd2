"""The recipe of docs/howto/ask-what-happened.md: its operations run, and answer what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.business import Business
from tests.graphql.serving import run_api

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "ask-what-happened.md").read_text()
OPERATIONS = {
    match["name"]: match["text"]
    for match in re.finditer(r"^```graphql\n(?P<text>\w+ (?P<name>\w+).*?)^```", PAGE, re.M | re.S)
}


@pytest.mark.not_on_java("it has no $dateTrunc")
async def test_operations_of_the_page_answer_the_questions_of_an_owner(business: Business) -> None:
    """WH1-13, WH1-14: the summary of a month, the busiest hours, and the average purchase."""
    bonn, berlin = ({"metadata": {"store": {"city": city}}} for city in ("Bonn", "Berlin"))
    await business.record(
        {"amount": 10, "occurred_at": "2025-11-03T10:00:00Z", **bonn},
        {"amount": 20, "occurred_at": "2025-12-02T10:00:00Z", **bonn},
        {"amount": 40, "occurred_at": "2025-12-09T10:30:00Z", **berlin, "pass_external_id": "bob"},
        {"amount": 6, "occurred_at": "2025-12-10T10:00:00Z", "pass_external_id": "bob"},
        {"type": "refund", "amount": 5, "occurred_at": "2025-12-10T11:00:00Z", **berlin, "pass_external_id": "bob"},
    )
    await business.run_worker()
    async with run_api(business) as api:
        month = (await api.fetch_data(OPERATIONS["Month"]))["eventSummary"]
        assert (month["totalEvents"], month["purchases"], month["activePasses"], month["newPasses"]) == (4, 3, 2, 1)
        assert month["revenue"] == [
            {"currency": "USD", "gross": "66", "refunded": "5", "net": "61", "orders": 3, "average": "20.333333"}
        ]
        [change] = month["comparison"]["revenue"]
        assert change["net"] == {"value": "10", "change": "51", "changeRatio": "5.100000"}
        assert [point["totalEvents"] for point in month["series"]] == [1, 3, 0, 0, 0]
        assert month["freshness"]["exact"]
        buckets = (await api.fetch_data(OPERATIONS["Busiest"]))["eventHistogram"]["buckets"]
        assert max(buckets, key=lambda bucket: bucket["count"]) == {
            "weekday": "TUESDAY", "hour": 10, "count": 2, "passes": 2, "revenue": "60",
        }  # fmt: skip
        average = (await api.fetch_data(OPERATIONS["Average"]))["aggregateEvents"]
        assert (average["value"], average["comparison"]["value"]) == ("22.000000", "10.000000")
        stores = (await api.fetch_data(OPERATIONS["Stores"]))["aggregateEvents"]["groups"]["nodes"]
        assert stores == [
            {"metadata": {"store.city": "Berlin"}, "value": "35", "count": 2},
            {"metadata": {"store.city": "Bonn"}, "value": "20", "count": 1},
        ]
