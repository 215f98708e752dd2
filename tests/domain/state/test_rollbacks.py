"""Rollbacks of redemptions: their points return to the lots that they came from, or end at the rollback."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from app.domain.events.events import Event
from app.domain.events.guards import Guard, RewardGuard
from app.domain.events.ordering import complete_orders
from app.domain.state.accounts import rebuild_account
from app.domain.state.lots import ExpiredLot
from app.domain.state.redeemed import Redeemed, count_redeemed
from app.domain.values.instants import DAY_MS
from tests.domain.state.test_points import START, event, idle, on


def spend(name: str, day: int, points: int) -> Event:
    return event(name, day, -points, kind="redemption")


def rollback(name: str, day: int, points: int, of: str) -> Event:
    return event(name, day, points, corrects=of, kind="redemption_rollback")


def lots_at(day: int, *events: Event) -> tuple[object, dict[str, tuple[object, object]]]:
    account, _ = rebuild_account(complete_orders(events), START + day * DAY_MS)
    return account.balance, {key: (lot.remaining, lot.expiry) for key, lot in (account.lots or {}).items()}


def test_points_return_to_the_lots_that_they_came_from() -> None:
    grants = event("soon", 0, 30, on(10)), event("late", 1, 50, on(20)), event("free", 2, 5)
    redeemed = (*grants, spend("coffee", 3, 60))
    assert lots_at(3, *redeemed) == (25, {"late": (20, on(20))})
    assert lots_at(4, *redeemed, rollback("back", 4, 60, "coffee")) == lots_at(4, *grants)


def test_points_whose_end_has_passed_end_at_the_rollback() -> None:
    events = (event("soon", 0, 30, on(10)), event("late", 1, 50, on(20)), spend("coffee", 3, 40))
    rolled = (*events, rollback("back", 12, 40, "coffee"))
    account, expired = rebuild_account(complete_orders(rolled), START + 12 * DAY_MS)
    assert account.balance == 50
    assert expired == [ExpiredLot("soon", Decimal(30), START + 12 * DAY_MS, balance=Decimal(50))]


def test_returned_points_repay_a_debt_first_with_those_that_end_soonest() -> None:
    events = (event("soon", 0, 30, on(10)), event("late", 1, 50, on(20)), spend("coffee", 3, 80), event("debt", 4, -40))
    assert lots_at(5, *events, rollback("back", 5, 80, "coffee")) == (40, {"late": (40, on(20))})


def test_points_of_an_idle_lot_return_unless_inactivity_ended_it() -> None:
    events = (event("grant", 0, 30, idle(5)), spend("coffee", 3, 30))
    assert lots_at(4, *events, rollback("back", 4, 30, "coffee")) == (30, {"grant": (30, idle(5))})
    assert lots_at(9, *events, rollback("back", 9, 30, "coffee"))[0] == 0


def test_points_that_were_a_debt_return_without_an_end() -> None:
    events = (event("grant", 0, 10, on(10)), spend("coffee", 1, 30), event("later", 2, 25))
    assert lots_at(3, *events) == (5, {})
    assert lots_at(3, *events, rollback("back", 3, 30, "coffee")) == (35, {"grant": (10, on(10))})
    assert lots_at(11, *events, rollback("back", 3, 30, "coffee")) == (25, {})


def test_units_of_a_rolled_back_redemption_do_not_count_in_limits() -> None:
    guard = Guard(reward=RewardGuard("reward_1", "coffee", quantity=2))
    taken = [replace(spend(name, day, 10), guard=guard) for name, day in (("a", 1), ("b", 3))]
    returned = replace(rollback("back", 4, 10, "a"), metadata={"reward": "reward_1", "quantity": 2})
    found = count_redeemed(complete_orders([*taken, returned]))["reward_1"]
    assert found.total == 2
    assert [found.count_after(START + day * DAY_MS) for day in (0, 1, 3)] == [2, 2, 0]
    assert count_redeemed(complete_orders([returned, *reversed(taken)]))["reward_1"] == found
    assert Redeemed().count_after(0) == 0
