"""The sample file, recorded at once: memberships and sums equal plain arithmetic over the file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests import sample as test_sample
from tests.business import Business, bought_within, no_purchase_for, purchases, spent

NOW = datetime(1998, 7, 1, tzinfo=UTC)


@pytest.mark.timeout(3_600 if test_sample.ALL_CUSTOMERS else 900)
async def test_segments_of_the_sample_equal_plain_arithmetic(business: Business) -> None:
    """Every eighth customer is recorded, or all of them with WHOLE_SAMPLE."""
    business.clock.set(NOW)
    criteria = {
        "regulars": purchases(5),
        "spent_500": spent(500),
        "recent": bought_within(30),
        "away": no_purchase_for(60),
        "spender": spent(200, days=90),
    }
    segments = {key: await business.create_segment(key, tree) for key, tree in criteria.items()}
    rows = test_sample.purchases(every=8)
    for start in range(0, len(rows), 1_000):
        items = (
            {
                "pass_external_id": row.customer,
                "amount": row.amount,
                "occurred_at": row.at,
                "external_id": str(row.row),
            }
            for row in rows[start : start + 1_000]
        )
        outcome = await business.record(*items, historical=True)
        assert outcome.failed == outcome.duplicate == 0
    await business.run_worker()
    last: dict[str, datetime] = {}
    count: dict[str, int] = {}
    total: dict[str, Decimal] = {}
    lately: dict[str, Decimal] = {}
    for row in rows:
        last[row.customer] = row.at
        count[row.customer] = count.get(row.customer, 0) + 1
        total[row.customer] = total.get(row.customer, Decimal(0)) + row.amount
        if row.at > NOW - timedelta(days=90):
            lately[row.customer] = lately.get(row.customer, Decimal(0)) + row.amount
    expected = {
        "regulars": sorted(c for c, n in count.items() if n >= 5),
        "spent_500": sorted(c for c, amount in total.items() if amount >= 500),
        "recent": sorted(c for c, at in last.items() if at > NOW - timedelta(days=30)),
        "away": sorted(c for c, at in last.items() if at <= NOW - timedelta(days=60)),
        "spender": sorted(c for c, amount in lately.items() if amount >= 200),
    }
    assert {key: await business.read_members(segment) for key, segment in segments.items()} == expected
    assert all(expected.values()), "segments without members would prove nothing"
    if test_sample.ALL_CUSTOMERS:
        assert (len(count), len(expected["regulars"]), len(expected["spent_500"])) == (2_357, 388, 76)
        assert sum(total.values()) == Decimal("244091.94")
    cards = await business.worker.fold_queries.passes(
        (await business.ctx.workspace.passes.ids_of(list(count))).values()
    )
    stored = {card.external_id: card.aggregates["purchase", "USD"] for card in cards.values()}
    assert {customer: (row.count, row.sum) for customer, row in stored.items()} == {
        customer: (count[customer], total[customer]) for customer in count
    }
