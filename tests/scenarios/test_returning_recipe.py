"""The recipe of docs/howto/see-how-customers-return.md: its operations run, and answer what the page says (WH1-14)."""

from __future__ import annotations

import re
from pathlib import Path

from app.store.mongo.paging import PageRequest
from tests.business import Business
from tests.graphql.serving import run_api

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "see-how-customers-return.md").read_text()
OPERATIONS = {
    match["name"]: match["text"]
    for match in re.finditer(r"^```graphql\n(?P<text>\w+ (?P<name>\w+).*?)^```", PAGE, re.M | re.S)
}


async def test_operations_of_the_page_say_how_customers_return(business: Business) -> None:
    """WH1-14: return frequency, and the most valuable customers by recency, frequency and monetary value."""
    await business.record(
        {"type": "pass_installed", "occurred_at": "2025-09-01T08:00:00Z"},
        {"type": "visit", "occurred_at": "2025-09-02T08:00:00Z"},
        {"amount": 10, "occurred_at": "2025-09-03T08:00:00Z"},
        {"amount": 10, "occurred_at": "2025-09-03T18:00:00Z"},
        {"amount": 5, "occurred_at": "2025-10-20T08:00:00Z"},
        {"pass_external_id": "bob", "amount": 7, "occurred_at": "2025-09-05T08:00:00Z"},
        {"pass_external_id": "bob", "type": "pass_installed", "occurred_at": "2025-09-06T08:00:00Z"},
        {"pass_external_id": "old", "amount": 7, "occurred_at": "2025-08-05T08:00:00Z"},
    )
    await business.run_worker()
    async with run_api(business) as api:
        returns = (await api.fetch_data(OPERATIONS["Returns"]))["returnRate"]
        assert [(each["days"], each["rate"]) for each in returns["returned"]] == [(30, "0.000000"), (90, "0.500000")]
        assert (returns["customers"], returns["distribution"], returns["freshness"]) == (2, [], {"exact": True})
        cohorts = (await api.fetch_data(OPERATIONS["Cohorts"]))["retention"]["cohorts"]
        assert [each["size"] for each in cohorts] == [2, 0, 0], "who bought in August is no new customer"
        assert [(each["active"], each["revenue"]) for each in cohorts[0]["periods"]] == [(2, "27"), (1, "5"), (0, "0")]
        best = (await api.fetch_data(OPERATIONS["Values"]))["recencyFrequencyMonetary"]["cells"][0]
        assert (best["recency"], best["passes"], best["revenue"]) == (2, 1, "25")
        created = (await api.fetch_data(OPERATIONS["Best"], criteria=best["criteria"]))["createSegment"]
        assert created["userErrors"] == []
        await business.run_worker()
        [segment] = (await business.ctx.workspace.segments.page(PageRequest())).items
        assert await business.read_members(segment) == ["ann"]
        steps = (await api.fetch_data(OPERATIONS["Steps"]))["funnel"]["steps"]
        assert [each["passes"] for each in steps] == [2, 1, 1]
