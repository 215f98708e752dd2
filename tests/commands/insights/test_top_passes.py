"""The passes with the greatest values of a time equal those of an independent sum over all events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from random import Random
from unittest.mock import patch

import pytest

from app.commands.insights.top_passes import PassOrder
from app.commands.insights.value_lists import LEAST_VALUE
from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass, remove_events
from app.domain.errors import Code, InvalidInput, Unavailable
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Event
from app.domain.events.spend import signed_amount
from app.domain.insights.threshold import ThresholdOrder
from app.domain.rollups.periods import COUNT, POINTS, SPEND
from app.domain.state.earned import earned_points
from app.store.mongo.paging import PageRequest
from app.store.workspace.pass_periods import (
    PERIOD,
    TWELVE_BEFORE,
    TWELVE_ENDING,
    TWELVE_LATER,
    Content,
    PassPeriodReads,
    Ranking,
)
from tests.business import Business
from tests.ranking import rank_passes
from workers.stages.seal_passes import seal_passes

EUR = SPEND + "EUR"
NAMES = tuple(f"p{number}" for number in range(12))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


SPANS = (
    (at("2025-01-01"), at("2025-02-01")),
    (at("2024-01-01"), at("2026-01-01")),
    (at("2024-12-31T23:00"), at("2025-01-31T23:00")),  # January in Berlin
    (at("2024-11-13"), at("2025-03-20T04:30")),
    (at("2025-02-03"), at("2025-02-09")),
)


def random_sale(random: Random, number: int) -> dict[str, object]:
    kind = random.choice(("purchase", "purchase", "refund", "visit", "checkout"))
    is_visit = kind == "visit"
    return {
        "external_id": f"e{number}",
        "pass_external_id": random.choice(NAMES),
        "type": kind,
        "amount": None if is_visit else f"{random.randrange(1, 99)}.{random.randrange(10)}",
        "currency": None if is_visit else random.choice(("EUR", "EUR", "USD")),
        "points": random.choice((None, 5)),
        "occurred_at": at("2024-11-01") + timedelta(minutes=random.randrange(60 * 24 * 150)),
    }


async def compute(business: Business, measure: str, after: datetime, before: datetime) -> dict[str, Decimal]:
    """Return the values above 0 by pass, from all events that are stored."""
    query = EventQuery(occurred_after=after, occurred_before=before)
    events = (await business.ctx.workspace.events.page(query, PageRequest(10_000))).items

    def value_of(event: Event) -> Decimal:
        if measure == COUNT:
            return Decimal(not event.is_made)
        if measure == POINTS:
            return earned_points(event)
        return signed_amount(event) if measure == SPEND + str(event.currency) else Decimal(0)

    found: dict[str, Decimal] = {}
    for event in events:
        found[event.pass_id] = found.get(event.pass_id, Decimal(0)) + value_of(event)
    return {pass_id: value for pass_id, value in found.items() if value > 0}


async def check(business: Business) -> int:
    """Compare the greatest 4, or all, for each measure and span. Return how many passes were compared."""
    number = 0
    for index, (measure, (after, before)) in enumerate(product((EUR, COUNT, POINTS), SPANS)):
        expected = await compute(business, measure, after, before)
        count = (4, 100)[index % 2]
        found = await rank_passes(business.ctx, measure, after, before, count)
        assert {each.pass_id: each.value for each in found}.items() <= expected.items(), (measure, after)
        greatest = sorted(expected.values(), reverse=True)[:count]
        assert [each.value for each in found] == greatest, (measure, after)
        number += len(expected)
    return number


async def test_order_equals_that_of_all_events_while_months_are_sealed_and_change(business: Business) -> None:
    random, workspace = Random(16), business.ctx.workspace
    for step in range(3):
        await business.record(*(random_sale(random, 60 * step + index) for index in range(60)))
        if step == 1:
            ids = await workspace.passes.ids_of(["p1", "p2"])
            await merge_passes(business.ctx, ids["p1"], ids["p2"])
            await erase_pass(business.ctx, external_id="p3")
        await business.run_worker()
        if step % 2 == 0:
            await seal_passes(business.worker, workspace.id)
        events = (await workspace.events.page(EventQuery(), PageRequest(1_000))).items
        await remove_events(business.ctx, [(event.pass_id, event.id) for event in random.sample(events, 5)])
        await business.run_worker()
        assert await check(business) > 50
    # Pending events count at once.
    await seal_passes(business.worker, workspace.id)
    await business.record(*(random_sale(random, 900 + index) for index in range(10)))
    await check(business)


async def test_the_greatest_of_many_passes_are_found_without_reading_all(business: Business) -> None:
    """With sealed months, a question about 5 of 60 passes reads no event, and values of few passes."""
    await business.record(
        *(
            {"pass_external_id": f"n{n}", "amount": n + 1, "currency": "EUR", "occurred_at": at("2025-01-05")}
            for n in range(60)
        )
    )
    await business.run_worker()
    await seal_passes(business.worker, business.ctx.workspace.id)
    read: list[int] = []
    ranked = PassPeriodReads.ranked

    async def count_read(self: PassPeriodReads, *args: object, **options: object) -> object:
        found = await ranked(self, *args, **options)  # type: ignore[arg-type]
        read.append(len(found[0]))
        return found

    with (
        patch.object(PassPeriodReads, "ranked", count_read),
        patch("app.store.workspace.pass_periods.MAX_UNSEALED_EVENTS", 0),
        patch("app.commands.insights.top_passes.MIN_STREAM_PAGE", 5),
    ):
        for _, before in SPANS[:2]:
            found = await rank_passes(business.ctx, EUR, at("2025-01-01"), before, 5)
            assert [each.value for each in found] == [Decimal(60 - n) for n in range(5)]
    assert sum(read) <= 20


async def test_values_that_the_order_of_two_months_gave_are_not_read_again(business: Business) -> None:
    sales = [
        {"pass_external_id": f"n{n}", "amount": n + 1, "currency": "EUR", "occurred_at": at(f"2025-0{month}-05")}
        for n in range(6)
        for month in ((2, 3) if n else (2,))
    ]
    await business.record(*sales)
    await business.run_worker()
    await seal_passes(business.worker, business.ctx.workspace.id)
    asked: list[Content] = []
    values = PassPeriodReads.values

    async def note(self: PassPeriodReads, measure: str, contents: Iterable[Content]) -> dict[Content, Decimal]:
        asked.extend(contents)
        return await values(self, measure, asked)

    with (
        patch.object(PassPeriodReads, "values", note),
        patch("app.commands.insights.top_passes.MIN_STREAM_PAGE", 3),
        patch("app.commands.insights.top_passes.FIRST_LOW", LEAST_VALUE),
    ):
        found = await rank_passes(business.ctx, EUR, at("2025-02-01"), at("2025-04-01"), 3)
    assert [each.value for each in found] == [Decimal(2 * n) for n in (6, 5, 4)]
    assert asked == [], "each month gave its three greatest values, which are those of the same passes"


@pytest.mark.parametrize("most_doubtful", [0, 10])
async def test_first_months_of_a_year_are_ordered_by_its_list_while_it_runs(
    business: Business, most_doubtful: int
) -> None:
    """Values below 0 in the month that is running lower those of the year. Such passes are decided first."""
    business.clock.set(at("2025-04-20"))
    sales = [
        {"pass_external_id": f"n{n}", "amount": 10 * n + 1, "currency": "EUR", "occurred_at": at(f"2025-0{month}-05")}
        for n in range(12)
        for month in (1, 2, 3)
    ]
    refund = {"type": "refund", "currency": "EUR", "occurred_at": at("2025-04-02")}
    refunds = [{"pass_external_id": f"n{n}", "amount": 300, **refund} for n in (9, 11)]
    await business.record(*sales, *refunds)
    await business.run_worker()
    await seal_passes(business.worker, business.ctx.workspace.id)
    asked: set[int] = set()
    ranked = PassPeriodReads.ranked

    async def note(self: PassPeriodReads, measure: str, ranking: Ranking, *args: object, **options: object) -> object:
        asked.add(ranking.period)
        return await ranked(self, measure, ranking, *args, **options)  # type: ignore[arg-type]

    for before, is_one_list in ((at("2025-04-01"), most_doubtful > 0), (at("2025-04-20"), True)):
        asked.clear()
        with (
            patch.object(PassPeriodReads, "ranked", note),
            patch("app.commands.insights.value_lists.MAX_DOUBTFUL_PASSES", most_doubtful),
            patch("app.commands.insights.top_passes.MIN_STREAM_PAGE", 4),
        ):
            found = await rank_passes(business.ctx, EUR, at("2025-01-01"), before, 3)
        expected = await compute(business, EUR, at("2025-01-01"), before)
        assert {each.pass_id: each.value for each in found}.items() <= expected.items()
        assert [each.value for each in found] == sorted(expected.values(), reverse=True)[:3]
        assert (asked == {2025}) is is_one_list, asked


@pytest.mark.parametrize("have_sums", [False, True])
async def test_twelve_months_are_ordered_by_their_sums_while_passes_change(business: Business, have_sums: bool) -> None:
    """The months end now or a month ago. Until each pass has sums of twelve months, those of months are read."""
    random, asked = Random(5), set[str]()
    business.clock.set(at("2025-06-12"))
    spans = ((at("2024-07-01"), at("2025-07-01")), (at("2024-06-01"), at("2025-06-01")))
    ranked = PassPeriodReads.ranked

    async def note(self: PassPeriodReads, measure: str, ranking: Ranking, *args: object, **options: object) -> object:
        asked.add(ranking.values)
        return await ranked(self, measure, ranking, *args, **options)  # type: ignore[arg-type]

    def sale(number: int) -> dict[str, object]:
        days = random.randrange(720) if number % 2 else random.randrange(400)
        return {
            "pass_external_id": f"n{number % 15}",
            "type": random.choice(("purchase", "purchase", "refund")),
            "amount": random.randrange(1, 99),
            "currency": "EUR",
            "occurred_at": at("2023-06-22") + timedelta(days=days),
        }

    for step in range(2):
        await business.record(*(sale(60 * step + number) for number in range(60)))
        await business.run_worker()
        if step == 0:
            await seal_passes(business.worker, business.ctx.workspace.id)
        for after, before in spans:
            asked.clear()
            with (
                patch.object(PassPeriodReads, "ranked", note),
                patch.object(PassPeriodReads, "have_twelve_months", return_value=have_sums),
                patch("app.commands.insights.top_passes.MIN_STREAM_PAGE", 4),
            ):
                found = await rank_passes(business.ctx, EUR, after, before, 8)
            expected = await compute(business, EUR, after, before)
            assert {each.pass_id: each.value for each in found}.items() <= expected.items()
            assert [each.value for each in found] == sorted(expected.values(), reverse=True)[:8]
            assert asked == ({TWELVE_ENDING, TWELVE_BEFORE, TWELVE_LATER} if have_sums else {PERIOD})


async def test_too_much_outside_of_sealed_months_is_refused_with_advice(business: Business) -> None:
    await business.record(*({"amount": 1, "occurred_at": at("2025-01-05")} for _ in range(4)))
    await business.run_worker()
    with patch("app.store.workspace.pass_periods.MAX_UNSEALED_EVENTS", 3), pytest.raises(InvalidInput) as refused:
        await rank_passes(business.ctx, COUNT, *SPANS[0], 10)
    [problem] = refused.value.problems
    assert problem.code is Code.LIMIT
    assert "whole months" in problem.message
    with patch("app.store.workspace.pass_periods.are_passes_marked", return_value=False):
        assert [each.value for each in await rank_passes(business.ctx, COUNT, *SPANS[0], 10)] == [4]


async def test_a_correction_counts_once_it_is_decided(business: Business) -> None:
    outcome = await business.record({"amount": 10, "currency": "EUR", "occurred_at": at("2025-01-05")})
    await business.run_worker()
    await seal_passes(business.worker, business.ctx.workspace.id)
    [result] = outcome.results
    assert result.event is not None
    correction = {"type": "refund", "amount": 4, "currency": "EUR", "correction_of": result.event.id}
    await business.record({**correction, "occurred_at": at("2025-01-06")})
    for value in (10, 6):
        assert [each.value for each in await rank_passes(business.ctx, EUR, *SPANS[0], 5)] == [value]
        await business.run_worker()


async def test_order_that_grows_page_by_page_equals_one_that_is_found_at_once(business: Business) -> None:
    """Pages of an order of three months read what they need, and a failed read is not read in vain."""
    random = Random(3)
    sales = [
        {"pass_external_id": f"n{random.randrange(80)}", "amount": random.randrange(1, 40), "currency": "EUR"}
        for _ in range(400)
    ]
    await business.record(
        *({**sale, "occurred_at": at("2025-02-01") + timedelta(days=random.randrange(80))} for sale in sales)
    )
    await business.run_worker()
    await seal_passes(business.worker, business.ctx.workspace.id)
    span = at("2025-02-01"), at("2025-05-01")
    expected = await compute(business, EUR, *span)
    with patch("app.commands.insights.top_passes.MIN_STREAM_PAGE", 5):
        order = await PassOrder.begin(business.ctx, EUR, *span)
        await order.extend(10)
        first = list(order.passes)
        with patch.object(PassPeriodReads, "states", side_effect=Unavailable("store")), pytest.raises(Unavailable):
            await order.extend(40)
        assert list(order.passes) == first
        await order.extend(40)
        assert list(order.passes[:10]) == first
        await order.extend(1_000)
    assert dict(order.passes) == expected
    assert [each.value for each in order.passes] == sorted(expected.values(), reverse=True)


async def test_order_of_too_many_passes_is_refused_with_advice(business: Business) -> None:
    await business.record(
        *(
            {"pass_external_id": f"n{n}", "amount": 1, "currency": "EUR", "occurred_at": at("2025-01-05")}
            for n in range(9)
        )
    )
    await business.run_worker()
    await seal_passes(business.worker, business.ctx.workspace.id)
    with (
        patch("app.commands.insights.top_passes.MAX_COMPARED_PASSES", 5),
        pytest.raises(InvalidInput, match="shorter time"),
    ):
        await rank_passes(business.ctx, EUR, *SPANS[0], 8)


async def test_order_is_at_rest_when_a_cancelled_call_has_ended(business: Business) -> None:
    await business.record({"amount": 1, "currency": "EUR", "occurred_at": at("2025-01-05")})
    order = await PassOrder.begin(business.ctx, EUR, *SPANS[0])
    started, go_on, ended = threading.Event(), threading.Event(), False

    def next_step(self: ThresholdOrder, count: int) -> None:
        nonlocal ended
        started.set()
        go_on.wait()
        ended = True

    with (
        patch("app.commands.insights.top_passes.SLOW_SIZE", 0),
        patch.object(ThresholdOrder, "next_step", next_step),
    ):
        call = asyncio.create_task(order.extend(5))
        await asyncio.to_thread(started.wait)
        call.cancel()
        await asyncio.sleep(0)
        assert not call.done()
        go_on.set()
        await asyncio.wait([call])
    assert (call.cancelled(), ended) == (True, True)
