"""The recipe of docs/howto/find-a-customer.md: its operations run, and answer what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from app.commands.passes.passes import create_passes
from app.domain.passes.inputs import PassInput
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
    await create_passes(business.ctx, [PassInput("guest", holder=holder), PassInput("c-2", holder={"name": "Bob"})])
    await business.record(
        {"pass_external_id": "guest", "amount": 20, "occurred_at": "2025-11-03T10:00:00Z", "points": 30},
        {"pass_external_id": "guest", "amount": 22, "occurred_at": "2025-12-24T10:00:00Z"},
    )
    await business.run_worker()
    async with run_api(business) as api:
        for text in ("jurgen obri", "0170 1234567", "4567", "GUEST", "J@mail"):
            found = (await api.fetch_data(OPERATIONS["Search"].replace("jurgen obri", text)))["passes"]["nodes"]
            assert [node["externalId"] for node in found] == ["guest"], text
        gold = (await api.fetch_data(OPERATIONS["Sleeping"]))["passes"]
        assert (gold["totalCount"], gold["nodes"]) == (0, []), "there is no tier program"
        everyone = OPERATIONS["Sleeping"].replace('tierKeys: ["gold"], ', "")
        sleeping = (await api.fetch_data(everyone))["passes"]
        last = {"lastEventAt": "2025-12-24T10:00:00.000Z"}
        assert sleeping["nodes"] == [{"externalId": "guest", "pointsBalance": "30", "statistics": last}]
        card = (await api.fetch_data(OPERATIONS["Card"]))["pass"]
        assert card["statistics"] == {"eventCount": 1, "spend": [{"currency": "USD", "net": "20", "orders": 1}]}
        assert len(card["activity"]["nodes"]) >= 3
        assert card["holder"] == {"name": "Jürgen O'Brien"}
        months = (await api.fetch_data(OPERATIONS["Months"], passId=card["id"]))["aggregateEvents"]
        assert (months["value"], [group["value"] for group in months["groups"]["nodes"]]) == ("42", ["20", "22"])
