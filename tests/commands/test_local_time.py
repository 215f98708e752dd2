"""Zones and starts of weeks: of segments and of the workspace, in the API, in explanations and in previews.

WH1-11: "3 purchases this month" is a segment. WH2-29: `updateWorkspace` sets the start of weeks.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.commands.passes.passes import update_pass
from app.commands.passes.removals import remove_events
from app.commands.previews import parse_order, preview_segment
from app.commands.segments import create_segment, duplicate_segment, update_segment
from app.commands.tiers import set_tier_program
from app.commands.workspaces.settings import set_local_time
from app.domain.errors import Refused
from app.domain.segments.segments import DefinitionKind
from app.graphql.types.ids import to_global_id
from tests.business import Business, purchases
from tests.graphql.serving import list_codes, run_api

THIS_MONTH = {"calendar": {"unit": "MONTH"}}
LAST_MONTH = {"calendar": {"unit": "MONTH", "offset": -1}}
EXPLAIN = """query ($id: ID!, $at: DateTime) { explainMembership(passExternalId: "ann", segmentId: $id, at: $at) {
  member until text tree { measured threshold windowFrom windowTo timezone } } }"""
PREVIEW = """query ($input: SegmentPreviewInput!) { segmentPreview(input: $input) { estimate { count } } }"""
AGGREGATE = """query ($input: AggregateInput!) { aggregateEvents(input: $input) { value } }"""
UPDATE = """mutation ($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) {
  workspace { timezone weekStart } userErrors { code field } } }"""


async def count_settings(business: Business) -> int:
    """Return the number of versions of the workspace's settings."""
    summaries = await business.ctx.workspace.definitions.summaries()
    return len([each for each in summaries if each.kind is DefinitionKind.WORKSPACE])


async def test_segment_by_calendar_follows_the_zone_of_the_workspace(business: Business) -> None:
    """A pass leaves at local midnight of the first day of the month, and a change of the zone moves it silently."""
    ctx, clock = business.ctx, business.clock
    await set_local_time(ctx, "Europe/Berlin")
    assert await count_settings(business) == 0
    clock.set(datetime(2026, 3, 31, 20, tzinfo=UTC))
    await business.record({}, {}, {"occurred_at": datetime(2026, 3, 1, 12, tzinfo=UTC)})
    async with run_api(business) as api:
        segment = await business.create_segment("monthly", purchases(3, **THIS_MONTH))
        last = await business.create_segment("last", purchases(3, **LAST_MONTH), timezone="America/New_York")
        assert await count_settings(business) == 1
        assert (await business.read_members(segment), await business.read_members(last)) == (["ann"], [])
        found = (await api.fetch_data(EXPLAIN, id=to_global_id("Segment", segment.id)))["explainMembership"]
        assert (found["member"], found["until"]) == (True, "2026-03-31T22:00:00.000Z")
        assert found["tree"] == {
            "measured": 3, "threshold": "3", "timezone": "Europe/Berlin",
            "windowFrom": "2026-02-28T23:00:00.000Z", "windowTo": "2026-03-31T21:59:59.999Z",
        }  # fmt: skip
        assert "because it has 3 purchase events in this month (it takes at least 3)" in found["text"]
        clock.set(datetime(2026, 3, 31, 23, tzinfo=UTC))
        await business.run_worker()
        [left] = [each for each in await business.read_log() if each.type == "customer.segment.left"]
        assert (left.occurred_at, left.silent) == (datetime(2026, 3, 31, 22, tzinfo=UTC), False)
        changed = await api.fetch_data(UPDATE, input={"timezone": "America/New_York", "weekStart": "SUNDAY"})
        assert changed["updateWorkspace"] == {
            "workspace": {"timezone": "America/New_York", "weekStart": "SUNDAY"}, "userErrors": [],
        }  # fmt: skip
        await business.run_worker()
        assert await business.read_members(segment) == ["ann"]
        assert (await count_settings(business), await count_settings(business)) == (2, 2)
        silent = [each for each in await business.read_log(include_silent=True) if each.cause.get("version") == 2]
        [entered] = [each for each in silent if each.segment_id == segment.id]
        assert (entered.type, entered.silent, entered.cause["kind"]) == (
            "customer.segment.entered", True, "DEFINITION_CHANGED",
        )  # fmt: skip
        await set_local_time(ctx, "America/New_York", "SUNDAY")
        assert await count_settings(business) == 2
        preview = await api.fetch_data(PREVIEW, input={"criteria": purchases(3, **THIS_MONTH)})
        assert preview["segmentPreview"]["estimate"] == {"count": 1}
        clock.set(datetime(2026, 4, 1, 4, tzinfo=UTC))
        await business.run_worker()
        assert (await business.read_members(segment), await business.read_members(last)) == ([], ["ann"])
        preview = await api.fetch_data(PREVIEW, input={"criteria": purchases(3, **LAST_MONTH)})
        assert preview["segmentPreview"]["estimate"] == {"count": 1}
        zone = await api.fetch_data("{ segments(first: 2) { nodes { key timezone } } }")
        assert {each["key"]: each["timezone"] for each in zone["segments"]["nodes"]} == {
            "monthly": "America/New_York", "last": "America/New_York",
        }  # fmt: skip


