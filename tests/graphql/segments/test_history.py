"""The history of segments in GraphQL: members at an instant, sizes, differences, and the stays of a pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass, remove_events
from app.commands.rules.rules import create_rule
from app.commands.segments import update_segment
from app.commands.workspaces.settings import set_local_time
from app.domain.segments.segments import Segment
from app.flow import SLOT_RANGES
from app.graphql.types.ids import to_global_id
from app.store.workspace import intervals, progress
from tests.business import bought_within, purchases
from tests.graphql.serving import Api
from workers.main import STAGES

MEMBERS = """query ($id: ID!, $at: DateTime, $first: Int, $after: String, $last: Int, $before: String) { segment(id: $id) {
  members(at: $at, first: $first, after: $after, last: $last, before: $before) {
    computedThrough totalCount pageInfo { hasNextPage hasPreviousPage endCursor startCursor }
    nodes { id since heldSince until cause { kind } explanation { member } pass { externalId } } } } }"""
PAGE = "{ totalCount nodes { since pass { externalId } } }"
DIFF = f"""query ($id: ID!, $from: DateTime!, $to: DateTime!) {{ segmentDiff(segmentId: $id, from: $from, to: $to) {{
  counts {{ entered left stayed }} entered {PAGE} left {PAGE} stayed {PAGE} }} }}"""
SIZES = """query ($id: ID!, $from: DateTime!, $to: DateTime!, $unit: PeriodUnit! = DAY) { segment(id: $id) {
  sizeOverTime(from: $from, to: $to, unit: $unit) { at count entered left } } }"""
HISTORY = """query ($pass: String!, $first: Int, $after: String) { pass(externalId: $pass) {
  membershipHistory(first: $first, after: $after) { totalCount pageInfo { hasNextPage endCursor }
    nodes { from to versions segment { key } enterCause { kind event { externalId } } leaveCause { kind } } } } }"""


def day(number: int, month: int = 1) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


async def prepare(api: Api) -> Segment:
    """Let ann be a member from 2 to 12 January and from 20 to 30 January, bob from 5 to 15 January."""
    business = api.business
    segment = await business.create_segment("recent", bought_within(10))
    for number, name in ((2, "ann"), (5, "bob"), (20, "ann")):
        business.clock.set(day(number))
        await business.record({"pass_external_id": name, "external_id": f"{name}-{number}"})
        await business.run_worker()
    business.clock.set(day(10, 2))
    await business.run_worker()
    return segment


async def members(api: Api, segment: Segment, at: datetime | None, **page: Any) -> dict[str, Any]:
    at_text = None if at is None else at.isoformat()
    data = await api.fetch_data(MEMBERS, id=to_global_id("Segment", segment.id), at=at_text, **page)
    found: dict[str, Any] = data["segment"]["members"]
    return found


def names(page: dict[str, Any]) -> list[str]:
    return sorted(node["pass"]["externalId"] for node in page["nodes"])


async def test_members_at_an_instant_are_those_of_that_instant(api: Api) -> None:
    """An entry counts from its instant, and an exit is the first instant without the pass (WH3-01)."""
    segment = await prepare(api)
    millisecond = timedelta(milliseconds=1)
    expected = {
        day(2) - millisecond: [], day(2): ["ann"], day(5): ["ann", "bob"], day(12) - millisecond: ["ann", "bob"],
        day(12): ["bob"], day(15): [], day(20): ["ann"], day(30): [], day(10, 2): [],
    }  # fmt: skip
    for at, listed in expected.items():
        page = await members(api, segment, at)
        assert (names(page), page["totalCount"]) == (listed, len(listed)), at
        assert page["computedThrough"] == "2026-02-10T00:00:00.000Z"
    [ann] = (await members(api, segment, day(20)))["nodes"]
    assert (ann["since"], ann["until"]) == ("2026-01-20T00:00:00.000Z", "2026-01-30T00:00:00.000Z")
    assert (ann["cause"]["kind"], ann["explanation"], ann["heldSince"]) == ("EVENT", None, None)
    node = "query ($id: ID!) { node(id: $id) { id ... on Membership { since } } }"
    assert (await api.fetch_data(node, id=ann["id"]))["node"] == {"id": ann["id"], "since": ann["since"]}


async def test_members_at_an_instant_page_by_pass_in_both_directions(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read may end within the stays of one pass."""
    segment = await prepare(api)
    monkeypatch.setattr(intervals, "_MIN_READ", 1)
    first = await members(api, segment, day(6), first=1)
    assert first["pageInfo"]["hasNextPage"]
    second = await members(api, segment, day(6), first=1, after=first["pageInfo"]["endCursor"])
    assert not second["pageInfo"]["hasNextPage"]
    assert sorted([*names(first), *names(second)]) == ["ann", "bob"]
    assert names(await members(api, segment, day(6), last=1)) == names(second)
    back = await members(api, segment, day(6), last=5, before=second["pageInfo"]["startCursor"])
    assert names(back) == names(first)


