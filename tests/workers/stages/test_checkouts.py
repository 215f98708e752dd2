"""Checkouts from the event to the totals of the pass: updates, rejects, removals, refunds, points and merges."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import remove_events
from app.commands.rules.rules import create_rule
from app.domain.events.event_queries import EventQuery
from app.domain.state.aggregations import Aggregation, Function
from app.domain.state.spend import SpendRow
from app.domain.state.statistics import build_statistics
from app.domain.values.instants import format_instant
from tests.business import Business


async def record(business: Business, kind: str, amount: object = None, of: str | None = None, **more: Any) -> str:
    """Record an event a minute later and return its id."""
    business.clock.set(await business.clock.now() + timedelta(minutes=1))
    [result] = (await business.record({"type": kind, "amount": amount, "correction_of": of, **more})).results
    assert result.event is not None, result.problems
    return result.event.id


async def read_spend(business: Business, external_id: str = "ann") -> SpendRow:
    await business.run_worker()
    card = await business.read_pass(external_id)
    [row] = build_statistics(card.aggregates, made=card.made_aggregates).spend
    return row


def row(gross: str, refunded: str = "0", orders: int = 1) -> SpendRow:
    low, high = Decimal(refunded), Decimal(gross)
    return SpendRow("USD", high, low, net=high - low, orders=orders)


async def test_update_raises_or_lowers_the_total_and_a_reject_takes_what_is_left(business: Business) -> None:
    """Compensating events of a checkout (A1-10)."""
    checkout = await record(business, "checkout", metadata={"total": "100.00"})
    assert await read_spend(business) == row("100.00")
    await record(business, "checkout_update", 130, checkout)
    assert await read_spend(business) == row("130.00")
    await record(business, "checkout_update", None, checkout, metadata={"items": [{"price": 20, "quantity": 4}]})
    assert await read_spend(business) == row("80.00")
    await record(business, "refund", 30, checkout)
    assert await read_spend(business) == row("80.00", "30")
    await record(business, "checkout_reject", None, checkout)
    assert await read_spend(business) == row("30.00", "30", orders=0)


async def test_removed_update_gives_way_to_the_last_one_left(
    business: Business,
) -> None:
    checkout = await record(business, "checkout", 100)
    first = await record(business, "checkout_update", 150, checkout)
    second = await record(business, "checkout_update", 70, checkout)
    assert await read_spend(business) == row("70")
    card = await business.read_pass()
    await remove_events(business.ctx, [(card.id, second)])
    assert await read_spend(business) == row("150")
    await remove_events(business.ctx, [(card.id, first)])
    assert await read_spend(business) == row("100")
    await remove_events(business.ctx, [(card.id, checkout)])
    assert (await read_spend(business)).net == 0


async def test_differences_are_events_of_punchcard_that_count_in_sums_and_in_no_count(business: Business) -> None:
    spent = {"event": {"types": ["checkout"], "metric": "SUM", "value": 120}}
    rich = await business.create_segment("rich", spent)
    two = await business.create_segment("two", {"event": {"value": 3}})
    checkout = await record(business, "checkout", 100)
    update = await record(business, "checkout_update", 120, checkout)
    await business.run_worker()
    assert await business.read_members(rich) == ["ann"]
    assert await business.read_members(two) == []
    late = await business.create_segment("late", spent)
    assert await business.read_members(late) == ["ann"]
    made = [each for each in await business.read_log() if "event" in each.data][-1].data["event"]
    assert (made["type"], made["amount"], made["source"]) == ("checkout_increased", "20", "punchcard")  # type: ignore[index]
    assert made["correctionOf"] == checkout  # type: ignore[index]
    assert update != checkout


async def test_points_of_a_rule_follow_the_total_of_the_checkout(business: Business) -> None:
    await create_rule(
        business.ctx,
        {
            "key": "points",
            "name": "Points",
            "trigger": {"event": {"types": ["checkout"]}},
            "effects": [{"awardPoints": {"perAmount": {"points": 1, "each": 1}}}],
        },
    )
    checkout = await record(business, "checkout", "100.90")
    balances = []
    update = ""
    for kind, amount in (("checkout_update", 130), ("checkout_update", 80), ("refund", 30), ("checkout_reject", None)):
        await business.run_worker()
        balances.append((await business.read_pass()).points)
        update = await record(business, kind, amount, checkout)
    await business.run_worker()
    assert balances == [100, 130, 80, 50]
    card = await business.read_pass()
    assert card.points == 0
    await remove_events(business.ctx, [(card.id, update)])
    await business.run_worker()
    assert (await business.read_pass()).points == 50


async def test_sum_over_checkouts_has_their_differences_and_a_count_has_not(business: Business) -> None:
    checkout = await record(business, "checkout", 100)
    await record(business, "checkout_update", 70, checkout)
    await business.run_worker()
    query = EventQuery(types=("checkout",))
    for function, field_name, expected in ((Function.SUM, "amount", 70), (Function.COUNT, None, 1)):
        [group] = await business.ctx.workspace.aggregations.groups(query, Aggregation(function, field_name), 5)
        assert group.value == expected


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ({"type": "checkout_update", "amount": 5}, "correctionOf"),
        ({"type": "checkout_reject", "amount": 5}, "correctionOf"),
        ({"type": "checkout_increased", "amount": 5}, "type"),
        ({"type": "checkout", "metadata": {"total": -5}}, "amount"),
    ],
)
async def test_unsuitable_events_of_checkouts_are_rejected(business: Business, items: Any, field: str) -> None:
    [result] = (await business.record(items)).results
    assert (result.status.value, result.problems[0].field) == ("REJECTED", (field,))


async def test_update_corrects_a_checkout_and_no_other_event(business: Business) -> None:
    purchase = await record(business, "purchase", 10)
    [result] = (await business.record({"type": "checkout_update", "amount": 5, "correction_of": purchase})).results
    assert [each.field for each in result.problems] == [("correctionOf",)]


async def test_updates_of_a_merged_pass_change_the_total_once_on_the_survivor(business: Business) -> None:
    checkout = await record(business, "checkout", 100)
    await record(business, "checkout_update", 130, checkout)
    await business.run_worker()
    await business.create_passes("bob")
    ann, bob = await business.read_pass(), await business.read_pass("bob")
    await record(business, "checkout_update", 90, checkout)
    await merge_passes(business.ctx, bob.id, ann.id)
    assert await read_spend(business, "bob") == row("90")
    await record(business, "checkout_reject", None, checkout, pass_external_id="bob")
    assert (await read_spend(business, "bob")).net == 0


@dataclass
class Order:
    """A checkout as the oracle of the test sees it."""

    id: str
    total: int
    updates: dict[str, int | None] = field(default_factory=dict)

    @property
    def net(self) -> int:
        """The total that the last update left says."""
        latest = next(reversed(self.updates.values()), self.total)
        return 0 if latest is None else latest


@pytest.mark.parametrize("seed", range(4))
async def test_spend_is_that_of_the_last_updates_whatever_happens_when(business: Business, seed: int) -> None:
    random, orders = Random(seed), list[Order]()
    for _ in range(25):
        match random.choice(["checkout", "update", "update", "reject", "remove", "run"]):
            case "checkout":
                total = random.randint(1, 200)
                orders.append(Order(await record(business, "checkout", total), total))
            case "update" if orders:
                order, total = random.choice(orders), random.randint(0, 200)
                order.updates[await record(business, "checkout_update", total, order.id)] = total
            case "reject" if orders:
                order = random.choice(orders)
                order.updates[await record(business, "checkout_reject", None, order.id)] = None
            case "remove" if [order for order in orders if order.updates]:
                order = random.choice([order for order in orders if order.updates])
                event_id = random.choice(list(order.updates))
                del order.updates[event_id]
                card = await business.ctx.workspace.passes.ids_of(["ann"])
                await remove_events(business.ctx, [(card["ann"], event_id)])
            case "run":
                await business.run_worker()
    await business.run_worker()
    if not orders:
        return
    rejects = sum(list(order.updates.values()).count(None) for order in orders)
    expected = sum(order.net for order in orders)
    assert await read_spend(business) == row(str(expected), orders=len(orders) - rejects)
    assert format_instant(await business.clock.now())