async def test_segment_takes_the_zone_that_a_field_of_the_pass_names(business: Business) -> None:
    ctx, clock = business.ctx, business.clock
    clock.set(datetime(2026, 3, 31, 20, tzinfo=UTC))
    await business.record({}, {}, {"pass_external_id": "bob"}, {"pass_external_id": "bob"})
    await business.run_worker()
    await update_pass(ctx, (await business.read_pass()).id, fields={"timezone": "Asia/Tokyo"})
    segment = await create_segment(
        ctx, "today", "Today", purchases(2, calendar={"unit": "DAY"}), zone_field="fields.timezone"
    )
    await business.run_worker()
    assert await business.read_members(segment) == ["ann", "bob"]
    async with run_api(business) as api:
        ids = {"id": to_global_id("Segment", segment.id)}
        found = (await api.fetch_data(EXPLAIN, **ids))["explainMembership"]
        assert (found["until"], found["tree"]["timezone"]) == ("2026-04-01T15:00:00.000Z", "Asia/Tokyo")
        assert "(Asia/Tokyo)" in found["text"]
    clock.set(datetime(2026, 4, 1, 1, tzinfo=UTC))
    await business.run_worker()
    assert await business.read_members(segment) == ["ann"], "the day of bob, in the zone of the workspace, is over"
    changed = await update_segment(ctx, segment.id, zone_field="")
    assert changed.zone_field is None
    await business.run_worker()
    assert await business.read_members(segment) == []
    with pytest.raises(Refused):
        await create_segment(ctx, "plain", "Plain", purchases(1), zone_field="fields.timezone")
    with pytest.raises(Refused):
        await update_segment(ctx, segment.id, zone_field="timezone")


async def test_segment_that_no_longer_depends_on_local_time_is_previewed_and_copied(
    business: Business,
) -> None:
    today = purchases(1, calendar={"unit": "DAY"})
    segment = await create_segment(business.ctx, "today", "Today", today, zone_field="fields.timezone")
    await business.record({})
    await business.run_worker()
    changed = await update_segment(business.ctx, segment.id, criteria=purchases(1))
    assert changed.zone_field == "fields.timezone"
    copy = await duplicate_segment(business.ctx, segment.id, "copy")
    assert copy.zone_field is None
    await business.run_worker()
    found = await preview_segment(
        business.ctx, await parse_order(business.ctx, purchases(2), None, segment.id, "SILENT")
    )
    assert (found.tally.count, found.tally.leaving) == (0, 1)
    assert (await parse_order(business.ctx, today, None, segment.id, "SILENT")).zone_field == "fields.timezone"


async def test_zone_is_refused_where_it_changes_nothing(business: Business) -> None:
    """V1-11: bad definitions are refused with advice."""
    with pytest.raises(Refused) as refused:
        await create_segment(business.ctx, "plain", "Plain", purchases(3), timezone="Europe/Berlin")
    assert [problem.field for problem in refused.value.problems] == [("timezone",)]
    segment = await create_segment(business.ctx, "plain", "Plain", purchases(3))
    with pytest.raises(Refused):
        await update_segment(business.ctx, segment.id, timezone="Europe/Berlin")
    changed = await update_segment(business.ctx, segment.id, criteria=purchases(3, **THIS_MONTH), timezone="UTC")
    assert (changed.inherits_zone, changed.timezone) == (False, "UTC")
    copy = await duplicate_segment(business.ctx, segment.id, "copy")
    assert (copy.inherits_zone, copy.timezone) == (False, "UTC")


async def test_tier_by_calendar_says_what_is_missing(business: Business) -> None:
    reach = purchases(3, calendar={"unit": "YEAR"})
    tier = {"key": "gold", "name": "Gold", "reach": reach}
    await set_tier_program(business.ctx, {"tiers": [tier], "period": {"days": 30}})
    await business.record({}, {})
    await business.run_worker()
    query = '{ pass(externalId: "ann") { tierStatus { progress { remaining { measure needed } } } } }'
    async with run_api(business) as api:
        found = await api.fetch_data(query)
    assert found["pass"]["tierStatus"]["progress"]["remaining"] == [
        {"measure": "COUNT of purchase in YEAR 0", "needed": "1"}
    ]
    await business.record({})
    await business.run_worker()
    assert (await business.read_pass()).tier_key == "gold"


CRITERIA = (
    "criteria { pass { field operator value anniversary { unit nth forDays } }"
    " event { value operator calendar { unit offset } consecutive { unit atLeast } } }"
)
CREATE = (
    "mutation ($input: CreateSegmentInput!) { createSegment(input: $input) {"
    f" segment {{ {CRITERIA} }} userErrors {{ code field }} }} }}"
)