async def test_page_that_looks_at_many_stays_ends_and_the_next_one_goes_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 1 January nobody was a member. The pages are empty, and lead to the end of the list in both directions."""
    segment = await prepare(api)
    monkeypatch.setattr(intervals, "_MIN_READ", 1)
    monkeypatch.setattr(intervals, "MAX_INTERVALS", 3)
    for at, expected in ((day(1), []), (day(6), ["ann", "bob"])):
        for direction in ("first", "last"):
            cursor, found, pages = None, list[str](), 0
            flag, side, start = ("hasNextPage", "endCursor", "after")
            if direction == "last":
                flag, side, start = ("hasPreviousPage", "startCursor", "before")
            while pages == 0 or cursor is not None:
                page = await members(api, segment, at, **{direction: 5, start: cursor})
                found, pages = [*found, *names(page)], pages + 1
                cursor = page["pageInfo"][side] if page["pageInfo"][flag] else None
            assert sorted(found) == expected
            assert pages > 1


async def test_pass_with_too_many_stays_for_a_page_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = await prepare(api)
    monkeypatch.setattr(intervals, "_MIN_READ", 1)
    monkeypatch.setattr(intervals, "MAX_INTERVALS", 1)
    answer = await api.execute(MEMBERS, id=to_global_id("Segment", segment.id), at=day(17).isoformat(), first=0)
    [error] = answer["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "more than a page looks at" in error["message"]


async def test_instant_must_not_lie_after_what_is_computed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pending events, due passes, new definitions and what is not published hold the history back, each to its instant."""
    segment, business = await prepare(api), api.business

    async def through() -> str:
        return str((await members(api, segment, day(1)))["computedThrough"])

    async def fold() -> None:
        for key in SLOT_RANGES:
            await STAGES["fold"](business.worker, key)

    business.clock.set(day(20, 2))
    await business.record({"pass_external_id": "ann", "occurred_at": day(18, 2)})
    assert await through() == "2026-02-17T23:59:59.999Z"
    answer = await api.execute(MEMBERS, id=to_global_id("Segment", segment.id), at=day(18, 2).isoformat())
    [error] = answer["errors"]
    assert "complete up to 2026-02-17T23:59:59.999Z" in error["message"]
    monkeypatch.setattr(progress, "MAX_PENDING_READ", 0)
    assert await through() == "2026-02-17T23:59:59.999Z"
    monkeypatch.undo()
    await fold()
    assert await through() == "2026-02-17T23:59:59.999Z", "the entry is not published"
    await business.run_worker()
    assert await through() == "2026-02-20T00:00:00.000Z"
    business.clock.set(day(5, 3))
    assert await through() == "2026-02-27T23:59:59.999Z", "ann leaves on 28 February"
    await business.run_worker()
    await update_segment(business.ctx, segment.id, criteria=bought_within(3))
    business.clock.set(day(6, 3))
    assert await through() == "2026-03-04T23:59:59.999Z", "the edit waits for the backfill"
    await business.run_worker()
    await business.ctx.resources.db["histories"].update_one({}, {"$set": {"pos": 0}})
    assert await through() == "2026-01-01T23:59:59.999Z", "the history does not follow the log"


async def test_history_is_complete_though_a_rule_was_created_without_a_backfill(api: Api) -> None:
    """No segment changes with a rule, so passes are evaluated under it with their next event only."""
    segment, business = await prepare(api), api.business
    effects = [{"awardPoints": {"points": 1}}]
    await create_rule(
        business.ctx, {"key": "gift", "name": "Gift", "trigger": {"event": {"types": ["visit"]}}, "effects": effects}
    )
    await business.run_worker()
    business.clock.set(day(20, 2))
    page = await members(api, segment, day(20, 2))
    assert page["computedThrough"] == "2026-02-20T00:00:00.000Z"


