"""Freshness of questions about new customers while the first event of a customer waits."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.graphql.aggregations.test_aggregations import RECORD, sale
from tests.graphql.serving import Api

DECEMBER = 'from: "2025-12-01T00:00:00Z", to: "2026-01-01T00:00:00Z"'
FRESHNESS = "freshness { exact pendingEvents }"
SUMMARY = f"{{ eventSummary(input: {{ {DECEMBER} }}) {{ {FRESHNESS} totalEvents newPasses }} }}"
TOTAL = f"{{ eventSummary(input: {{ {DECEMBER} }}) {{ {FRESHNESS} totalEvents newPasses @skip(if: true) }} }}"
COHORTS = f"{{ retention(input: {{ cohort: MONTH, {DECEMBER} }}) {{ {FRESHNESS} cohorts {{ size }} }} }}"
EXACT, WAITING = {"exact": True, "pendingEvents": 0}, {"exact": False, "pendingEvents": 1}


@pytest.mark.parametrize("waiting", [{"guard": {}}, {"pend": -2}], ids=["undecided", "parked"])
async def test_answers_about_new_customers_name_a_first_event_that_waits(
    api: Api, waiting: Mapping[str, object]
) -> None:
    """A visit in November is undecided, or its pass is parked. So the customer looks new in December."""
    events = [sale("ann", "10", "2025-12-03"), sale("ann", "5", "2025-11-03", "visit")]
    await api.fetch_data(RECORD, input={"events": events, "createMissingPasses": True})
    assert await ask(api) == ([0, EXACT], EXACT, [[], EXACT])
    db = api.business.ctx.resources.db
    await db["events"].update_one({"type": "visit"}, {"$set": waiting})
    if "pend" in waiting:
        await db["passes"].update_many({}, {"$set": {"parked": 1}})
    assert await ask(api) == ([1, WAITING], EXACT, [[1], WAITING])


async def ask(api: Api) -> tuple[list[object], object, list[object]]:
    """Return the new customers of December, the freshness without them, and the sizes of cohorts."""
    summary = (await api.fetch_data(SUMMARY))["eventSummary"]
    total = (await api.fetch_data(TOTAL))["eventSummary"]
    cohorts = (await api.fetch_data(COHORTS))["retention"]
    sizes = [each["size"] for each in cohorts["cohorts"] if each["size"]]
    assert summary["totalEvents"] == total["totalEvents"] == 1
    return [summary["newPasses"], summary["freshness"]], total["freshness"], [sizes, cohorts["freshness"]]
