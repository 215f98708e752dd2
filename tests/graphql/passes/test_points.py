"""Points that expire, in GraphQL: recording, balance, expiry and the activity about it.

Capabilities: WH1-16, A1-05, A1-11, A1-12.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.commands.rules.rules import create_rule
from app.domain.activities import POINTS_EXPIRED
from tests.graphql.serving import Api

RECORD = """mutation Record($events: [RecordEventInput!]!) {
  recordEvents(input: { createMissingPasses: true, events: $events }) {
    results { status event { id points pointsExpireAt pointsExpireAfterDays } userErrors { code field } } } }"""
CUSTOMER = """query Customer($first: Int) { pass(externalId: "ann") {
  pointsBalance all: pointsExpiring { points expiresAt } soon: pointsExpiring(first: $first) { points expiresAt }
  activity(last: 1) { nodes { type category occurredAt cause { kind } data } } } }"""


async def test_pointsExpiring_lists_points_by_expiry_and_their_expiry_is_published(api: Api) -> None:
    earn = {"passExternalId": "ann", "type": "purchase", "amount": "12"}
    first = {**earn, "externalId": "1", "occurredAt": "2025-12-31T00:00:00Z"}
    outcome = await api.fetch_data(
        RECORD,
        events=[
            {**first, "points": "80.5", "pointsExpireAt": "2026-03-01T01:00:00+01:00"},
            {**first, "points": "80.5", "pointsExpireAt": "2026-03-01T00:00:00Z"},
            {**earn, "points": 20, "pointsExpireAt": "2026-03-01T00:00:00Z"},
            {**earn, "points": 7, "pointsExpireAfterDays": 30},
            {**earn, "points": 1},
            {**earn, "pointsExpireAfterDays": 30},
            {**earn, "points": 1, "pointsExpireAfterDays": 4000},
            {**first, "points": 80.5, "pointsExpireAt": "2026-03-02T00:00:00Z"},
        ],
    )
    results = outcome["recordEvents"]["results"]
    assert [r["status"] for r in results] == ["CREATED", "DUPLICATE", *["CREATED"] * 3, *["REJECTED"] * 2, "CONFLICT"]
    assert [(e["code"], e["field"]) for r in results[5:7] for e in r["userErrors"]] == [
        ("INVALID", ["events", "5", "pointsExpireAfterDays"]),
        ("OUT_OF_RANGE", ["events", "6", "pointsExpireAfterDays"]),
    ]
    expiries = [(r["event"]["pointsExpireAt"], r["event"]["pointsExpireAfterDays"]) for r in results[2:5]]
    assert expiries == [("2026-03-01T00:00:00.000Z", None), (None, 30), (None, None)]
    await api.business.run_worker()
    customer = (await api.fetch_data(CUSTOMER, first=1))["pass"]
    assert customer["pointsBalance"] == "108.5"
    assert customer["all"] == [
        {"points": "7", "expiresAt": "2026-01-31T00:00:00.000Z"},
        {"points": "100.5", "expiresAt": "2026-03-01T00:00:00.000Z"},
    ]
    assert customer["soon"] == customer["all"][:1]
    for out_of_range in (-1, 101):
        assert (await api.fetch_error(CUSTOMER, first=out_of_range))["extensions"]["code"] == "BAD_USER_INPUT"

    api.business.clock.set(datetime(2026, 3, 1, tzinfo=UTC))
    await api.business.run_worker()
    customer = (await api.fetch_data(CUSTOMER, first=100))["pass"]
    [activity] = customer["activity"]["nodes"]
    snapshot = activity["data"].pop("event")
    assert (customer["pointsBalance"], customer["all"]) == ("1.0", [])
    assert (snapshot["points"], snapshot["pointsExpireAt"], snapshot["pointsExpireAfterDays"]) == (
        "20",
        "2026-03-01T00:00:00.000Z",
        None,
    )
    assert activity["data"].pop("customer")["externalId"] == "ann"
    assert activity == {
        "type": POINTS_EXPIRED,
        "category": "EFFECT",
        "occurredAt": "2026-03-01T00:00:00.000Z",
        "cause": {"kind": "TIME"},
        "data": {"points": "20", "balance": "1.0", "expiredAt": "2026-03-01T00:00:00.000Z"},
    }


async def test_totals_of_points_follow_awards_returns_deductions_and_expiries(api: Api) -> None:
    """Earned points are the balance, the pending, the spent and the expired ones together, at each step."""
    business = api.business
    fields = {"trigger": {"event": {"types": ["purchase"]}}, "name": "Rule"}
    per_dollar = {"perAmount": {"points": 1, "each": 1}}
    await create_rule(
        business.ctx, {**fields, "key": "soon", "effects": [{"awardPoints": {**per_dollar, "expiresAfterDays": 10}}]}
    )
    await create_rule(
        business.ctx, {**fields, "key": "late", "effects": [{"awardPoints": {"points": 3, "pendingDays": 5}}]}
    )
    deduction = {"trigger": {"event": {"types": ["visit"]}}, "effects": [{"deductPoints": {"points": 4}}]}
    await create_rule(business.ctx, {**fields, **deduction, "key": "fee"})

    async def read() -> dict[str, str]:
        await business.run_worker()
        query = '{ pass(externalId: "ann") { points { balance pending earnedTotal spentTotal expiredTotal } } }'
        points: dict[str, str] = (await api.fetch_data(query))["pass"]["points"]
        return points

    def totals(*values: int) -> dict[str, str]:
        names = ("balance", "pending", "earnedTotal", "spentTotal", "expiredTotal")
        assert values[2] == values[0] + values[1] + values[3] + values[4]
        return dict(zip(names, map(str, values), strict=True))

    async def wait(days: int) -> None:
        business.clock.set(await business.clock.now() + timedelta(days=days))

    await wait(1)
    [bought] = [each.event for each in (await business.record({"amount": 20})).results]
    assert bought is not None
    assert await read() == totals(20, 3, 23, 0, 0)
    await wait(1)
    await business.record({"type": "visit"}, {"type": "refund", "amount": 5, "correction_of": bought.id})
    assert await read() == totals(11, 3, 18, 4, 0)
    await wait(5)
    assert await read() == totals(14, 0, 18, 4, 0)
    await wait(10)
    assert await read() == totals(3, 0, 18, 4, 11)