async def test_sizes_are_those_at_the_end_of_each_utc_period(api: Api) -> None:
    """The number of members is listed over time (WH4-01)."""
    segment = await prepare(api)
    variables = {"id": to_global_id("Segment", segment.id), "from": day(4).isoformat(), "to": day(6).isoformat()}
    found = (await api.fetch_data(SIZES, **variables))["segment"]["sizeOverTime"]
    assert found == [
        {"at": "2026-01-04T00:00:00.000Z", "count": 1, "entered": 0, "left": 0},
        {"at": "2026-01-05T00:00:00.000Z", "count": 2, "entered": 1, "left": 0},
    ]
    variables |= {"to": day(1, 2).isoformat(), "unit": "MONTH"}
    found = (await api.fetch_data(SIZES, **variables))["segment"]["sizeOverTime"]
    assert found == [{"at": "2026-01-01T00:00:00.000Z", "count": 0, "entered": 3, "left": 3}]
    await set_local_time(api.business.ctx, week_start="SUNDAY")
    variables |= {"from": day(7).isoformat(), "to": day(8).isoformat(), "unit": "WEEK"}
    found = (await api.fetch_data(SIZES, **variables))["segment"]["sizeOverTime"]
    assert found == [{"at": "2026-01-04T00:00:00.000Z", "count": 2, "entered": 1, "left": 0}]
    for wrong, message in (
        ({"to": variables["from"]}, "`to` must lie after `from`."),
        ({"from": "2024-01-01T00:00:00Z", "unit": "DAY"}, "At most 400 periods"),
    ):
        answer = await api.execute(SIZES, **{**variables, **wrong})
        assert message in answer["errors"][0]["message"]


async def test_sizes_of_periods_that_have_not_begun_are_left_out(api: Api) -> None:
    segment = await prepare(api)
    variables = {"id": to_global_id("Segment", segment.id), "to": "2199-12-31T00:00:00Z", "unit": "MONTH"}
    for start, months in ((day(1), ["2026-01", "2026-02"]), (day(1, 3), [])):
        found = (await api.fetch_data(SIZES, **variables, **{"from": start.isoformat()}))["segment"]["sizeOverTime"]
        assert [each["at"][:7] for each in found] == months


async def test_difference_lists_who_entered_left_and_stayed(api: Api) -> None:
    segment = await prepare(api)
    variables = {"id": to_global_id("Segment", segment.id), "from": day(6).isoformat(), "to": day(21).isoformat()}
    found = (await api.fetch_data(DIFF, **variables))["segmentDiff"]
    assert found["counts"] == {"entered": 0, "left": 1, "stayed": 1}
    assert (names(found["entered"]), names(found["left"]), names(found["stayed"])) == ([], ["bob"], ["ann"])
    assert [found[name]["totalCount"] for name in ("entered", "left", "stayed")] == [0, 1, 1]
    assert found["stayed"]["nodes"][0]["since"] == "2026-01-20T00:00:00.000Z"
    variables |= {"from": day(1).isoformat(), "to": day(6).isoformat()}
    found = (await api.fetch_data(DIFF, **variables))["segmentDiff"]
    assert (names(found["entered"]), found["counts"]["entered"]) == (["ann", "bob"], 2)
    answer = await api.execute(DIFF, **{**variables, "from": day(9).isoformat()})
    assert answer["errors"][0]["message"].endswith("`to` must not lie before `from`.")
    assert (await api.fetch_data(DIFF, **{**variables, "id": "seg_none"}))["segmentDiff"] is None


async def test_stays_of_a_pass_have_causes_and_versions(api: Api) -> None:
    segment, business = await prepare(api), api.business
    await business.record({"pass_external_id": "ann", "external_id": "last"})
    await business.run_worker()
    await update_segment(business.ctx, segment.id, criteria=bought_within(20))
    await business.run_worker()
    history = (await api.fetch_data(HISTORY, **{"pass": "ann", "first": 2}))["pass"]["membershipHistory"]
    assert history["totalCount"] == 3
    last, before = history["nodes"]
    assert (last["from"], last["to"], last["leaveCause"]) == ("2026-02-10T00:00:00.000Z", None, None)
    assert (last["versions"], last["segment"], last["enterCause"]["event"]) == (
        [1, 2], {"key": "recent"}, {"externalId": "last"},
    )  # fmt: skip
    assert (before["from"], before["to"]) == ("2026-01-20T00:00:00.000Z", "2026-01-30T00:00:00.000Z")
    assert (before["versions"], before["leaveCause"]) == ([1], {"kind": "TIME"})
    present = (
        "query ($name: String!) { pass(externalId: $name) { memberships { computedThrough nodes { heldSince } } } }"
    )
    assert (await api.fetch_data(present, name="ann"))["pass"]["memberships"] == {
        "computedThrough": "2026-02-10T00:00:00.000Z", "nodes": [{"heldSince": "2026-02-10T00:00:00.000Z"}],
    }  # fmt: skip
    cursor = history["pageInfo"]["endCursor"]
    rest = (await api.fetch_data(HISTORY, **{"pass": "ann", "after": cursor}))["pass"]["membershipHistory"]
    assert [node["from"] for node in rest["nodes"]] == ["2026-01-02T00:00:00.000Z"]


