"""The recipe of docs/howto/find-a-customer.md: its operations run, and answer what the page says."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from app.commands.passes.passes import create_passes
from app.domain.passes.inputs import PassInput
from app.graphql.types.ids import to_global_id
from tests.business import Business
from tests.graphql.serving import run_api

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "find-a-customer.md").read_text()
OPERATIONS = {
    match["name"]: match["text"]
    for match in re.finditer(r"^```graphql\n(?P<text>\w+ (?P<name>\w+).*?)^```", PAGE, re.M | re.S)
}


async def test_operations_of_the_page_find_the_customer_and_what_happened(business: Business) -> None:
    """A1-23, A1-25: the history of one customer, with filters and orders."""
    holder = {"name": "Jürgen O'Brien", "email": "j@mail.example", "phone": "+49 170 123-4567"}
    await create_passes(business.ctx, [PassInput("c-1", holder=holder), PassInput("c-2", holder={"name": "Bob"})])
    await business.record(
        {"pass_external_id": "c-1", "amount": 20, "occurred_at": "2025-11-03T10:00:00Z", "points": 30},
        {"pass_external_id": "c-1", "amount": 22, "occurred_at": "2025-12-24T10:00:00Z"},
    )
    await business.run_worker()
    async with run_api(business) as api:
        for text in ("jurgen obri", "0170 1234567", "4567", "C-1", "J@mail"):
            found = (await api.fetch_data(OPERATIONS["Search"], text=text))["passes"]["nodes"]
            assert [node["externalId"] for node in found] == ["c-1"], text
        now = await business.clock.now()
        gold = (await api.fetch_data(OPERATIONS["Sleeping"], since=now.isoformat()))["passes"]
        assert (gold["totalCount"], gold["nodes"]) == (0, []), "there is no tier program"
        everyone = OPERATIONS["Sleeping"].replace('tierKeys: ["gold"], ', "")
        sleeping = (await api.fetch_data(everyone, since=now.isoformat()))["passes"]
        last = {"lastEventAt": "2025-12-24T10:00:00.000Z"}
        assert sleeping["nodes"] == [{"externalId": "c-1", "pointsBalance": "30", "statistics": last}]
        pass_id = to_global_id("Pass", (await business.read_pass("c-1")).id)
        until = now - timedelta(days=14)
        period = {"from": "2025-11-01T00:00:00Z", "to": until.isoformat()}
        card = await api.fetch_data(OPERATIONS["Card"], id=pass_id, **period)
        assert card["pass"]["statistics"] == {
            "eventCount": 1,
            "spend": [{"currency": "USD", "net": "20", "orders": 1}],
        }
        instants = [node["occurredAt"] for node in card["pass"]["activity"]["nodes"]]
        assert len(instants) >= 3
        assert card["pass"]["holder"] == {"name": "Jürgen O'Brien"}
        months = (await api.fetch_data(OPERATIONS["Months"], id=pass_id))["aggregateEvents"]
        assert (months["value"], [group["value"] for group in months["groups"]["nodes"]]) == ("42", ["20", "22"])
