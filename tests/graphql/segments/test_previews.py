"""segmentPreview and the job of previewSegment in GraphQL."""

from __future__ import annotations

from typing import Any

import pytest

from app.commands import previews
from app.graphql.types.ids import from_global_id, to_global_id
from tests.business import Business, bought_within, purchases
from tests.graphql.serving import Api
from workers.stages.run_job import jobs

FIGURES = "entering leaving staying activities deliveries firings"
QUERY = f"""query ($input: SegmentPreviewInput!, $first: Int) {{ segmentPreview(input: $input) {{
  estimate {{ count low high exact }} {FIGURES} warnings {{ code field }}
  sample(first: $first) {{ pass {{ externalId }} explanation {{ member text }} }} }} }}"""
START = """mutation ($input: SegmentPreviewInput!) { previewSegment(input: $input)
  { job { id kind } userErrors { code field } } }"""
ENDPOINT = """mutation ($input: CreateWebhookEndpointInput!) { createWebhookEndpoint(input: $input)
  { endpoint { id } userErrors { code field message } } }"""


async def record_passes(business: Business) -> None:
    """Record 0 to 4 purchases on five passes."""
    await business.create_passes(*(f"p{n}" for n in range(5)))
    await business.record(*({"pass_external_id": f"p{n}"} for n in range(5) for _ in range(n)))
    await business.run_worker()


async def preview(api: Api, criteria: Any, *, first: int | None = 10, **fields: Any) -> dict[str, Any]:
    data = await api.fetch_data(QUERY, input={"criteria": criteria, **fields}, first=first)
    found: dict[str, Any] = data["segmentPreview"]
    return found


async def finish(api: Api, criteria: Any, **fields: Any) -> dict[str, Any]:
    """Run the job of previewSegment, and return its result."""
    started = (await api.fetch_data(START, input={"criteria": criteria, **fields}))["previewSegment"]
    assert (started["userErrors"], started["job"]["kind"]) == ([], "PREVIEW_SEGMENT")
    query = "query ($id: ID!) { job(id: $id) { status error progress { done total } result } }"
    type_and_id = from_global_id(started["job"]["id"])
    assert type_and_id is not None
    await jobs(api.business.worker, type_and_id[1])
    job = (await api.fetch_data(query, id=started["job"]["id"]))["job"]
    assert job["status"] == "SUCCEEDED", job
    assert job["progress"]["done"] == job["progress"]["total"]
    result: dict[str, Any] = job["result"]
    return result


async def test_preview_of_a_new_segment_counts_its_members_and_explains_some(api: Api) -> None:
    await record_passes(api.business)
    found = await preview(api, purchases(3))
    assert found["estimate"] == {"count": 2, "low": 2, "high": 2, "exact": True}
    assert [found[name] for name in FIGURES.split()] == [2, 0, 0, 2, 0, 0]
    assert sorted(each["pass"]["externalId"] for each in found["sample"]) == ["p3", "p4"]
    for each in found["sample"]:
        assert each["explanation"]["member"]
        assert each["explanation"]["text"].startswith(f"Pass {each['pass']['externalId']} meets the criteria, because")
    assert len((await preview(api, purchases(1), first=3))["sample"]) == 3
    segments = await api.fetch_data("{ segments { nodes { id } } }")
    assert segments == {"segments": {"nodes": []}}, "nothing is written"


async def test_preview_of_an_edit_counts_who_moves_and_what_is_delivered(api: Api) -> None:
    await record_passes(api.business)
    segment = await api.business.create_segment("keen", purchases(3))
    url = {"url": "https://example.com/hook"}
    created = await api.fetch_data(ENDPOINT, input=url)
    assert created["createWebhookEndpoint"]["userErrors"] == []
    edit: dict[str, Any] = {"segmentId": to_global_id("Segment", segment.id)}
    silent = await preview(api, purchases(2), **edit)
    assert [silent[name] for name in FIGURES.split()] == [1, 0, 2, 1, 0, 0]
    told = await preview(api, purchases(4), notify="EMIT", **edit)
    assert [told[name] for name in FIGURES.split()] == [0, 1, 1, 1, 1, 0]
    by_job = await finish(api, purchases(4), notify="EMIT", **edit)
    assert [by_job[name] for name in FIGURES.split()] == [told[name] for name in FIGURES.split()]
    assert (by_job["passes"], by_job["count"]) == (5, 1)


async def test_preview_returns_the_warnings_that_saving_would_return(api: Api) -> None:
    await record_passes(api.business)
    found = await preview(api, {"event": {"types": ["purchsae"], "value": 1}})
    assert [each["field"][0] for each in found["warnings"]] == ["criteria"]
    assert found["estimate"]["count"] == 0


@pytest.mark.parametrize(
    ("constant", "value", "criteria"),
    [("MAX_PREVIEWED_PASSES", 4, purchases(3)), ("MAX_PREVIEWED_EVENTS", 9, bought_within(3))],
)
async def test_large_previews_are_refused_in_a_request_and_run_as_a_job(
    api: Api, monkeypatch: pytest.MonkeyPatch, constant: str, value: int, criteria: dict[str, Any]
) -> None:
    """Ten events on five passes: one event more, and one pass more, than the request reads."""
    await record_passes(api.business)
    count = (await preview(api, criteria))["estimate"]["count"]
    monkeypatch.setattr(previews, constant, value)
    error = await api.fetch_error(QUERY, input={"criteria": criteria}, first=1)
    [problem] = error["extensions"]["problems"]
    assert problem["code"] == "LIMIT"
    assert "previewSegment" in problem["message"]
    assert (await finish(api, criteria))["count"] == count


async def test_preview_counts_a_pass_as_a_worker_will_leave_it(api: Api) -> None:
    """Time has moved on, and no worker has walked the passes yet."""
    await record_passes(api.business)
    recent = await api.business.create_segment("recent", bought_within(30))
    api.business.clock.set((await api.business.clock.now()).replace(month=3))
    found = await preview(api, {"segment": {"id": recent.id, "member": False}})
    assert found["estimate"]["count"] == 5


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"criteria": {"event": {"value": 0}}}, "INVALID", "criteria"),
        ({"criteria": purchases(1), "segmentId": "seg_1"}, "UNKNOWN", "segmentId"),
        ({"criteria": {"segment": {"id": "seg_1"}}}, "UNKNOWN", "criteria"),
        ({"criteria": purchases(1), "timezone": "Mars"}, "UNKNOWN", "timezone"),
    ],
)
async def test_previews_refuse_what_saving_would_refuse(api: Api, fields: Any, code: str, field: str) -> None:
    error = await api.fetch_error(QUERY, input=fields, first=1)
    [problem] = error["extensions"]["problems"]
    assert (problem["code"], problem["field"][0]) == (code, field)
    [refused] = (await api.fetch_data(START, input=fields))["previewSegment"]["userErrors"]
    assert (refused["code"], refused["field"][0]) == (code, field)


async def test_preview_of_an_edit_refuses_a_circle(api: Api) -> None:
    one = await api.business.create_segment("one", purchases(1))
    two = await api.business.create_segment("two", {"segment": {"id": one.id}})
    error = await api.fetch_error(QUERY, input={"criteria": {"segment": {"id": two.id}}, "segmentId": one.id}, first=1)
    [problem] = error["extensions"]["problems"]
    assert (problem["code"], "circle: one -> two -> one." in problem["message"]) == ("CYCLE", True)
