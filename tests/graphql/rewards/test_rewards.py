"""Rewards in GraphQL: input and output, versions and changes; redemptions that wait, fail, repeat and are validated."""

from __future__ import annotations

from typing import Any

from app.graphql.types.ids import to_global_id
from tests.business import purchases, spent
from tests.commands.rewards.shop import give_points
from tests.graphql.events.test_payloads import answer_while_the_worker_runs
from tests.graphql.serving import Api, list_codes

TERMS = """version status pointsCost criteria { event { types value } segment { id } not { segment { id } } }
  limits { perPass { count within { days } calendar } total perRequest } active { from to } timezone codePattern metadata"""
REWARD = f"id key name description {TERMS} unitsLeft createdAt updatedAt"
ERRORS = "userErrors { code message field }"
CREATE = (
    f"mutation Create($input: CreateRewardInput!) {{ createReward(input: $input) {{ reward {{ {REWARD} }}"
    f" warnings {{ code field }} {ERRORS} }} }}"
)
UPDATE = (
    f"mutation Update($input: UpdateRewardInput!) {{ updateReward(input: $input) {{ reward {{ {REWARD} }}"
    f" warnings {{ code field }} {ERRORS} }} }}"
)
REDEEM = f"""mutation Redeem($input: RedeemRewardInput!) {{ redeemReward(input: $input) {{
  redemption {{ id rewardKey quantity status reasons {{ code message }} pointsSpent balanceAfter code
    event {{ type points externalId source metadata outcome {{ status }} }} }} receipt {{ token }} {ERRORS} }} }}"""
ROLL_BACK = f"""mutation RollBack($input: RollbackRedemptionInput!) {{ rollbackRedemption(input: $input) {{
  redemption {{ status pointsSpent }} {ERRORS} }} }}"""
LIST = """{ pass(externalId: "ann") { redemptions(first: 2) { totalCount pageInfo { hasNextPage endCursor }
  nodes { status rewardKey reward { name } } } rewards { reward { key } available reasons { code } } } }"""
COFFEE = {"key": "coffee", "name": "Free coffee", "pointsCost": "100"}
MINE = {"passExternalId": "ann", "rewardKey": "coffee"}


async def create(api: Api, **changes: Any) -> dict[str, Any]:
    payload: dict[str, Any] = (await api.fetch_data(CREATE, input={**COFFEE, **changes}))["createReward"]
    return payload


async def update(api: Api, **changes: Any) -> dict[str, Any]:
    payload: dict[str, Any] = (await api.fetch_data(UPDATE, input=changes))["updateReward"]
    return payload


async def redeem(api: Api, **sent: Any) -> dict[str, Any]:
    return await answer_while_the_worker_runs(api, REDEEM, **{**MINE, **sent})


async def test_reward_is_returned_as_given_with_defaults_filled_in(api: Api) -> None:
    segment = await api.business.create_segment("loyal", purchases(3))
    segment_id = to_global_id("Segment", segment.id)
    plain = (await create(api))["reward"]
    assert plain["limits"] == {"perPass": None, "total": None, "perRequest": None}
    assert [plain[name] for name in ("criteria", "active", "codePattern", "unitsLeft")] == [None] * 4
    assert (plain["version"], plain["status"], plain["pointsCost"], plain["timezone"]) == (1, "ACTIVE", "100", "UTC")
    given = {
        "key": "bag",
        "description": "Of canvas",
        "criteria": {"not": {"segment": {"id": segment_id}}},
        "limits": {"perPass": {"count": 2, "within": {"days": 7}}, "total": 10, "perRequest": 3},
        "active": {"from": "2026-01-01T00:00:00Z", "to": None},
        "timezone": "Europe/Berlin",
        "code": {"pattern": "BAG-######"},
        "metadata": {"sku": "B1"},
    }
    bag = (await create(api, **given))["reward"]
    assert bag["criteria"]["not"] == {"segment": {"id": segment_id}}
    assert bag["limits"]["perPass"] == {"count": 2, "within": {"days": 7}, "calendar": None}
    assert (bag["limits"]["total"], bag["limits"]["perRequest"], bag["unitsLeft"]) == (10, 3, 10)
    assert (bag["active"]["from"], bag["codePattern"], bag["metadata"]) == (
        "2026-01-01T00:00:00.000Z",
        "BAG-######",
        {"sku": "B1"},
    )
    listed = await api.fetch_data(
        f'{{ rewards {{ totalCount nodes {{ {REWARD} }} }} reward(key: "bag") {{ {REWARD} }} }}'
    )
    assert listed["rewards"]["totalCount"] == 2
    assert sorted(listed["rewards"]["nodes"], key=lambda each: str(each["key"])) == [bag, plain]
    assert listed["reward"] == bag
    node = await api.fetch_data("query ($id: ID!) { node(id: $id) { ... on Reward { key } } }", id=bag["id"])
    assert node == {"node": {"key": "bag"}}


