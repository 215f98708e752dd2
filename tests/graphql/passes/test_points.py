"""Points that expire, in GraphQL: recording, balance, expiry and the activity about it.

Capabilities: WH1-16, A1-05, A1-11, A1-12.
"""

from __future__ import annotations

from datetime import UTC, datetime

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
    assert activity == {
        "type": POINTS_EXPIRED,
        "category": "EFFECT",
        "occurredAt": "2026-03-01T00:00:00.000Z",
        "cause": {"kind": "TIME"},
        "data": {"points": "20", "balance": "1.0", "expiredAt": "2026-03-01T00:00:00.000Z"},
    }
