"""Points through the stages: given, spent and gone at their instant, whatever the worker was doing then.

WH1-16 (a purchase's points are in the balance), A1-05 (points are an attribute of every event, and may be negative), A1-11
and A1-12 (the end of points is moved by hand or by being active).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import remove_events
from app.domain.activities import POINTS_ADDED, POINTS_EXPIRED, Activity
from app.domain.state.points import rebuild_account
from app.domain.values.instants import to_ms
from tests.business import Business, flips

START = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def expired(feed: list[Activity]) -> list[tuple[object, object, datetime]]:
    """(points, balance after, instant) of what ended, in order of the log."""
    return [(a.data["points"], a.data["balance"], a.occurred_at) for a in feed if a.type == POINTS_EXPIRED]


async def as_rebuilt(business: Business, name: str = "ann") -> None:
    """Asserts that the balance and the lots are what all events of the pass come to."""
    card = await business.card(name)
    [events] = (await business.worker.fold_queries.histories([card])).values()
    purse, _ = rebuild_account(events, card.evaluated_until_ms)
    assert (card.points, card.lots) == (purse.balance, purse.lots)


async def test_points_given_spent_and_ended_while_the_worker_was_down_are_told_at_their_instants(
    business: Business,
) -> None:
    """WH1-16, A1-11."""
    rich = await business.segment(
        "rich", {"pass": {"field": "pointsBalance", "operator": "GTE", "value": 100}}, notify="EMIT"
    )
    await business.record({"amount": 80, "points": 80, "points_expire_at": day(30), "external_id": "grant"})
    business.clock.set(day(3))
    await business.record({"amount": "29.50", "points": "29.5"})
    business.clock.set(day(4))
    await business.record({"type": "redemption", "points": -20})
    business.clock.set(day(5))
    await business.record({"type": "visit", "points": 40, "points_expire_after_days": 10})
    await business.settle()
    assert (await business.card()).points == Decimal("129.5")
    business.clock.set(day(60))
    await business.settle()
    feed = await business.feed()
    assert expired(feed) == [("40", "89.5", day(15)), ("60", "29.5", day(30))]
    assert [(a.cause["kind"], a.category, a.data["event"]["type"]) for a in feed if a.type == POINTS_EXPIRED] == [  # type: ignore[index]
        ("TIME", "EFFECT", "visit"),
        ("TIME", "EFFECT", "purchase"),
    ]
    assert [a.data["expiredAt"] for a in feed if a.type == POINTS_EXPIRED] == [
        "2026-01-16T00:00:00.000Z",
        "2026-01-31T00:00:00.000Z",
    ]
    card = (await business.card()).id
    assert flips(feed, rich) == [
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
    await as_rebuilt(business)


async def test_a_late_spend_before_the_end_changes_what_ends(business: Business) -> None:
    await business.record({"points": 100, "points_expire_at": day(30)})
    business.clock.set(day(20))
    await business.settle()
    await business.record({"type": "redemption", "points": -70, "occurred_at": day(2)})
    await business.settle()
    business.clock.set(day(40))
    await business.settle()
    assert expired(await business.feed()) == [("30", "0", day(30))]
    # What comes after the end takes nothing back that was told, and the balance is right all the same.
    await business.record({"type": "redemption", "points": -10, "occurred_at": day(3)}, {"points": 5})
    await business.settle()
    assert len(expired(await business.feed())) == 1
    assert (await business.card()).points == 5
    await as_rebuilt(business)


async def test_an_end_is_moved_by_an_event_of_its_own(business: Business) -> None:
    """A1-12: manually, or by the most recent action; WH2-09's immutable events stay as they were."""
    grant = (await business.record({"points": 100, "points_expire_at": day(30)}, {"points": 7})).results[0].event
    endless = (await business.record({"points": 50})).results[0].event
    assert grant is not None
    assert endless is not None
    await business.settle()
    business.clock.set(day(29))
    moved = {"type": "custom", "correction_of": grant.id}
    await business.record(
        {**moved, "points_expire_at": day(40)}, {**moved, "correction_of": endless.id, "points_expire_after_days": 5}
    )
    await business.settle()
    business.clock.set(day(33))
    await business.record({"type": "visit"})
    business.clock.set(day(60))
    await business.settle()
    assert expired(await business.feed()) == [("50", "107", day(38)), ("100", "7", day(40))]
    stored = (await business.ctx.workspace.events.get_many([grant.id]))[grant.id]
    assert stored == grant
    await as_rebuilt(business)


