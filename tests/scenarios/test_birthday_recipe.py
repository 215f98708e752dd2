"""The recipe of docs/howto/give-birthday-points.md: its operations run, and do what the page says."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.business import Business
from tests.graphql.serving import run_api

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "give-birthday-points.md").read_text()
OPERATIONS = {
    match["name"]: match["text"]
    for match in re.finditer(r"^```graphql\n(?P<text>\w+ (?P<name>\w+).*?)^```", PAGE, re.M | re.S)
}
QUOTED = " ".join(" ".join(re.findall(r"^> (.*)$", PAGE, re.M)).split())


async def test_customer_gets_points_at_midnight_of_the_birthday(business: Business) -> None:
    """Customers enter a segment on an anniversary, and get points (WH1-15)."""
    business.clock.set(datetime(2026, 5, 1, 12, tzinfo=UTC))
    async with run_api(business) as api:
        await api.fetch_data(OPERATIONS["Ann"])
        segment = (await api.fetch_data(OPERATIONS["Birthday"]))["createSegment"]
        assert segment["userErrors"] == []
        rule = (await api.fetch_data(OPERATIONS["Gift"], segmentId=segment["segment"]["id"]))["createRule"]
        assert rule["userErrors"] == []
        await business.run_worker()
        found = (await api.fetch_data(OPERATIONS["When"]))["explainMembership"]
        assert (found["member"], found["until"], found["text"]) == (False, "2026-05-02T22:00:00.000Z", QUOTED)
        business.clock.set(datetime(2026, 5, 10, 12, tzinfo=UTC))
        await business.run_worker()
    card = await business.read_pass()
    assert card.points == 50
    assert not card.memberships
    midnight = datetime(2026, 5, 2, 22, tzinfo=UTC)
    moves = [each for each in await business.read_log() if each.segment_id is not None]
    assert {each.type: each.occurred_at for each in moves} == {
        "customer.segment.entered": midnight,
        "customer.segment.left": midnight + timedelta(days=1),
    }
