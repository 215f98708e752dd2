"""segmentPreview and the job of previewSegment in GraphQL."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.commands import preview_runs, previews
from app.commands.passes.passes import update_pass
from app.commands.rules.rules import create_rule
from app.commands.segments import create_segment, update_segment
from app.domain.ids import draw_of
from app.graphql.types.ids import from_global_id, to_global_id
from app.store.codecs import counting
from app.store.mongo.queries import Doc
from app.store.operations.draws import draw_passes
from app.store.workspace import counted_events, evaluable_passes
from app.store.workspace.evaluable_passes import DRAWN
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


async def test_preview_that_takes_too_many_events_is_refused_and_runs_as_a_job(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten events on five passes: one event more than the request reads. All passes are in one chunk of the estimate."""
    await record_passes(api.business)
    criteria = bought_within(3)
    count = (await preview(api, criteria))["estimate"]["count"]
    monkeypatch.setattr(preview_runs, "MAX_PREVIEWED_EVENTS", 9)
    error = await api.fetch_error(QUERY, input={"criteria": criteria}, first=1)
    [problem] = error["extensions"]["problems"]
    assert problem["code"] == "LIMIT"
    assert "previewSegment" in problem["message"]
    assert (await finish(api, criteria))["count"] == count


async def test_preview_decodes_what_it_reads_outside_the_loop(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 passes and their events are read at once. In the loop, other requests would wait until they are decoded."""
    await record_passes(api.business)
    threads = dict[str, set[int]]()
    monkeypatch.setattr(counted_events, "DECODED_IN_LOOP", 0)
    for module in (evaluable_passes, counting):
        decode = module.from_doc

        def note(doc: Doc, decode: Any = decode, name: str = module.__name__) -> Any:
            threads.setdefault(name, set()).add(threading.get_ident())
            return decode(doc)

        monkeypatch.setattr(module, "from_doc", note)
    assert (await preview(api, bought_within(3), first=0))["estimate"]["exact"]
    assert threads.keys() == {evaluable_passes.__name__, counting.__name__}
    assert not any(threading.get_ident() in found for found in threads.values())


async def draw_in_order(business: Business, size: int) -> None:
    """Record one or two purchases on so many passes, every third with two, and draw the passes in another order."""
    await business.record(*({"pass_external_id": f"p{n}"} for n in range(size) for _ in range(1 + (n % 3 == 0))))
    await business.run_worker()
    passes = business.ctx.resources.db["passes"]
    for n in range(size):
        await passes.update_one({"external_id": f"p{n}"}, {"$set": {"draw": n * 7 % size}})


@pytest.mark.parametrize(
    ("constants", "criteria"),
    [
        ({"previews.MAX_PREVIEWED_PASSES": 29}, purchases(2)),
        # A window takes the 40 events of the passes, so the estimate ends after some of the passes.
        (
            {"preview_runs.MAX_PREVIEWED_EVENTS": 30},
            {"event": {"types": ["purchase"], "value": 2, "within": {"days": 9}}},
        ),
    ],
)
async def test_large_previews_are_estimated_from_passes_that_are_drawn(
    api: Api, monkeypatch: pytest.MonkeyPatch, constants: dict[str, int], criteria: dict[str, Any]
) -> None:
    await draw_in_order(api.business, 30)
    assert (await preview(api, criteria))["estimate"] == {"count": 10, "low": 10, "high": 10, "exact": True}
    for name, value in {"preview_runs.MAX_DRAWN_PASSES": 20, "preview_runs.CHUNK": 5, **constants}.items():
        monkeypatch.setattr(f"app.commands.{name}", value)
    found = await preview(api, criteria)
    estimate = found["estimate"]
    assert not estimate["exact"]
    assert estimate["low"] <= 10 <= estimate["high"] < 30
    assert found["entering"] == estimate["count"]
    assert 0 < len(found["sample"]) < 10
    assert await preview(api, criteria) == found, "the same passes are drawn each time"
    assert (await finish(api, criteria))["count"] == 10


async def test_passes_of_an_earlier_version_are_drawn_by_the_migration(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = api.business.ctx.resources.db
    await draw_in_order(api.business, 6)
    await db["passes"].update_many({}, {"$unset": {"draw": ""}})
    await db["constants"].delete_one({"_id": DRAWN})
    monkeypatch.setattr(previews, "MAX_PREVIEWED_PASSES", 5)
    error = await api.fetch_error(QUERY, input={"criteria": purchases(2)}, first=1)
    assert error["extensions"]["problems"][0]["code"] == "LIMIT"
    reports: list[int] = []
    for _ in range(2):
        await draw_passes(db, reports.append)
    assert reports == [6]
    cards = await db["passes"].find({}, {"draw": 1}).to_list(None)
    assert all(doc["draw"] == draw_of(doc["_id"]) for doc in cards)
    assert (await preview(api, purchases(2)))["estimate"] == {"count": 2, "low": 2, "high": 2, "exact": True}


async def test_preview_counts_the_firings_that_an_edit_with_fire_rules_causes(api: Api) -> None:
    await record_passes(api.business)
    segment = await api.business.create_segment("keen", purchases(4))
    trigger, effects = {"segmentEntered": {"segmentId": segment.id}}, [{"awardPoints": {"points": 1}}]
    await create_rule(api.business.ctx, {"key": "r", "name": "R", "trigger": trigger, "effects": effects})
    edit: dict[str, Any] = {"segmentId": to_global_id("Segment", segment.id), "notify": "EMIT"}
    # A rule is asked about what happens after it was created.
    api.business.clock.set((await api.business.clock.now()) + timedelta(days=1))
    assert (await preview(api, purchases(2), **edit))["firings"] == 0
    found = await preview(api, purchases(2), fireRules=True, **edit)
    assert (found["entering"], found["firings"]) == (2, 2)
    assert (await finish(api, purchases(2), fireRules=True, **edit))["firings"] == 2
    before = len(await api.business.read_log(include_silent=True))
    await update_segment(api.business.ctx, segment.id, criteria=purchases(2), notify="EMIT", fire_rules=True)
    await api.business.run_worker()
    caused = (await api.business.read_log(include_silent=True))[before:]
    # The log shows activities of firings only where their type is named.
    assert len(caused) + found["firings"] == found["activities"]
    assert [each.type for each in caused].count("customer.rewarded.loyalty_points") == 2


async def test_sizes_of_days_are_in_the_preview(api: Api) -> None:
    await record_passes(api.business)
    query = """query ($input: SegmentPreviewInput!, $days: Int) { segmentPreview(input: $input) {
      sizeByDay(days: $days) { day count low high exact } } }"""
    found = await api.fetch_data(query, input={"criteria": purchases(3)}, days=2)
    assert [(each["count"], each["exact"]) for each in found["segmentPreview"]["sizeByDay"]] == [(0, True), (2, True)]
    error = await api.fetch_error(query, input={"criteria": purchases(3)}, days=91)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


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


async def test_preview_in_the_zone_of_each_pass_equals_the_members_after_saving(api: Api) -> None:
    """The preview of a new segment, of its edit, by the job and by day; the sample is explained in the zone of the pass."""
    business = api.business
    ctx, today = business.ctx, purchases(1, calendar={"unit": "DAY"})
    names = {"tokyo": "Asia/Tokyo", "angeles": "America/Los_Angeles", "utc": None}
    business.clock.set(datetime(2026, 3, 10, 16, 30, tzinfo=UTC))
    await business.create_passes(*names)
    for name, zone in names.items():
        if zone is not None:
            await update_pass(ctx, (await business.read_pass(name)).id, fields={"timezone": zone})
    before_tokyo_midnight = datetime(2026, 3, 10, 14, 30, tzinfo=UTC)
    await business.record(*({"pass_external_id": name, "occurred_at": before_tokyo_midnight} for name in names))
    await business.run_worker()
    for field, expected in (("fields.timezone", ["angeles", "utc"]), ("", ["angeles", "tokyo", "utc"])):
        found = await preview(api, today, zoneField=field)
        assert sorted(each["pass"]["externalId"] for each in found["sample"]) == expected
        assert found["estimate"]["count"] == found["entering"] == len(expected)
        assert all(each["explanation"]["member"] for each in found["sample"])
        assert (await finish(api, today, zoneField=field))["count"] == len(expected)
    segment = await create_segment(ctx, "today", "Today", today, zone_field="fields.timezone")
    await business.run_worker()
    assert await business.read_members(segment) == ["angeles", "utc"]
    edit: dict[str, Any] = {"segmentId": to_global_id("Segment", segment.id)}
    found = await preview(api, today, **edit)
    assert [found[name] for name in ("entering", "leaving", "staying")] == [0, 0, 2]
    found = await preview(api, today, zoneField="", **edit)
    assert [found[name] for name in ("entering", "leaving", "staying")] == [1, 0, 2]
    past = await preview(api, today, at="2026-03-10T14:59:00Z", zoneField="fields.timezone")
    assert past["estimate"]["count"] == 3
    explained = """query ($criteria: CriteriaInput!) { explainMembership(passExternalId: "tokyo", criteria: $criteria,
      zoneField: "fields.timezone") { member tree { windowFrom } } }"""
    answer = (await api.fetch_data(explained, criteria=today))["explainMembership"]
    assert answer == {"member": False, "tree": {"windowFrom": "2026-03-10T15:00:00.000Z"}}