async def test_criteria_by_calendar_are_returned_as_given(business: Business) -> None:
    given = [{"value": 2, "calendar": {"unit": "WEEK"}}, {"consecutive": {"unit": "MONTH", "atLeast": 3}}]
    returned = [
        {"value": "2", "operator": "GTE", "calendar": {"unit": "WEEK", "offset": 0}, "consecutive": None},
        {"value": "3", "operator": "GTE", "calendar": None, "consecutive": {"unit": "MONTH", "atLeast": 3}},
    ]
    async with run_api(business) as api:
        for index, (event, expected) in enumerate(zip(given, returned, strict=True)):
            sent = {"key": f"k{index}", "name": "k", "criteria": {"event": event}}
            created = (await api.fetch_data(CREATE, input=sent))["createSegment"]
            assert created == {"segment": {"criteria": {"event": expected, "pass": None}}, "userErrors": []}
        birthday = {"field": "fields.birthday", "unit": "YEAR", "forDays": 7}
        sent = {"key": "birthday", "name": "k", "criteria": {"pass": {"anniversary": birthday}}}
        created = (await api.fetch_data(CREATE, input=sent))["createSegment"]
        assert created["segment"]["criteria"]["pass"] == {
            "field": "fields.birthday", "operator": "EQ", "value": None,
            "anniversary": {"unit": "YEAR", "nth": None, "forDays": 7},
        }  # fmt: skip
        joined = {"field": "createdAt", "operator": "AFTER", "value": {"days": 3}}
        sent = {"key": "joined", "name": "k", "criteria": {"pass": joined}}
        created = (await api.fetch_data(CREATE, input=sent))["createSegment"]
        assert created["segment"]["criteria"]["pass"] == {**joined, "anniversary": None}
        refused = (await api.fetch_data(UPDATE, input={"timezone": "Mars"}))["updateWorkspace"]
        assert list_codes(refused["userErrors"]) == [("UNKNOWN", ["timezone"])]


async def test_every_metric_of_a_calendar_window_is_explained_and_left_at_midnight(business: Business) -> None:
    """Saved over the API, evaluated by the worker, and asked of the events by a query. One event is removed."""
    measured: dict[str, str | int] = {"SUM": "24", "AVG": "8", "MIN": "5", "MAX": "12", "COUNT_DISTINCT": 2}
    business.clock.set(datetime(2026, 3, 31, 20, tzinfo=UTC))
    bought = [("12", "shop", 3), ("5", "web", 10), ("7", "shop", 31), ("90", "till", 20)]
    recorded = await business.record(
        *(
            {"amount": amount, "source": source, "occurred_at": datetime(2026, 3, day, 12, tzinfo=UTC)}
            for amount, source, day in bought
        )
    )
    await business.run_worker()
    async with run_api(business) as api:
        ids, sent_criteria = {}, {}
        for metric, value in measured.items():
            event = {"types": ["purchase"], "metric": metric, "operator": "EQ", "value": value, **THIS_MONTH}
            event |= {"field": "source"} if metric == "COUNT_DISTINCT" else {}
            sent = {"key": metric.lower(), "name": "k", "timezone": "Europe/Berlin", "criteria": {"event": event}}
            created = (await api.fetch_data(CREATE.replace(CRITERIA, "id"), input=sent))["createSegment"]
            assert created["userErrors"] == []
            ids[metric] = created["segment"]["id"]
            sent_criteria[metric] = {"event": event}
        target = recorded.results[-1].event
        assert target is not None
        await remove_events(business.ctx, [(target.pass_id, target.id)])
        await business.run_worker()
        for metric, value in measured.items():
            preview = await api.fetch_data(
                PREVIEW, input={"criteria": sent_criteria[metric], "timezone": "Europe/Berlin"}
            )
            assert preview["segmentPreview"]["estimate"] == {"count": 1}
            found = (await api.fetch_data(EXPLAIN, id=ids[metric]))["explainMembership"]
            assert (found["member"], found["until"]) == (True, "2026-03-31T22:00:00.000Z"), metric
            assert found["tree"]["measured"] == value, metric
            assert found["tree"]["windowTo"] == "2026-03-31T21:59:59.999Z"
            if metric != "COUNT_DISTINCT":
                assert "of its purchase events in this month" in found["text"]
                asked = {"function": metric, "types": ["purchase"], "timeWindow": {"calendar": "MONTH"}}
                answer = await api.fetch_data(AGGREGATE, input={**asked, "timezone": "Europe/Berlin"})
                assert Decimal(answer["aggregateEvents"]["value"]) == Decimal(value), metric
        business.clock.set(datetime(2026, 4, 1, tzinfo=UTC))
        await business.run_worker()
        left = [each for each in await business.read_log() if each.type == "customer.segment.left"]
        assert [each.occurred_at for each in left] == [datetime(2026, 3, 31, 22, tzinfo=UTC)] * len(measured)