async def test_stays_of_a_pass_are_listed_for_one_segment(api: Api) -> None:
    recent, business = await prepare(api), api.business
    await business.create_segment("anyone", purchases(1))
    query = """query ($id: ID, $after: String) { pass(externalId: "ann") {
      membershipHistory(segmentId: $id, first: 1, after: $after) { totalCount pageInfo { endCursor }
        nodes { from segment { key } } } } }"""

    async def stays(segment_id: str | None, after: str | None = None) -> Any:
        return (await api.fetch_data(query, id=segment_id, after=after))["pass"]["membershipHistory"]

    assert (await stays(None))["totalCount"] == 3
    segment_id = to_global_id("Segment", recent.id)
    newest = await stays(segment_id)
    oldest = await stays(segment_id, newest["pageInfo"]["endCursor"])
    assert [page["totalCount"] for page in (newest, oldest)] == [2, 2]
    assert [page["nodes"] for page in (newest, oldest)] == [
        [{"from": "2026-01-20T00:00:00.000Z", "segment": {"key": "recent"}}],
        [{"from": "2026-01-02T00:00:00.000Z", "segment": {"key": "recent"}}],
    ]
    assert (await stays("seg_none"))["totalCount"] == 0


async def test_merged_pass_is_listed_once_as_its_survivor_and_an_erased_one_not_at_all(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.stages.erase.CACHE_EXPIRY_SECONDS", 0.0)
    segment, business = await prepare(api), api.business
    ids = await business.ctx.workspace.passes.ids_of(["ann", "bob"])
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    await business.run_worker()
    page = await members(api, segment, day(6))
    assert (names(page), page["totalCount"]) == (["ann"], 1)
    assert names(await members(api, segment, day(13))) == ["ann"], "bob was a member then"
    history = (await api.fetch_data(HISTORY, **{"pass": "ann"}))["pass"]["membershipHistory"]
    assert history["totalCount"] == 3
    await erase_pass(business.ctx, pass_id=ids["ann"])
    await business.run_worker()
    page = await members(api, segment, day(6))
    assert (names(page), page["totalCount"]) == ([], 0)
    variables = {"id": to_global_id("Segment", segment.id), "from": day(5).isoformat(), "to": day(6).isoformat()}
    found = (await api.fetch_data(SIZES, **variables))["segment"]["sizeOverTime"]
    assert [each["count"] for each in found] == [2], "sizes stay"


async def test_exit_after_a_removal_names_the_entry_that_it_takes_back(api: Api) -> None:
    """An exit by time takes nothing back, and neither does an entry."""
    segment, business = await prepare(api), api.business
    [result] = (await business.record({"pass_external_id": "ann", "external_id": "wrong"})).results
    await business.run_worker()
    assert result.event is not None
    await remove_events(business.ctx, [(result.event.pass_id, result.event.id)])
    await business.run_worker()
    feed = """query ($id: ID!) { activity(filter: {segmentIds: [$id]}) {
      nodes { id type cause { kind } correctionOf { id type } } } }"""
    nodes = (await api.fetch_data(feed, id=to_global_id("Segment", segment.id)))["activity"]["nodes"]
    *before, entered, left = nodes
    assert (left["type"], left["cause"]["kind"]) == ("customer.segment.left", "EVENT_REMOVED")
    assert left["correctionOf"] == {"id": entered["id"], "type": "customer.segment.entered"}
    assert {node["cause"]["kind"] for node in before if node["type"] == left["type"]} == {"TIME"}
    assert [node["correctionOf"] for node in (*before, entered)] == [None] * len([*before, entered])