async def test_change_makes_a_version_and_null_sets_the_default(api: Api) -> None:
    reward = (await create(api, limits={"total": 5}, description="Old"))["reward"]
    changed = (await update(api, id=reward["id"], pointsCost=50, limits=None, name="Coffee"))["reward"]
    assert (changed["version"], changed["pointsCost"], changed["name"]) == (2, "50", "Coffee")
    assert (changed["limits"]["total"], changed["description"]) == (None, "Old")
    assert (await update(api, id=reward["id"], pointsCost=50))["reward"]["version"] == 2
    query = "query ($id: ID!) { reward(id: $id) { versions { totalCount nodes { version pointsCost } } } }"
    versions = (await api.fetch_data(query, id=reward["id"]))["reward"]["versions"]
    assert versions == {
        "totalCount": 2,
        "nodes": [{"version": 2, "pointsCost": "50"}, {"version": 1, "pointsCost": "100"}],
    }
    archive = f"mutation ($id: ID!) {{ archiveReward(input: {{id: $id}}) {{ reward {{ status }} {ERRORS} }} }}"
    for _ in range(2):
        archived = (await api.fetch_data(archive, id=reward["id"]))["archiveReward"]
        assert archived == {"reward": {"status": "ARCHIVED"}, "userErrors": []}
    assert list_codes((await update(api, id=reward["id"], pointsCost=1))["userErrors"]) == [("CONFLICT", ["id"])]
    assert list_codes((await create(api))["userErrors"]) == [("TAKEN", ["key"])]


async def test_wrong_reward_is_refused_with_all_problems(api: Api) -> None:
    payload = await create(
        api, pointsCost="-1", limits={"total": 0, "perRequest": 2_000}, code={"pattern": "#"}, timezone="Mars"
    )
    assert payload["reward"] is None
    assert sorted(list_codes(payload["userErrors"])) == [
        ("INVALID", ["code", "pattern"]),
        ("OUT_OF_RANGE", ["limits", "perRequest"]),
        ("OUT_OF_RANGE", ["limits", "total"]),
        ("OUT_OF_RANGE", ["pointsCost"]),
        ("UNKNOWN", ["timezone"]),
    ]
    missing = await create(api, criteria={"segment": {"id": "seg_none"}})
    assert list_codes(missing["userErrors"]) == [("UNKNOWN", ["criteria"])]
    unusual = await create(api, criteria={"event": {"types": ["reveiw"], "value": 1}})
    assert [warning["code"] for warning in unusual["warnings"]] == ["UNKNOWN"]


async def test_redemption_waits_for_its_outcome(api: Api) -> None:
    await create(api, code={"pattern": "A-######"})
    await give_points(api.business, 150, "ann")
    done = await redeem(api, externalId="1", source="till", metadata={"till": 3})
    found = done["redemption"]
    assert (found["status"], found["pointsSpent"], found["balanceAfter"], found["reasons"]) == (
        "SUCCEEDED",
        "100",
        "50",
        [],
    )
    assert found["code"].startswith("A-")
    assert found["event"] == {
        "type": "redemption", "points": "-100", "externalId": "1", "source": "till", "metadata": {"till": 3},
        "outcome": {"status": "COUNTED"},
    }  # fmt: skip
    assert done["receipt"]["token"]
    failed = (await redeem(api))["redemption"]
    assert (failed["status"], failed["code"], failed["pointsSpent"]) == ("FAILED", None, "0")
    assert failed["reasons"] == [{"code": "INSUFFICIENT_POINTS", "message": "The pass has 50 points; 100 are needed."}]
    listed = (await api.fetch_data(LIST))["pass"]
    assert listed["redemptions"]["totalCount"] == 2
    assert {each["status"] for each in listed["redemptions"]["nodes"]} == {"SUCCEEDED", "FAILED"}
    assert listed["redemptions"]["nodes"][0]["reward"] == {"name": "Free coffee"}
    assert listed["rewards"] == [
        {"reward": {"key": "coffee"}, "available": False, "reasons": [{"code": "INSUFFICIENT_POINTS"}]}
    ]


async def test_redemption_that_is_not_decided_in_time_is_pending(api: Api) -> None:
    await create(api)
    await give_points(api.business, 100, "ann")
    sent = {**MINE, "externalId": "1", "waitSeconds": 0}
    pending = (await api.fetch_data(REDEEM, input=sent))["redeemReward"]
    assert (pending["redemption"]["status"], pending["redemption"]["pointsSpent"]) == ("PENDING", None)
    await api.business.run_worker()
    receipt = "query ($t: String!) { ingestReceipt(token: $t) { folded } }"
    assert (await api.fetch_data(receipt, t=pending["receipt"]["token"]))["ingestReceipt"]["folded"] is True
    again = (await api.fetch_data(REDEEM, input={**sent, "waitSeconds": 1}))["redeemReward"]
    assert again["redemption"]["status"] == "SUCCEEDED"
    assert again["redemption"]["id"] == pending["redemption"]["id"]


