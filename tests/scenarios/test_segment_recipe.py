"""The recipe of docs/howto/understand-a-segment.md: its operations run, and answer what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.business import Business
from tests.graphql.serving import run_api

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "understand-a-segment.md").read_text()
OPERATIONS = {
    match["name"]: match["text"]
    for match in re.finditer(r"^```graphql\n(?P<text>\w+ (?P<name>\w+).*?)^```", PAGE, re.M | re.S)
}
QUOTED = " ".join(" ".join(re.findall(r"^> (.*)$", PAGE, re.M)).split())


async def test_explanations_of_the_page_say_what_the_page_says(business: Business) -> None:
    """One customer's membership is explained."""
    async with run_api(business) as api:
        created = (await api.fetch_data(OPERATIONS["Keen"]))["createSegment"]
        assert created["userErrors"] == []
        await business.record({"external_id": "a"}, {"external_id": "b"})
        await business.run_worker()
        why = (await api.fetch_data(OPERATIONS["Why"]))["explainMembership"]
        assert why["text"] == QUOTED
        assert (why["member"], why["until"]) == (True, "2026-01-31T00:00:00.000Z")
        bought, negated = (await api.fetch_data(OPERATIONS["Details"]))["explainMembership"]["tree"]["children"]
        assert (bought["measured"], bought["threshold"], bought["until"]) == (2, "2", why["until"])
        assert {each["externalId"] for each in bought["events"]["nodes"]} == {"a", "b"}
        assert negated["children"][0]["measured"] == "ACTIVE"
        assert not (await api.fetch_data(OPERATIONS["WhatIf"]))["explainMembership"]["member"]
        [member] = (await api.fetch_data(OPERATIONS["Leaving"]))["segment"]["members"]["nodes"]
        assert member == {"pass": {"externalId": "ann"}, "until": why["until"]}