async def test_an_end_moved_into_the_past_is_now(business: Business) -> None:
    [result] = (await business.record({"points": 100, "points_expire_at": day(30)})).results
    assert result.event is not None
    business.clock.set(day(10))
    await business.settle()
    await business.record({"type": "custom", "correction_of": result.event.id, "points_expire_at": day(2)})
    await business.settle()
    assert expired(await business.feed()) == [("100", "0", day(10))]
    business.clock.set(day(40))
    await business.settle()
    assert len(expired(await business.feed())) == 1


async def test_history_that_is_imported_tells_no_end_of_the_past_and_the_balance_is_right(business: Business) -> None:
    business.clock.set(day(300))
    for points, at, end in ((10, 0, 20), (20, 5, 310), (-4, 15, None), (-7, 100, None), (3, 200, 201)):
        until = {} if end is None else {"points_expire_at": day(end)}
        await business.record({"type": "visit", "points": points, "occurred_at": day(at), **until}, historical=True)
        await business.settle()
    assert expired(await business.feed()) == []
    assert (await business.card()).points == 13
    await as_rebuilt(business)
    business.clock.set(day(400))
    await business.settle()
    assert expired(await business.feed()) == [("13", "0", day(310))]
    [activity] = [a for a in await business.feed() if a.type == POINTS_EXPIRED]
    assert not activity.historical


async def test_a_pass_without_points_that_end_keeps_no_lots(business: Business) -> None:
    await business.record({"points": 5}, {"points": -9}, {"points": 5, "occurred_at": day(-3)})
    await business.settle()
    card = await business.card()
    assert (card.points, card.lots, card.next_due_ms) == (Decimal(1), None, None)
    await business.record({"points": 5, "points_expire_at": day(9)})
    await business.settle()
    card = await business.card()
    assert (card.points, len(card.lots or {}), card.next_due_ms) == (Decimal(6), 1, to_ms(day(9)))


async def test_what_is_removed_gave_spent_and_prolonged_nothing(business: Business) -> None:
    """After a removal the balance is that of the events left; what has ended only by the removal is told as late."""
    business.clock.set(day(0.5))
    outcome = await business.record(
        {"points": 100, "points_expire_at": day(30), "occurred_at": day(0)},
        {"points": -60, "occurred_at": day(0.1)},
        {"points": 10, "points_expire_after_days": 5, "occurred_at": day(0.2)},
        {"type": "visit", "occurred_at": day(0.4)},
    )
    grant, spent, _, visit = [(event.pass_id, event.id) for result in outcome.results if (event := result.event)]
    await business.settle()
    assert (await business.card()).points == 50
    await remove_events(business.ctx, [spent])
    await business.settle()
    assert (await business.card()).points == 110
    business.clock.set(day(5.3))
    await remove_events(business.ctx, [visit])
    await business.settle()
    assert (await business.card()).points == 100
    await as_rebuilt(business)
    await remove_events(business.ctx, [grant])
    await business.settle()
    card = await business.card()
    assert (card.points, card.lots) == (Decimal(0), {})
    ended = [(a.data["points"], a.occurred_at, a.late) for a in await business.feed() if a.type == POINTS_EXPIRED]
    assert ended == [("10", day(5.3), True)]


async def test_points_of_a_merged_pass_end_where_they_went(business: Business) -> None:
    """As if it had always been one pass: what bob owed is taken from what ann lost. What was told stays told."""
    await business.record(
        {"points": 10, "points_expire_at": day(5)},
        {"points": 100, "points_expire_at": day(30)},
        {"points": -20, "pass_external_id": "bob"},
        {"points": 50, "points_expire_at": day(20), "pass_external_id": "bob"},
    )
    business.clock.set(day(10))
    await business.settle()
    ann, bob = await business.card(), await business.card("bob")
    assert (ann.points, bob.points) == (Decimal(100), Decimal(30))
    await merge_passes(business.ctx, bob.id, ann.id)
    await business.settle()
    await as_rebuilt(business, "bob")
    assert (await business.card("bob")).points == 140
    business.clock.set(day(40))
    await business.settle()
    feed = await business.feed()
    assert sorted((str(a.data["points"]), a.pass_id, a.occurred_at) for a in feed if a.type == POINTS_EXPIRED) == [
        ("10", ann.id, day(5)),
        ("50", bob.id, day(20)),
        ("90", bob.id, day(30)),
    ]
    assert (await business.card("bob")).points == 0
