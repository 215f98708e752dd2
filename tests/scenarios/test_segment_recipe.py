"""The recipe of docs/howto/understand-a-segment.md: its operations run, and answer what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from app.graphql.types.ids import from_global_id
from tests.business import Business
from tests.graphql.serving import run_api
from workers.stages.run_job import jobs

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


async def test_previews_of_the_page_count_who_would_be_in_the_segment(business: Business) -> None:
    """Filters are tested before they are saved, with a total and a sample (V1-07, WH3-01, WH4-01)."""
    async with run_api(business) as api:
        created = (await api.fetch_data(OPERATIONS["Keen"]))["createSegment"]
        await business.record({"amount": 15}, {"amount": 6}, {"amount": 1, "pass_external_id": "bob"})
        await business.run_worker()
        before = (await api.fetch_data(OPERATIONS["Before"]))["segmentPreview"]
        assert (before["estimate"], before["warnings"]) == ({"count": 1, "exact": True}, [])
        [sample] = before["sample"]
        assert sample["pass"] == {"externalId": "ann"}
        assert "comes to 21 USD (it takes at least 20)" in sample["explanation"]["text"]
        edit = (await api.fetch_data(OPERATIONS["Edit"], segmentId=created["segment"]["id"]))["segmentPreview"]
        assert edit == {"entering": 0, "leaving": 1, "staying": 0, "activities": 1, "deliveries": 0, "firings": 0}
        *_, today = (await api.fetch_data(OPERATIONS["Sizes"]))["segmentPreview"]["sizeByDay"]
        assert (today["count"], today["exact"]) == (1, True)
        then = (await api.fetch_data(OPERATIONS["Then"]))["segmentPreview"]["estimate"]
        assert then == {"count": 0, "low": 0, "high": 0, "exact": True}
        job = (await api.fetch_data(OPERATIONS["Large"]))["previewSegment"]["job"]
        type_and_id = from_global_id(job["id"])
        assert type_and_id is not None
        await jobs(business.worker, type_and_id[1])
        finished = await business.ctx.workspace.jobs.get(type_and_id[1])
        assert finished is not None
        assert (finished.result["passes"], finished.result["count"], finished.result["entering"]) == (2, 1, 1)
