"""Rules from an event to the published activity: what they make is stored, listed, counted and corrected exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import count_matching_events, erase_pass, remove_events
from app.commands.rules.rules import create_rule, set_rule_status, update_rule
from app.commands.segments import update_segment
from app.domain.activities import CUSTOM_EVENT, POINTS_ADDED, REWARDED_POINTS, RULE_WAS_FIRED
from app.domain.definitions import Definitions
from app.domain.errors import Code
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import LIST_ADDED, RULE_FIRED, Event
from app.domain.fold.advance import Advanced, advance
from app.domain.fold.lacks import Lacks
from app.domain.fold.recomputation import Recomputation
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.domain.rules.rules import RuleStatus
from app.domain.state.accounts import rebuild_account
from app.domain.state.aggregations import Aggregation, Function, GroupBy
from app.domain.state.statistics import build_statistics
from app.domain.values.instants import to_ms
from app.flow import SLOT_RANGES, range_of
from app.store.stages.publish import PublishQueries
from app.store.workspace import definitions
from tests.business import Business, purchases
from tests.crashes import Crash
from workers.main import STAGES
from workers.stages.fold import fold_once
from workers.sweep import Sweep

START = datetime(2026, 1, 1, tzinfo=UTC)
PER_DOLLAR = {"awardPoints": {"perAmount": {"points": "1", "each": "1"}}}


async def define(business: Business, key: str, *effects: Mapping[str, object], **fields: object) -> str:
    """Create a rule, let a second pass, and return the id of the rule."""
    trigger = fields.pop("trigger", {"event": {"types": ["purchase"]}})
    created = await create_rule(
        business.ctx, {"key": key, "name": key, "trigger": trigger, "effects": list(effects), **fields}
    )
    await wait(business, 1)
    return created.id


async def wait(business: Business, seconds: float) -> None:
    business.clock.set(await business.clock.now() + timedelta(seconds=seconds))


async def read_made(business: Business, name: str = "ann") -> list[Event]:
    """Return the events that rules made and that publish inserted, in the order in which they counted."""
    card = await business.read_pass(name)
    [events] = (await business.worker.fold_queries.histories([card])).values()
    assert not card.outbox
    account, _ = rebuild_account(events, card.evaluated_until_ms)
    assert (card.points, card.lots) == (account.balance, account.lots), "the walk equals a rebuild"
    return sorted((event for event in events if event.is_made), key=lambda event: event.order)


async def test_points_of_a_purchase_are_published_with_the_event_that_gave_them(business: Business) -> None:
    rule_id = await define(business, "points", PER_DOLLAR)
    outcome = await business.record({"amount": "12.90"})
    await business.run_worker()
    fired, award = await read_made(business)
    assert (await business.read_pass()).points == 12
    assert (fired.type, fired.origin.rule, award.points) == (RULE_FIRED, rule_id, Decimal(12))
    [bought] = [item.event for item in outcome.results if item.event]
    assert (award.origin.cause, award.root, award.source) == (bought.id, bought.id, "rule:points")
    feed = await business.read_log()
    assert [a.type for a in feed][1:] == [CUSTOM_EVENT, POINTS_ADDED, REWARDED_POINTS]
    assert feed[-1].data["rule"] == {"id": rule_id, "key": "points", "version": 1}
    event = feed[-1].data["event"]
    assert isinstance(event, Mapping)
    assert (event["id"], event["points"]) == (award.id, "12")
    assert [a.pass_sequence for a in await business.read_log(types=[RULE_WAS_FIRED])] == [fired.step]


async def buy(business: Business, amount: object, **more: object) -> Event:
    """Record a purchase, fold it, and return it."""
    return await record_one(business, {"amount": amount, **more})


async def record_one(business: Business, item: Mapping[str, object]) -> Event:
    outcome = await business.record(item)
    [event] = [result.event for result in outcome.results]
    assert event is not None
    await business.run_worker()
    await wait(business, 60)
    return event


async def test_refund_and_removal_change_the_points_by_the_rule_that_fired(business: Business) -> None:
    await define(business, "points", PER_DOLLAR)
    bought = await buy(business, 100)
    returned = await record_one(business, {"type": "refund", "amount": 30, "correction_of": bought.id})
    assert returned.root == bought.id
    assert (await business.read_pass()).points == 70
    await remove_events(business.ctx, [(returned.pass_id, returned.id)])
    await business.run_worker()
    assert (await business.read_pass()).points == 100
    await wait(business, 60)
    await remove_events(business.ctx, [(bought.pass_id, bought.id)])
    await business.run_worker()
    made = await read_made(business)
    assert [int(event.points) for event in made] == [0, 100, -30, 30, -100]


async def test_made_events_count_while_only_the_outbox_has_them(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refund is folded before publish has inserted what the rule made for the purchase."""
    await define(business, "points", PER_DOLLAR)

    async def fail(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(PublishQueries, "insert_made", fail)
        with pytest.raises(Crash):
            await buy(business, 100, external_id="order")
        await wait(business, 60)
        card = await business.read_pass()
        assert [event.type for event in card.made_events] == [RULE_FIRED, "point_add"]
        await business.record({"type": "refund", "amount": 30, "correction_of": card.made_events[0].origin.cause})
        with pytest.raises(Crash):
            await business.run_worker()
        assert (await business.read_pass()).points == 70
    await business.run_worker()
    assert [int(event.points) for event in await read_made(business)] == [0, 100, -30]


async def test_worker_that_crashes_before_the_pull_publishes_made_events_once(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await define(business, "points", PER_DOLLAR)

    async def fail(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(PublishQueries, "published", fail)
        with pytest.raises(Crash):
            await buy(business, 20)
    await business.run_worker()
    assert [int(event.points) for event in await read_made(business)] == [0, 20]
    assert [a.type for a in await business.read_log()].count(POINTS_ADDED) == 1


async def test_erased_pass_leaves_nothing_of_what_rules_made(business: Business) -> None:
    await define(business, "points", PER_DOLLAR)
    bought = await buy(business, 20)
    await erase_pass(business.ctx, external_id="ann")
    await business.run_worker()
    docs = await business.ctx.resources.db["events"].find({"workspace": business.ctx.workspace.id}).to_list(None)
    assert all("removed" in doc or "points" not in doc for doc in docs)
    assert not [doc for doc in docs if doc.get("root") == bought.id]


async def test_points_of_a_merged_pass_follow_later_corrections(business: Business) -> None:
    await define(business, "points", PER_DOLLAR)
    bought = await buy(business, 50)
    other = await buy(business, 7, pass_external_id="bob")
    await merge_passes(business.ctx, other.pass_id, bought.pass_id)
    await business.run_worker()
    await wait(business, 60)
    assert (await business.read_pass("bob")).points == 57
    item = {"type": "refund", "amount": 20, "correction_of": bought.id, "pass_external_id": "bob"}
    await record_one(business, item)
    assert (await business.read_pass("bob")).points == 37
    assert [int(event.points) for event in await read_made(business, "bob") if event.points] == [50, 7, -20]


async def test_difference_waits_for_the_end_of_a_merge(business: Business) -> None:
    """A refund reaches the survivor while the purchase, for which a rule fired, still lies on the merged pass."""
    await define(business, "points", PER_DOLLAR)
    bought = await buy(business, 50)
    other = await buy(business, 7, pass_external_id="bob")
    await merge_passes(business.ctx, other.pass_id, bought.pass_id)
    sweep = Sweep(business.worker, STAGES)
    await sweep.fold()
    await business.record({"type": "refund", "amount": 20, "correction_of": bought.id, "pass_external_id": "bob"})
    await sweep.fold()
    assert (await business.read_pass("bob")).points == 7
    await business.run_worker()
    assert (await business.read_pass("bob")).points == 37
    made = await read_made(business, "bob")
    assert made[-1].origin.cause == f"mf:{bought.pass_id}"
    log = [a for a in await business.read_log() if a.pass_id == other.pass_id]
    assert [a.pass_sequence for a in await business.read_log(types=[RULE_WAS_FIRED], pass_id=other.pass_id)]
    assert [a.type for a in log][-1] in (CUSTOM_EVENT, REWARDED_POINTS)


@pytest.mark.parametrize("merges", [False, True])
async def test_pass_forgets_firings_of_an_archived_rule_but_corrects_its_points(
    business: Business, merges: bool
) -> None:
    """A paused rule may come back, so its firings stay. The points of both rules follow corrections, also over a merge."""
    archived_id, paused_id = await define(business, "one", PER_DOLLAR), await define(business, "two", PER_DOLLAR)
    bought = await buy(business, 50)
    await set_rule_status(business.ctx, archived_id, RuleStatus.ARCHIVED, "archiveRule")
    await set_rule_status(business.ctx, paused_id, RuleStatus.PAUSED, "pauseRule")
    await record_one(business, {"type": "visit"})
    card = await business.read_pass()
    assert [set(card.firings), card.points] == [{paused_id}, 100]
    name = "ann"
    if merges:
        name = "bob"
        other = await buy(business, 7, pass_external_id=name)
        await merge_passes(business.ctx, other.pass_id, bought.pass_id)
        await Sweep(business.worker, STAGES).fold()
    await business.record({"type": "refund", "amount": 20, "correction_of": bought.id, "pass_external_id": name})
    await business.run_worker()
    card = await business.read_pass(name)
    assert [set(card.firings), card.points] == [{paused_id}, 60]
    recomputation = Recomputation(card)
    recomputation.add((await business.worker.fold_queries.histories([card]))[card.id])
    assert recomputation.find_differences(Definitions(await business.ctx.workspace.definitions.versions())) == []


async def test_made_events_are_nobodys_activity_but_their_sums_count(business: Business) -> None:
    """Counts that name no type leave out what rules made; sums of spend and points hold it."""
    recorded = {"recordEvent": {"type": "charge", "amount": "3", "currency": "USD"}}
    await define(business, "points", PER_DOLLAR, recorded)
    await buy(business, 20)
    card = await business.read_pass()
    window = datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    recorded_rows, made_rows = await business.ctx.workspace.aggregations.of_pass(card.id, *window)
    for statistics in (
        build_statistics(card.aggregates, made=card.made_aggregates),
        build_statistics(recorded_rows, made=made_rows),
    ):
        assert statistics.event_count == 1
        [spend] = statistics.spend
        assert (spend.gross, spend.orders) == (Decimal(23), 1)
    named = build_statistics(card.aggregates, ["charge", "point_add"], made=card.made_aggregates)
    assert named.event_count == 2
    query = EventQuery(pass_id=card.id)
    aggregations = business.ctx.workspace.aggregations
    counts = Aggregation(Function.COUNT, group_by=(GroupBy.PASS,))
    assert [group.value for group in await aggregations.groups(query, counts, 10)] == [1]
    points = Aggregation(Function.SUM, "points", group_by=(GroupBy.PASS,))
    assert [group.value for group in await aggregations.groups(query, points, 10)] == [20]


async def test_made_events_are_neither_corrected_nor_deleted_by_clients(business: Business) -> None:
    await define(business, "points", PER_DOLLAR)
    bought = await buy(business, 20)
    query = EventQuery(pass_id=bought.pass_id)
    assert await count_matching_events(business.ctx, query) == 1
    _, award = await read_made(business)
    outcome = await business.record({"type": "custom", "points": -5, "correction_of": award.id})
    assert [problem.code for item in outcome.results for problem in item.problems] == [Code.CAUSED_BY_RULE]


async def test_walk_that_goes_on_lacking_data_is_saved_up_to_the_instant_before(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await buy(business, 5)
    now = await business.clock.now()
    early, late = now - timedelta(seconds=20), now - timedelta(seconds=10)
    await business.record({"amount": 1, "occurred_at": early}, {"amount": 2, "occurred_at": late})
    walks: list[int | None] = []

    def lack(card: Pass, definitions: Definitions, events: Sequence[Event] = (), **options: Any) -> Advanced | Lacks:
        walks.append(options["before_ms"])
        if options["before_ms"] is None:
            return Lacks(to_ms(late), history=True, is_first=False)
        return advance(card, definitions, events, **options)

    with monkeypatch.context() as patch:
        patch.setattr("workers.stages.advance.advance", lack)
        await fold_once(business.worker, range_of(slot_of((await business.read_pass()).id)))
    assert walks == [None] * 6 + [to_ms(late)]
    card = await business.read_pass()
    assert (card.aggregates["purchase", "USD"].sum, card.failures) == (Decimal(6), 0)
    await business.run_worker()
    assert (await business.read_pass()).aggregates["purchase", "USD"].sum == 8


async def test_walk_that_lacks_data_at_its_first_instant_counts_as_a_failure(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await buy(business, 5)
    await business.record({"amount": 1})

    def lack(card: Pass, *_: object, **__: object) -> Lacks:
        return Lacks(card.evaluated_until_ms, history=True)

    with monkeypatch.context() as patch:
        patch.setattr("workers.stages.advance.advance", lack)
        await fold_once(business.worker, range_of(slot_of((await business.read_pass()).id)))
    assert (await business.read_pass()).failures == 1
    await business.run_worker()
    assert (await business.read_pass()).aggregates["purchase", "USD"].sum == 6


async def test_list_that_a_rule_changed_is_rebuilt_from_stored_events(business: Business) -> None:
    listed = await business.create_segment("vip", {"pass": {"field": "fields.never", "operator": "EXISTS"}})
    await define(business, "vip", {"addToSegment": {"segmentId": listed.id}})
    await buy(business, "5")
    assert [event.type for event in await read_made(business)] == [RULE_FIRED, LIST_ADDED]
    assert set((await business.read_pass()).memberships) == {listed.id}
    # A late change of the profile rebuilds it from all events.
    late = START - timedelta(days=1)
    await record_one(business, {"type": "field_updated", "field_name": "a", "new_value": "b", "occurred_at": late})
    assert set((await business.read_pass()).memberships) == {listed.id}


async def test_revision_that_a_crashed_change_announced_is_caught_up_when_a_rule_takes_it(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.create_segment("rich", {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 1}})
    await buy(business, 1)

    async def fail(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(definitions, "insert_new", fail)
        with pytest.raises(Crash):
            await business.create_segment("poor", {"pass": {"field": "pointsBalance", "operator": "LT", "value": 1}})
    await define(business, "points", PER_DOLLAR)
    await business.run_worker()
    assert await business.worker.fold_queries.workspaces_behind() == {}


async def test_round_adds_up_what_rules_were_asked_before_it_counts_it(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting it for each pass alone would cost a third of what 20 rules cost."""
    rule_id = await define(business, "never", PER_DOLLAR, nth={"equals": 100})
    counted: list[tuple[Mapping[str, int], Mapping[tuple[str, str], int]]] = []

    def add(_: str, __: int, matched: Mapping[str, int], skipped: Mapping[tuple[str, str], int]) -> None:
        counted.append((matched, skipped))

    monkeypatch.setattr(business.worker.diagnostics, "add", add)
    await business.record(*({"pass_external_id": f"guest-{number}", "amount": 1} for number in range(60)))
    await business.run_worker()
    assert 1 <= len(counted) <= len(SLOT_RANGES)
    assert sum(matched[rule_id] for matched, _ in counted) == 60
    assert sum(skipped[rule_id, "NTH"] for _, skipped in counted) == 60


@pytest.mark.parametrize("fire_rules", [True, False])
async def test_edit_of_a_segment_asks_rules_only_with_fire_rules(business: Business, fire_rules: bool) -> None:
    await business.record({"amount": 10})
    segment = await business.create_segment("buyers", purchases(2))
    await wait(business, 1)
    trigger = {"segmentEntered": {"segmentId": segment.id}}
    await define(business, "welcome", {"awardPoints": {"points": 5}}, trigger=trigger)
    await update_segment(business.ctx, segment.id, criteria=purchases(1), fire_rules=fire_rules)
    await business.run_worker()
    card = await business.read_pass()
    assert (list(card.memberships), int(card.points)) == ([segment.id], 5 if fire_rules else 0)


async def test_rule_is_not_asked_about_the_difference_that_ends_a_merge(business: Business) -> None:
    await define(business, "points", PER_DOLLAR)
    noticed = {"recordEvent": {"type": "noticed"}}
    await define(business, "taken", noticed, trigger={"event": {"types": ["point_sub"]}})
    bought = await buy(business, 50)
    other = await buy(business, 7, pass_external_id="bob")
    await merge_passes(business.ctx, other.pass_id, bought.pass_id)
    await Sweep(business.worker, STAGES).fold()
    await business.record({"type": "refund", "amount": 20, "correction_of": bought.id, "pass_external_id": "bob"})
    await business.run_worker()
    assert [event.type for event in await read_made(business, "bob")][-1] == "point_sub"
    await wait(business, 60)
    await record_one(business, {"type": "refund", "amount": 5, "correction_of": bought.id, "pass_external_id": "bob"})
    assert [event.type for event in await read_made(business, "bob")].count("noticed") == 1


async def test_old_versions_go_also_where_only_rules_change(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass to which nothing happens is evaluated under a later version, so that it needs no old one."""
    monkeypatch.setattr("app.commands.rules.rules.MAX_REPLACED_VERSIONS", 4)
    await business.record({"amount": 1})
    rule_id = await define(business, "points", PER_DOLLAR)
    await business.run_worker()
    for month in range(2, 12):
        business.clock.set((await business.clock.now()).replace(month=month))
        await update_rule(business.ctx, rule_id, {"priority": month})
        await business.run_worker()
    versions = await business.ctx.workspace.definitions.versions()
    assert [version.version for version in versions] == [7, 8, 9, 10, 11]
    assert [version.announces_backfill for version in versions] == [False, True, False, False, False]
    assert (await business.read_pass()).revision == 8
    await buy(business, 3, occurred_at=await business.clock.now())
    assert (await business.read_pass()).points == 3
