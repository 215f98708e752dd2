"""The queries returnRate, retention, recencyFrequencyMonetary and funnel, over a store and with real segments."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass
from app.domain.events.event_queries import EventQuery
from app.graphql.types.ids import database_id
from app.store.mongo.paging import PageRequest
from tests.business import Business
from tests.graphql.serving import Api

RETURNS = """query ($input: ReturnRateInput!) { returnRate(input: $input) { customers medianDaysBetween
  returned { days customers returned rate } distribution { days count } freshness { exact asOf } } }"""
RETENTION = """query ($input: RetentionInput!) { retention(input: $input) { currency timezone
  cohorts { start size periods { n active rate revenue } } freshness { exact } } }"""
VALUES = """query ($input: RecencyFrequencyMonetaryInput!) { recencyFrequencyMonetary(input: $input) { currency
  thresholds { recency frequency monetary } cells { recency frequency monetary passes revenue criteria } } }"""
FUNNEL = """query ($input: FunnelInput!) { funnel(input: $input) {
  steps { passes rate medianSeconds } freshness { exact } } }"""


def event(name: str, on: str, kind: str = "purchase", amount: str | None = None, **fields: Any) -> dict[str, Any]:
    at = on if "T" in on else f"{on}T12:00:00Z"
    return {"pass_external_id": name, "type": kind, "occurred_at": at, "amount": amount, **fields}


EVENTS = [
    event("ann", "2025-09-01", amount="10"),
    event("ann", "2025-09-01T18:00:00Z", amount="2.50"),
    event("ann", "2025-09-11", amount="20"),
    event("ann", "2025-10-05", "refund", amount="5"),
    event("bob", "2025-09-03", amount="7"),
    event("bob", "2025-11-02", amount="8"),
    event("cas", "2025-10-01", "visit"),
    event("cas", "2025-10-01T13:00:00Z", amount="100", metadata={"store": "north"}),
    event("cas", "2025-10-02", amount="900", currency="JPY"),
    event("dan", "2025-10-31T23:30:00Z", amount="1"),
    event("eve", "2025-10-07", amount="40"),
    event("gone", "2025-09-02", amount="99"),
]


@pytest.fixture
async def shop(api: Api) -> Api:
    """Record purchases of five customers, merge eve into eva, and erase one more."""
    business = api.business
    await business.record(*EVENTS, event("eva", "2025-09-07", amount="30"))
    await business.run_worker()
    ids = await business.ctx.workspace.passes.ids_of(["eva", "eve", "gone"])
    await merge_passes(business.ctx, ids["eva"], ids["eve"])
    await erase_pass(business.ctx, pass_id=ids["gone"])
    await business.run_worker()
    return api


async def test_questions_about_customers_answer_exactly_after_a_merge_and_an_erasure(shop: Api) -> None:
    period = {"from": "2025-09-01T00:00:00Z", "to": "2025-10-01T00:00:00Z"}
    for same in (period, {"month": "2025-09"}):
        answer = await shop.fetch_data(RETURNS, input={"types": ["purchase"], "withinDays": [30, 7, 200], **same})
        assert answer["returnRate"] == {
            "customers": 3,
            "returned": [
                {"days": 7, "customers": 3, "returned": 0, "rate": "0.000000"},
                {"days": 30, "customers": 3, "returned": 2, "rate": "0.666667"},
                {"days": 200, "customers": 0, "returned": 0, "rate": None},
            ],
            "medianDaysBetween": "10",
            "distribution": [{"days": 10, "count": 1}],
            "freshness": {"exact": True, "asOf": "2026-01-01T00:00:00.000Z"},
        }

    end = "2025-12-01T00:00:00Z"
    found = (await shop.fetch_data(RETENTION, input={"to": end}))["retention"]
    assert (found["currency"], found["timezone"], found["freshness"]["exact"]) == ("USD", "UTC", True)
    assert [(c["start"][:7], c["size"]) for c in found["cohorts"]] == [("2025-09", 3), ("2025-10", 2), ("2025-11", 0)]
    september = [(p["n"], p["active"], p["rate"], p["revenue"]) for p in found["cohorts"][0]["periods"]]
    assert september == [(0, 3, "1.000000", "69.50"), (1, 2, "0.666667", "35"), (2, 1, "0.333333", "8")]
    berlin = {
        "to": "2025-11-15T00:00:00Z",
        "timezone": "Europe/Berlin",
        "from": "2025-10-01T00:00:00Z",
        "currency": "JPY",
    }
    found = (await shop.fetch_data(RETENTION, input=berlin))["retention"]
    assert [(c["start"], c["size"]) for c in found["cohorts"]] == [
        ("2025-09-30T22:00:00.000Z", 1),
        ("2025-10-31T23:00:00.000Z", 1),
    ]
    assert [p["revenue"] for p in found["cohorts"][0]["periods"]] == ["900", "0"]

    steps = [{"types": ["visit"]}, {"metadata": [{"path": "store", "value": "north"}]}, {"currency": "JPY"}]
    found = (await shop.fetch_data(FUNNEL, input={"steps": steps, "withinDays": 1, "to": end}))["funnel"]
    assert [(s["passes"], s["rate"], s["medianSeconds"]) for s in found["steps"]] == [
        (1, "1.000000", None),
        (1, "1.000000", "3600"),
        (1, "1.000000", "82800"),
    ]
    asked = {"query": FUNNEL, "variables": {"input": {"steps": steps}}, "extensions": {"explain": True}}
    [plan] = (await shop.post(json.dumps(asked))).json()["extensions"]["plan"]
    assert (plan["field"], plan["source"]) == ("funnel", "EVENTS")
    nobody = [{"passExternalId": "nobody"}, {}]
    found = (await shop.fetch_data(FUNNEL, input={"steps": nobody}))["funnel"]
    assert [s["passes"] for s in found["steps"]] == [0, 0]


async def test_figures_of_a_month_agree_with_those_of_its_summary(shop: Api) -> None:
    query = """query ($month: String!) {
      eventSummary(input: {month: $month}) { activePasses newPasses revenue { currency net } }
      returnRate(input: {month: $month}) { customers }
      retention(input: {month: $month}) { cohorts { size periods { active } } }
      recencyFrequencyMonetary(input: {month: $month, types: ["purchase", "refund", "visit"]}) {
        cells { passes revenue } } }"""
    for month in ("2025-09", "2025-10", "2025-11", "2025-12"):
        found = await shop.fetch_data(query, month=month)
        summary, cells = found["eventSummary"], found["recencyFrequencyMonetary"]["cells"]
        [cohort] = found["retention"]["cohorts"] or [{"size": 0}]
        assert cohort["size"] == summary["newPasses"]
        assert found["returnRate"]["customers"] == summary["activePasses"] == sum(cell["passes"] for cell in cells)
        revenue = sum((Decimal(each["net"]) for each in summary["revenue"] if each["currency"] == "USD"), Decimal(0))
        assert sum((Decimal(cell["revenue"]) for cell in cells), Decimal(0)) == revenue


async def test_criteria_of_each_cell_select_exactly_its_passes(shop: Api) -> None:
    business = shop.business
    for span in ({"to": "2025-11-15T00:00:00Z"}, {"from": "2025-09-05T00:00:00Z"}):
        found = (await shop.fetch_data(VALUES, input={"quantiles": 3, **span}))["recencyFrequencyMonetary"]
        assert found["currency"] == "USD"
        assert [len(found["thresholds"][name]) for name in ("recency", "frequency", "monetary")] == [2, 2, 2]
        members: list[str] = []
        for number, cell in enumerate(found["cells"]):
            # The client sends the criteria as the answer has them.
            created = await create_segment(shop, f"cell-{'from' in span}-{number}".lower(), cell["criteria"])
            await business.run_worker()
            names = await read_members(business, created)
            assert len(names) == cell["passes"]
            members += names
        assert sorted(members) == ["ann", "bob", "cas", "dan", "eva"]
        assert sum(Decimal(cell["revenue"]) for cell in found["cells"]) == (Decimal("213.5") if "to" in span else 194)


async def test_criteria_of_cells_count_checkouts_and_corrections_as_the_cells_do(api: Api) -> None:
    """The events are random, with checkouts whose total changes: walks make events for the differences."""
    business, random = api.business, Random(16)
    items = [
        event(
            f"c{random.randrange(9)}",
            f"2025-{random.randrange(3, 7):02}-{random.randrange(1, 28):02}",
            random.choice(["purchase", "checkout", "refund"]),
            amount=str(random.randrange(1, 60)),
            currency=random.choice(["USD", "USD", "EUR"]),
            external_id=f"e{number}",
        )
        for number in range(70)
    ]
    await business.record(*items)
    await business.run_worker()
    names = {item["external_id"]: item["pass_external_id"] for item in items}
    page = await business.ctx.workspace.events.page(EventQuery(types=("checkout",)), PageRequest(100))
    for checkout in page.items[::2]:
        kind = random.choice(["checkout_update", "checkout_reject"])
        total = {"amount": "61", "currency": checkout.currency} if kind == "checkout_update" else {}
        name = names[checkout.external_id]
        await business.record({"pass_external_id": name, "type": kind, "correction_of": checkout.id, **total})
    await business.run_worker()
    made = EventQuery(types=("checkout_increased", "checkout_decreased"))
    assert await business.ctx.workspace.events.count(made) > 5
    asked = {"quantiles": 3, "from": "2025-04-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"}
    cells = (await api.fetch_data(VALUES, input=asked))["recencyFrequencyMonetary"]["cells"]
    created = [await create_segment(api, f"cell-{number}", cell["criteria"]) for number, cell in enumerate(cells)]
    await business.run_worker()
    members = [await read_members(business, segment_id) for segment_id in created]
    assert [len(each) for each in members] == [cell["passes"] for cell in cells]
    assert len({name for each in members for name in each}) == sum(map(len, members)) == 9
    for own, cell in zip(members, cells, strict=True):
        spent = [await spend_of(api, name, asked) for name in own]
        assert sum(spent, Decimal(0)) == Decimal(cell["revenue"])


async def spend_of(api: Api, name: str, span: dict[str, Any]) -> Decimal:
    """Return what `Pass.statistics` says that a customer spent in USD."""
    query = """query ($name: String!, $from: DateTime, $to: DateTime) {
      pass(externalId: $name) { statistics(from: $from, to: $to) { spend { currency net } } } }"""
    data = await api.fetch_data(query, name=name, **{"from": span["from"], "to": span["to"]})
    return sum((Decimal(s["net"]) for s in data["pass"]["statistics"]["spend"] if s["currency"] == "USD"), Decimal(0))


async def create_segment(api: Api, key: str, criteria: object) -> str:
    data = await api.fetch_data(
        """mutation ($key: String!, $criteria: CriteriaInput!) {
          createSegment(input: {key: $key, name: $key, criteria: $criteria}) {
            segment { id } userErrors { message } warnings { message } } }""",
        key=key,
        criteria=criteria,
    )
    assert data["createSegment"]["userErrors"] == []
    assert data["createSegment"]["warnings"] == []
    segment_id: str = data["createSegment"]["segment"]["id"]
    return segment_id


async def read_members(business: Business, segment_id: str) -> list[str]:
    segment = await business.ctx.workspace.segments.get(database_id(segment_id, "Segment") or "")
    assert segment is not None
    return await business.read_members(segment)


@pytest.mark.parametrize(
    ("query", "wrong", "code", "field"),
    [
        (RETURNS, {"withinDays": [0]}, "OUT_OF_RANGE", ["input", "withinDays", "0"]),
        (RETURNS, {"timezone": "Mars/Base"}, "UNKNOWN", ["input", "timezone"]),
        (RETURNS, {"from": "1925-01-01T00:00:00Z", "to": "2025-01-01T00:00:00Z"}, "OUT_OF_RANGE", ["input", "from"]),
        (RETURNS, {"month": "2025-13"}, "INVALID", ["input", "month"]),
        (RETURNS, {"period": {"allTime": True}, "to": "2025-01-01T00:00:00Z"}, "INVALID", ["input", "period"]),
        (RETURNS, {"period": {"allTime": False}}, "INVALID", ["input", "period", "allTime"]),
        (RETENTION, {"currency": "XYZ"}, "UNKNOWN", ["input", "currency"]),
        (RETENTION, {"cohort": "WEEK", "from": "2018-01-01T00:00:00Z"}, "LIMIT", ["input", "from"]),
        (VALUES, {"quantiles": 11}, "OUT_OF_RANGE", ["input", "quantiles"]),
        (VALUES, {"from": "2027-01-01T00:00:00Z"}, "OUT_OF_RANGE", ["input", "from"]),
        (FUNNEL, {"steps": [{}]}, "OUT_OF_RANGE", ["input", "steps"]),
        (FUNNEL, {"steps": [{}, {"currency": "XYZ"}]}, "UNKNOWN", ["input", "steps", "1", "currency"]),
        (FUNNEL, {"steps": [{}, {}], "withinDays": 0}, "OUT_OF_RANGE", ["input", "withinDays"]),
    ],
)
async def test_wrong_questions_are_refused_with_the_path(
    api: Api, query: str, wrong: dict[str, Any], code: str, field: list[str]
) -> None:
    error = await api.fetch_error(query, input=wrong)
    [problem] = error["extensions"]["problems"]
    assert (problem["code"], problem["field"]) == (code, field)
