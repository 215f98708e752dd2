"""Totals that agree: statistics of a pass, aggregations, sums of segments and summaries, to the cent (WH2-29)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from app.commands.insights.aggregations import aggregate_from_rollups
from app.commands.insights.reading import read_rows
from app.commands.passes.removals import remove_events
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import INTERNAL_TYPES, Category, Event
from app.domain.insights.summaries import summarize
from app.domain.rollups.selections import Selection
from app.domain.state.aggregations import AMOUNT, Aggregation, Function
from app.domain.state.from_rows import from_aggregates
from app.domain.state.measures import EventFilter, Measure, Total
from app.domain.state.spend import SpendRow
from app.domain.state.statistics import Statistics, build_statistics
from app.domain.values.decimals import ZERO
from app.domain.values.instants import EARLIEST, LATEST, to_ms
from app.domain.values.zones import UTC
from app.store.mongo.paging import PageRequest
from tests.business import Business
from tests.sealing import seal_events

pytestmark = pytest.mark.not_on_java("it has no $dateTrunc")
SUBTRACTED = ("refund", "credit", "checkout_decreased")
KINDS = (
    "purchase", "purchase", "payment", "charge", "credit", "refund", "checkout", "visit", "dues", "gift_balance_added",
    "of_purchase", "of_purchase", "of_checkout", "of_checkout", "remove",
)  # fmt: skip
SPEND = EventQuery(categories=(Category.TRANSACTION,), currency="USD")
ALL_TIME = Selection(to_ms(EARLIEST), to_ms(LATEST))


async def live_through(business: Business, random: Random, steps: int) -> None:
    """Record events of one customer, correct and remove some of them, and let workers run in between."""
    recorded: dict[str, list[str]] = {"purchase": [], "checkout": []}
    every: list[str] = []
    for number in range(steps):
        kind = random.choice(KINDS)
        item: dict[str, object] = {
            "external_id": f"e{number}",
            "type": kind,
            "amount": f"{random.randrange(9000) / 100}",
        }
        if kind == "remove":
            if every:
                card = await business.read_pass()
                await remove_events(business.ctx, [(card.id, random.choice(every))])
            continue
        if kind.startswith("of_"):
            originals = recorded[kind.removeprefix("of_")]
            if not originals:
                continue
            item["correction_of"] = random.choice(originals)
            item["type"] = random.choice(("refund", "credit", "charge", "visit"))
            if kind == "of_checkout":
                item["type"] = random.choice(("checkout_update", "checkout_update", "checkout_reject", "refund"))
            if item["type"] == "checkout_reject":
                del item["amount"]
        elif kind == "dues":
            item["category"] = random.choice(("TRANSACTION", "CUSTOM"))
        elif kind in ("purchase", "payment") and random.random() < 0.2:
            item["currency"] = "JPY"
        [result] = (await business.record(item)).results
        if result.event is not None:
            every.append(result.event.id)
            recorded.setdefault(kind, []).append(result.event.id)
        if random.random() < 0.2:
            await business.run_worker()
    await business.run_worker()


async def counted_events(business: Business) -> Sequence[Event]:
    """Return the events as listed, without those that were declined."""
    page = await business.ctx.workspace.events.page(EventQuery(), PageRequest(10_000))
    return [each for each in page.items if not each.outcome.is_declined and each.type not in INTERNAL_TYPES]


def spend_of(events: Sequence[Event]) -> dict[str, Decimal]:
    """Return the net spend by currency, by plain arithmetic."""
    found: dict[str, Decimal] = {}
    for each in events:
        if each.category is Category.TRANSACTION and each.amount is not None and each.currency is not None:
            sign = -1 if each.type in SUBTRACTED else 1
            found[each.currency] = found.get(each.currency, ZERO) + sign * each.amount
    return found


def without_categories(statistics: Statistics) -> Statistics:
    """Return the statistics with one category for all types: of a type with several, a pass shows the one folded first.

    The ids of events decide the order of the fold within one instant, and they are random.
    """
    rows = tuple(replace(row, category=Category.CUSTOM) for row in statistics.by_type)
    return replace(statistics, by_type=rows)


async def sum_of(business: Business, *, gross: bool = False, sealed: bool = False) -> Decimal:
    aggregation = Aggregation(Function.SUM, AMOUNT, gross=gross)
    if sealed:
        groups, plan = await aggregate_from_rollups(business.ctx, SPEND, aggregation)
        assert plan.reason is None
        assert groups is not None
    else:
        groups = await business.ctx.workspace.aggregations.groups(SPEND, aggregation, 2)
    return (groups[0].value or ZERO) if groups else ZERO


@pytest.mark.parametrize("seed", range(4))
async def test_all_figures_of_spend_agree_whatever_happens(business: Business, seed: int) -> None:
    random = Random(seed)
    summed = {
        "event": {"categories": ["TRANSACTION"], "metric": "SUM", "currency": "USD", "operator": "GTE", "value": 1}
    }
    await business.create_segment("spenders", summed)
    await live_through(business, random, 60)
    card, events = await business.read_pass(), await counted_events(business)
    expected = spend_of(events)
    kept = build_statistics(card.aggregates, made=card.made_aggregates)
    assert {row.currency: row.net for row in kept.spend if row.net} == {
        each: net for each, net in expected.items() if net
    }
    recorded, made = await business.ctx.workspace.aggregations.of_pass(card.id, EARLIEST, LATEST)
    assert without_categories(build_statistics(recorded, made=made)) == without_categories(kept)
    dollars = next((row for row in kept.spend if row.currency == "USD"), SpendRow("USD"))
    [state] = [each for each in card.measures.values() if isinstance(each, Total)]
    assert state.value == dollars.net
    measure = Measure(EventFilter(categories=(Category.TRANSACTION,), currency="USD"), AMOUNT)
    assert from_aggregates(measure, card.aggregates, card.made_aggregates) == state
    for is_sealed in (False, True):
        if is_sealed:
            await seal_events(business, events)
        summary = summarize((await read_rows(business.ctx, ALL_TIME, UTC)).rows)
        assert tuple(summary.revenue) == kept.spend
        assert summary.total_events == kept.event_count
        assert set(summary.by_type) == {row.type for row in kept.by_type}
        assert await sum_of(business, sealed=is_sealed) == dollars.net
        assert await sum_of(business, gross=True, sealed=is_sealed) == dollars.gross + dollars.refunded
