"""The tier program in GraphQL: set, read, and the status of a pass with its progress."""

from __future__ import annotations

from typing import Any

from tests.graphql.serving import Api, list_codes

PROGRAM = """{ version downgrade onCorrection timezone backfill { done } period { unit plus days forever }
  tiers { key name benefits reach { event { metric value currency within { days } } } keep { event { value } } } }"""
SET = (
    f"mutation Set($input: SetTierProgramInput!) {{ setTierProgram(input: $input) {{ tierProgram {PROGRAM}"
    " userErrors { code field message } warnings { field } } }"
)
STATUS = """query Status { pass(externalId: "ann", consistency: EVENTUAL) { tier tierStatus { key name since until
  progress { nextTier remaining { measure needed } } } } }"""


def spend(amount: int, **more: Any) -> dict[str, Any]:
    return {"event": {"types": ["purchase"], "metric": "SUM", "value": amount, "within": {"days": 365}, **more}}


GOLD_REACH = {"all": [spend(500), {"any": [{"pass": {"field": "pointsBalance", "operator": "GTE", "value": 50}}]}]}
TIERS = [
    {"key": "silver", "name": "Silver", "reach": spend(100)},
    {"key": "gold", "name": "Gold", "reach": GOLD_REACH, "keep": spend(300), "benefits": {"lounge": True}},
]
INPUT = {"tiers": TIERS, "period": {"calendar": {"unit": "YEAR"}}, "timezone": "Europe/Berlin"}


async def set_program(api: Api, **sent: Any) -> dict[str, Any]:
    payload: dict[str, Any] = (await api.fetch_data(SET, input={**INPUT, **sent}))["setTierProgram"]
    return payload


async def test_program_is_returned_as_set_and_read_again(api: Api) -> None:
    payload = await set_program(api)
    assert payload["userErrors"] == []
    program = payload["tierProgram"]
    assert program["period"] == {"unit": "YEAR", "plus": 1, "days": None, "forever": False}
    assert (program["version"], program["downgrade"], program["onCorrection"]) == (1, "TO_QUALIFIED", "KEEP")
    silver, gold = program["tiers"]
    assert silver["reach"]["event"] == {"metric": "SUM", "value": "100", "currency": "USD", "within": {"days": 365}}
    assert (silver["keep"], silver["benefits"]) == (None, {})
    assert (gold["keep"]["event"]["value"], gold["benefits"]) == ("300", {"lounge": True})
    read = (await api.fetch_data(f"{{ tierProgram {PROGRAM} }}"))["tierProgram"]
    assert {**read, "backfill": None} == {**program, "backfill": None}


async def test_workspace_without_a_program_and_one_that_has_ended_have_none(api: Api) -> None:
    assert (await api.fetch_data(f"{{ tierProgram {PROGRAM} }}"))["tierProgram"] is None
    await set_program(api)
    assert (await set_program(api, tiers=[], period=None))["tierProgram"] is None
    assert (await api.fetch_data(f"{{ tierProgram {PROGRAM} }}"))["tierProgram"] is None


async def test_status_of_a_pass_says_what_the_next_tier_takes(api: Api) -> None:
    await set_program(api, period={"forever": True})
    await api.business.record({"amount": "120.50"})
    await api.business.run_worker()
    found = (await api.fetch_data(STATUS))["pass"]
    assert found["tier"] == "silver"
    status = found["tierStatus"]
    assert (status["key"], status["name"], status["until"]) == ("silver", "Silver", None)
    assert status["since"] is not None
    assert status["progress"] == {
        "nextTier": "gold",
        "remaining": [
            {"measure": "SUM amount of purchase in USD within 365 days", "needed": "379.50"},
            {"measure": "pointsBalance", "needed": "50"},
        ],
    }


async def test_problems_name_the_tier_and_the_path(api: Api) -> None:
    same = [{"key": "a", "name": "A", "reach": spend(1)}, {"key": "a", "name": "B", "reach": spend(2)}]
    payload = await set_program(api, tiers=same, period=None)
    assert list_codes(payload["userErrors"]) == [("TAKEN", ["tiers", "1", "key"]), ("REQUIRED", ["period"])]
