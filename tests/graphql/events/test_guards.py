"""Guards of recorded events in the API, the outcome that a worker decides, and the workspace's rule for debts."""

from __future__ import annotations

from typing import Any

from tests.graphql.serving import Api

OUTCOME = "outcome { status reasons { code message } amount } occurredAt performedAt amount"
RECORD = f"""mutation M($events: [RecordEventInput!]!) {{
  recordEvents(input: {{ events: $events, createMissingPasses: true }}) {{
    results {{ status userErrors {{ code field }} event {{ id {OUTCOME} }} }} }} }}"""


async def record(api: Api, *items: dict[str, Any]) -> list[dict[str, Any]]:
    """Record events of the pass `ann`, and return their results."""
    events = [{"passExternalId": "ann", **item} for item in items]
    results: list[dict[str, Any]] = (await api.fetch_data(RECORD, events=events))["recordEvents"]["results"]
    return results


async def read_outcomes(api: Api) -> dict[str, Any]:
    """Run the worker, and return the outcome of each event of the workspace by its external id."""
    await api.business.run_worker()
    data = await api.fetch_data(f"{{ events(first: 50) {{ nodes {{ externalId {OUTCOME} }} }} }}")
    return {node["externalId"]: node for node in data["events"]["nodes"]}


async def test_guarded_event_has_an_outcome_and_keeps_the_instant_that_the_client_gave(api: Api) -> None:
    guard = {"minBalance": "0"}
    results = await record(
        api,
        {"type": "purchase", "points": "10", "amount": "50", "externalId": "order"},
        {"type": "visit", "points": "-5", "guard": {"minBalance": "5"}, "externalId": "taken"},
        {"type": "scan", "points": "-50", "guard": guard, "externalId": "poor", "occurredAt": "2025-12-01T00:00:00Z"},
    )
    assert [result["event"]["outcome"]["status"] for result in results] == ["UNDECIDED"] * 3
    found = await read_outcomes(api)
    assert found["taken"]["outcome"] == {"status": "COUNTED", "reasons": [], "amount": None}
    [reason] = found["poor"]["outcome"]["reasons"]
    assert (found["poor"]["outcome"]["status"], reason["code"]) == ("DECLINED", "INSUFFICIENT_POINTS")
    assert reason["message"].endswith("this needs 50.")
    assert found["poor"]["performedAt"] == "2025-12-01T00:00:00.000Z"
    assert found["poor"]["occurredAt"] == "2026-01-01T00:00:00.000Z"
    assert found["taken"]["performedAt"] is None
    [rest] = await record(
        api, {"type": "refund", "correctionOf": results[0]["event"]["id"], "externalId": "rest"},
    )  # fmt: skip
    assert rest["event"]["amount"] is None
    found = await read_outcomes(api)
    assert (found["rest"]["amount"], found["rest"]["outcome"]["amount"]) == ("50", "50")


async def test_answer_that_waits_shows_the_outcome(api: Api) -> None:
    await record(api, {"type": "point_add", "points": "3"})
    await api.business.run_worker()
    text = """mutation { recordActivity(input: {
      type: "visit", passExternalId: "ann", points: "-4", guard: { minBalance: "0" }
    }) { status event { id } } }"""
    event_id = (await api.fetch_data(text))["recordActivity"]["event"]["id"]
    await api.business.run_worker()
    data = await api.fetch_data(
        "query Q($id: ID!) { node(id: $id) { ... on Event { outcome { status } } } }", id=event_id
    )
    assert data["node"]["outcome"]["status"] == "DECLINED"


async def test_wrong_guard_is_rejected_at_its_field(api: Api) -> None:
    [result] = await record(api, {"type": "visit", "guard": {"minBalance": "much"}})
    assert [(error["code"], error["field"]) for error in result["userErrors"]] == [
        ("INVALID", ["events", "0", "guard", "minBalance"])
    ]


async def test_guard_belongs_to_the_content_by_which_a_repeat_is_recognized(api: Api) -> None:
    item = {"type": "visit", "points": "-1", "externalId": "1"}
    statuses = [
        (await record(api, {**item, **guard}))[0]["status"]
        for guard in (
            {"guard": {"minBalance": "0"}},
            {"guard": {"minBalance": "0.0"}},
            {"guard": {"minBalance": "1"}},
            {},
        )
    ]
    assert statuses == ["CREATED", "DUPLICATE", "CONFLICT", "CONFLICT"]


async def test_workspace_says_whether_deductions_may_leave_a_debt(api: Api) -> None:
    query = "{ viewer { workspace { allowNegativeBalance } } }"
    assert (await api.fetch_data(query))["viewer"]["workspace"]["allowNegativeBalance"] is False
    await record(api, {"type": "redemption", "points": "-1", "externalId": "declined"})
    shown = "{ workspace { allowNegativeBalance eventTypes } }"
    data = await api.fetch_data(f"mutation {{ updateWorkspace(input: {{ allowNegativeBalance: true }}) {shown} }}")
    assert data["updateWorkspace"]["workspace"] == {"allowNegativeBalance": True, "eventTypes": "OPEN"}
    await record(api, {"type": "redemption", "points": "-1", "externalId": "debt"})
    found = await read_outcomes(api)
    assert {name: node["outcome"]["status"] for name, node in found.items()} == {
        "declined": "DECLINED",
        "debt": "COUNTED",
    }
