"""Points through the stages: added, spent and expired at their instants.

WH1-16: the points of a purchase are in the balance. A1-05: every event can have points, which may be negative. A1-11
and A1-12: an event moves the end of points, to a given date or because it is the last action.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from app.commands.events.outcomes import BatchOutcome
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import remove_events
from app.domain.activities import CUSTOM_EVENT, POINTS_ADDED, POINTS_EXPIRED, REDEEMED, UPDATED, Activity
from app.domain.state.accounts import rebuild_account
from app.domain.values.instants import to_ms
from tests.business import Business, list_transitions

START = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def expired(feed: list[Activity]) -> list[tuple[object, object, datetime]]:
    """Return (points, balance after, instant) of each expiry, in order of the log."""
    return [(a.data["points"], a.data["balance"], a.occurred_at) for a in feed if a.type == POINTS_EXPIRED]


async def check_against_rebuild(business: Business, name: str = "ann") -> None:
    """Assert that the balance and the lots equal those rebuilt from all events of the pass."""
    card = await business.read_pass(name)
    [events] = (await business.worker.fold_queries.histories([card])).values()
    account, _ = rebuild_account(events, card.evaluated_until_ms)
    assert (card.points, card.lots) == (account.balance, account.lots)


async def test_points_expired_while_the_worker_was_down_get_their_instants(
    business: Business,
) -> None:
    """WH1-16, A1-11."""
    rich = await business.create_segment(
        "rich", {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 100}}, notify="EMIT"
    )
    await business.record({"amount": 80, "points": 80, "points_expire_at": day(30), "external_id": "grant"})
    business.clock.set(day(3))
    await business.record({"amount": "29.50", "points": "29.5"})
    business.clock.set(day(4))
    await business.record({"type": "redemption", "points": -20})
    business.clock.set(day(5))
    await business.record({"type": "visit", "points": 40, "points_expire_after_days": 10})
    await business.run_worker()
    assert (await business.read_pass()).points == Decimal("129.5")
    business.clock.set(day(60))
    await business.run_worker()
    feed = await business.read_log()
    assert expired(feed) == [("40", "89.5", day(15)), ("60", "29.5", day(30))]
    expiries = [a for a in feed if a.type == POINTS_EXPIRED]
    assert [(a.cause["kind"], a.category, a.data["event"]["type"]) for a in expiries] == [  # type: ignore[index]
        ("TIME", "EFFECT", "visit"),
        ("TIME", "EFFECT", "purchase"),
    ]
    assert [a.data["expiredAt"] for a in expiries] == [
        "2026-01-16T00:00:00.000Z",
        "2026-01-31T00:00:00.000Z",
    ]
    card = (await business.read_pass()).id
    assert list_transitions(feed, rich) == [
        (card, day(3), True),
        (card, day(4), False),
        (card, day(5), True),
        (card, day(15), False),
    ]
    [*_, left] = [a for a in feed if a.segment_id == rich.id]
    assert (left.cause["kind"], left.data["before"], left.data["after"]) == (
        "TIME",
        [Decimal("129.5")],
        [Decimal("89.5")],
    )
    assert [a.type for a in feed if a.cause.get("event")].count(POINTS_ADDED) == 3
    await check_against_rebuild(business)


async def test_late_spending_before_the_end_changes_the_points_that_expire(business: Business) -> None:
    await business.record({"points": 100, "points_expire_at": day(30)})
    business.clock.set(day(20))
    await business.run_worker()
    await business.record({"type": "redemption", "points": -70, "occurred_at": day(2)})
    await business.run_worker()
    business.clock.set(day(40))
    await business.run_worker()
    assert expired(await business.read_log()) == [("30", "0", day(30))]
    # A late event before a published expiry does not take the expiry back, and the balance is still right.
    await business.record({"type": "redemption", "points": -10, "occurred_at": day(3)}, {"points": 5})
    await business.run_worker()
    assert len(expired(await business.read_log())) == 1
    assert (await business.read_pass()).points == 5
    await check_against_rebuild(business)


async def test_end_of_points_is_moved_by_an_event_of_its_own(business: Business) -> None:
    """A1-12: the new end is a date, or so many days after the last action. WH2-09: the grant is immutable."""
    grant = (await business.record({"points": 100, "points_expire_at": day(30)}, {"points": 7})).results[0].event
    endless = (await business.record({"points": 50})).results[0].event
    assert grant is not None
    assert endless is not None
    await business.run_worker()
    business.clock.set(day(29))
    correction = {"type": "custom", "correction_of": grant.id}
    await business.record(
        {**correction, "points_expire_at": day(40)},
        {**correction, "correction_of": endless.id, "points_expire_after_days": 5},
    )
    await business.run_worker()
    business.clock.set(day(33))
    await business.record({"type": "visit"})
    business.clock.set(day(60))
    await business.run_worker()
    assert expired(await business.read_log()) == [("50", "107", day(38)), ("100", "7", day(40))]
    stored = (await business.ctx.workspace.events.get_many([grant.id]))[grant.id]
    assert stored == grant
    await check_against_rebuild(business)


def ids_of(outcome: BatchOutcome) -> list[str]:
    """Return the ids of the events that a call recorded."""
    return [result.event.id for result in outcome.results if result.event is not None]


@pytest.mark.parametrize("is_folded_between", [False, True])
@pytest.mark.parametrize("correction_day", [-9, 0, 1])
async def test_correction_of_points_works_whatever_its_date_and_id(
    business: Business, correction_day: int, is_folded_between: bool
) -> None:
    """The grant occurs on day 1. The ids are hashes: of nine corrections, about half sort before their grant."""
    business.clock.set(day(2))
    names = [f"p{n}" for n in range(9)]
    grant = {"points": 100, "points_expire_at": day(30), "occurred_at": day(1)}
    granted = await business.record(
        *({**grant, "pass_external_id": name, "external_id": f"grant of {name}"} for name in names)
    )
    if is_folded_between:
        await business.run_worker()
    moved = {"type": "custom", "points_expire_at": day(40), "occurred_at": day(correction_day)}
    await business.record(
        *(
            {**moved, "pass_external_id": name, "correction_of": original, "external_id": f"moved of {name}"}
            for name, original in zip(names, ids_of(granted), strict=True)
        )
    )
    business.clock.set(day(35))
    await business.run_worker()
    assert [(await business.read_pass(name)).points for name in names] == [100] * 9
    for name in names:
        await check_against_rebuild(business, name)
    business.clock.set(day(41))
    await business.run_worker()
    assert expired(await business.read_log()) == [("100", "0", day(40))] * 9


@pytest.mark.parametrize("is_folded_between", [False, True])
async def test_correction_of_a_field_change_counts_after_it(business: Business, is_folded_between: bool) -> None:
    """A file has dates only, so both changes occur at the same instant."""
    business.clock.set(day(2))
    names = [f"p{n}" for n in range(9)]
    change = {"type": "field_updated", "field_name": "size", "occurred_at": day(1)}
    changed = await business.record(
        *({**change, "pass_external_id": name, "new_value": "wrong", "external_id": f"first {name}"} for name in names)
    )
    if is_folded_between:
        await business.run_worker()
    right = {**change, "new_value": "right"}
    await business.record(
        *(
            {**right, "pass_external_id": name, "correction_of": original, "external_id": f"second {name}"}
            for name, original in zip(names, ids_of(changed), strict=True)
        )
    )
    await business.run_worker()
    assert [(await business.read_pass(name)).profile.fields for name in names] == [{"size": "right"}] * 9


async def test_event_that_adds_points_is_published_as_itself_and_as_added_points(business: Business) -> None:
    """A receiver that listens to one of the two types misses no event."""
    await business.record({"points": 30}, {"points": -5}, {"points": 0})
    await business.record({"type": "redemption", "points": 1})
    await business.record({"type": "field_updated", "field_name": "size", "new_value": "L", "points": 2})
    await business.run_worker()
    feed = [a for a in await business.read_log() if a.cause.get("event")]
    types_by_event: dict[object, list[str]] = {}
    for activity in feed:
        types_by_event.setdefault(activity.data["event"]["points"], []).append(activity.type)  # type: ignore[index]
    assert types_by_event == {
        "30": [CUSTOM_EVENT, POINTS_ADDED],
        "-5": [CUSTOM_EVENT],
        "0": [CUSTOM_EVENT],
        "1": [REDEEMED, POINTS_ADDED],
        "2": [UPDATED, POINTS_ADDED],
    }
    assert [a.pass_sequence for a in await business.read_log()] == list(range(1, 10))


async def test_end_of_points_moved_into_the_past_expires_them_now(business: Business) -> None:
    [result] = (await business.record({"points": 100, "points_expire_at": day(30)})).results
    assert result.event is not None
    business.clock.set(day(10))
    await business.run_worker()
    await business.record({"type": "custom", "correction_of": result.event.id, "points_expire_at": day(2)})
    await business.run_worker()
    assert expired(await business.read_log()) == [("100", "0", day(10))]
    business.clock.set(day(40))
    await business.run_worker()
    assert len(expired(await business.read_log())) == 1


async def test_imported_history_publishes_no_past_expiry_and_gives_the_right_balance(business: Business) -> None:
    business.clock.set(day(300))
    for points, at, end in ((10, 0, 20), (20, 5, 310), (-4, 15, None), (-7, 100, None), (3, 200, 201)):
        until = {} if end is None else {"points_expire_at": day(end)}
        await business.record({"type": "visit", "points": points, "occurred_at": day(at), **until}, historical=True)
        await business.run_worker()
    assert expired(await business.read_log()) == []
    assert (await business.read_pass()).points == 13
    await check_against_rebuild(business)
    business.clock.set(day(400))
    await business.run_worker()
    assert expired(await business.read_log()) == [("13", "0", day(310))]
    [activity] = [a for a in await business.read_log() if a.type == POINTS_EXPIRED]
    assert not activity.historical


async def test_pass_without_expiring_points_has_no_lots(business: Business) -> None:
    await business.record({"points": 5}, {"points": -9}, {"points": 5, "occurred_at": day(-3)})
    await business.run_worker()
    card = await business.read_pass()
    assert (card.points, card.lots, card.next_due_ms) == (Decimal(1), None, None)
    await business.record({"points": 5, "points_expire_at": day(9)})
    await business.run_worker()
    card = await business.read_pass()
    assert (card.points, len(card.lots or {}), card.next_due_ms) == (Decimal(6), 1, to_ms(day(9)))


async def test_removed_events_add_spend_and_prolong_no_points(business: Business) -> None:
    """The balance is that of the events left. Points that expire only by a removal are published as late."""
    business.clock.set(day(0.5))
    outcome = await business.record(
        {"points": 100, "points_expire_at": day(30), "occurred_at": day(0)},
        {"points": -60, "occurred_at": day(0.1)},
        {"points": 10, "points_expire_after_days": 5, "occurred_at": day(0.2)},
        {"type": "visit", "occurred_at": day(0.4)},
    )
    grant, spent, _, visit = [(event.pass_id, event.id) for result in outcome.results if (event := result.event)]
    await business.run_worker()
    assert (await business.read_pass()).points == 50
    await remove_events(business.ctx, [spent])
    await business.run_worker()
    assert (await business.read_pass()).points == 110
    business.clock.set(day(5.3))
    await remove_events(business.ctx, [visit])
    await business.run_worker()
    assert (await business.read_pass()).points == 100
    await check_against_rebuild(business)
    await remove_events(business.ctx, [grant])
    await business.run_worker()
    card = await business.read_pass()
    assert (card.points, card.lots) == (Decimal(0), {})
    ended = [(a.data["points"], a.occurred_at, a.late) for a in await business.read_log() if a.type == POINTS_EXPIRED]
    assert ended == [("10", day(5.3), True)]


async def test_points_of_a_merged_pass_expire_on_the_survivor(business: Business) -> None:
    """The points are as if there had always been one pass: bob's debt is paid from ann's lots."""
    await business.record(
        {"points": 10, "points_expire_at": day(5)},
        {"points": 100, "points_expire_at": day(30)},
        {"points": -20, "pass_external_id": "bob"},
        {"points": 50, "points_expire_at": day(20), "pass_external_id": "bob"},
    )
    business.clock.set(day(10))
    await business.run_worker()
    ann, bob = await business.read_pass(), await business.read_pass("bob")
    assert (ann.points, bob.points) == (Decimal(100), Decimal(30))
    await merge_passes(business.ctx, bob.id, ann.id)
    await business.run_worker()
    await check_against_rebuild(business, "bob")
    assert (await business.read_pass("bob")).points == 140
    business.clock.set(day(40))
    await business.run_worker()
    feed = await business.read_log()
    assert sorted((str(a.data["points"]), a.pass_id, a.occurred_at) for a in feed if a.type == POINTS_EXPIRED) == [
        ("10", ann.id, day(5)),
        ("50", bob.id, day(20)),
        ("90", bob.id, day(30)),
    ]
    assert (await business.read_pass("bob")).points == 0