async def test_validation_records_nothing(api: Api) -> None:
    await create(api)
    await give_points(api.business, 150, "ann")
    would = (await api.fetch_data(REDEEM, input={**MINE, "validateOnly": True}))["redeemReward"]
    assert would == {
        "redemption": {
            "id": None, "rewardKey": "coffee", "quantity": 1, "status": "SUCCEEDED", "reasons": [], "pointsSpent": "100",
            "balanceAfter": "50", "code": None, "event": None,
        },
        "receipt": None,
        "userErrors": [],
    }  # fmt: skip
    not_two = (await api.fetch_data(REDEEM, input={**MINE, "validateOnly": True, "quantity": 2}))["redeemReward"]
    assert not_two["redemption"]["status"] == "FAILED"
    assert not_two["redemption"]["balanceAfter"] == "150"
    await api.business.run_worker()
    assert (await api.fetch_data(LIST))["pass"]["redemptions"]["totalCount"] == 0
    assert (await api.business.read_pass()).points == 150


async def test_wrong_redemption_is_refused(api: Api) -> None:
    await create(api)
    await api.business.create_passes("ann")
    for sent, found in (
        ({"quantity": 0}, [("OUT_OF_RANGE", ["quantity"])]),
        ({"quantity": 1_001, "validateOnly": True}, [("OUT_OF_RANGE", ["quantity"])]),
        ({"waitSeconds": 6}, [("OUT_OF_RANGE", ["waitSeconds"])]),
        ({"rewardKey": "tea"}, [("UNKNOWN", ["rewardKey"])]),
        ({"passExternalId": "bob"}, [("UNKNOWN", ["passExternalId"])]),
    ):
        payload = (await api.fetch_data(REDEEM, input={**MINE, **sent}))["redeemReward"]
        assert payload["redemption"] is None
        assert list_codes(payload["userErrors"]) == found
    rolled = (await api.fetch_data(ROLL_BACK, input={"id": "red_none"}))["rollbackRedemption"]
    assert list_codes(rolled["userErrors"]) == [("UNKNOWN", ["id"])]


async def test_rollback_of_a_failed_redemption_says_so(api: Api) -> None:
    await create(api)
    await give_points(api.business, 100, "ann")
    done, failed = [(await redeem(api))["redemption"] for _ in range(2)]
    rolled = await answer_while_the_worker_runs(api, ROLL_BACK, id=done["id"], reason="spilled")
    assert rolled == {"redemption": {"status": "ROLLED_BACK", "pointsSpent": "0"}, "userErrors": []}
    not_rolled = await answer_while_the_worker_runs(api, ROLL_BACK, id=failed["id"])
    assert list_codes(not_rolled["userErrors"]) == [("CONFLICT", ["id"])]


async def test_availability_reads_criteria_that_the_pass_has_not_met_yet(api: Api) -> None:
    """A reward needs no backfill: until the pass is walked again, its events answer for it."""
    business = api.business
    await business.record({"amount": 30}, {"amount": 40, "source": "till"})
    await business.run_worker()
    cases: dict[str, tuple[dict[str, object], bool]] = {
        "enough": (spent(70), True),
        "too-much": (spent(71), False),
        "this-week": (spent(60, days=7), True),
        "at-the-till": ({"event": {"types": ["purchase"], "sources": ["till"], "value": 2}}, False),
    }
    for key, (criteria, _) in cases.items():
        await create(api, key=key, pointsCost=0, criteria=criteria)
    for _ in range(2):
        rewards = (await api.fetch_data(LIST))["pass"]["rewards"]
        assert {each["reward"]["key"]: each["available"] for each in rewards} == {
            key: expected for key, (_, expected) in cases.items()
        }
        await business.record({"type": "visit"})
        await business.run_worker()


async def test_key_without_read_may_redeem_and_sees_its_own_redemption(api: Api) -> None:
    await create(api)
    await give_points(api.business, 100, "ann")
    api.secret = await api.create_key("write")
    done = (await redeem(api, externalId="1"))["redemption"]
    assert (done["status"], done["balanceAfter"]) == ("SUCCEEDED", "0")
    query = "mutation ($input: RedeemRewardInput!) { redeemReward(input: $input) { redemption { reward { name } } } }"
    error = await api.fetch_error(query, input={**MINE, "externalId": "1"})
    assert error["extensions"]["code"] == "FORBIDDEN"
