"""Lists of sums of twelve months give the order of all passes, at the same cost for any number of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any, cast

import pytest

from app.commands.insights.value_lists import FIRST_LOW, ChosenLists, MergedLists, ValueList, choose_twelve_months
from app.domain.insights.threshold import Decide, ThresholdOrder
from app.domain.rollups.covers import cover
from app.domain.rollups.periods import bounds_of, earlier_month, year_of
from app.domain.rollups.twelve_months import TwelveMonths, sum_twelve_months
from app.store.workspace.pass_periods import (
    TWELVE_BEFORE,
    TWELVE_ENDING,
    TWELVE_LATER,
    PassPeriodReads,
    RankedPass,
    Ranking,
)

Months = Mapping[int, Decimal]
FIELDS = {TWELVE_ENDING: "ending", TWELVE_BEFORE: "before", TWELVE_LATER: "later"}


class MemoryStore:
    """The lists that contents of passes give. Some passes have a former content, too, which is not valid any more."""

    def __init__(self, passes: Mapping[str, Months], former: Iterable[tuple[str, Months]] = ()) -> None:
        self.passes, self.read, self.calls = passes, 0, 0
        self._lists: dict[Ranking, list[RankedPass]] = {}
        self._last: list[tuple[str, int]] = []
        for token, (pass_id, months) in enumerate([*passes.items(), *former]):
            last = max(months)
            self._last.append((pass_id, last))
            kept = {month: {"": value} for month, value in months.items() if month >= earlier_month(last, 12)}
            sums = sum_twelve_months(kept).get("", TwelveMonths(Decimal(0), Decimal(0), Decimal(0)))
            for field, name in FIELDS.items():
                ranking = Ranking(field, year_of(last) if field == TWELVE_LATER else last)
                found = RankedPass(pass_id, getattr(sums, name), token=token, period=last)
                self._lists.setdefault(ranking, []).append(found)
        for values in self._lists.values():
            values.sort(key=lambda each: (each.value, each.pass_id), reverse=True)

    async def ranked(
        self, _: str, ranking: Ranking, after: RankedPass | None, limit: int, *, low: Decimal
    ) -> tuple[list[RankedPass], bool]:
        """Return the next values of a list, as the store does."""
        found = [
            each
            for each in self._lists.get(ranking, ())
            if each.value >= low and (after is None or (each.value, each.pass_id) < (after.value, after.pass_id))
        ]
        self.read, self.calls = self.read + len(found[:limit]), self.calls + 1
        return found[:limit], len(found) > limit

    async def with_contents(self, first: int, last: int, limit: int) -> set[str]:
        """Return passes with a last month in a span, as the store does."""
        return {pass_id for pass_id, month in self._last if first <= month <= last}

    def sums(self, months: Collection[int], pass_ids: Iterable[str] | None = None) -> dict[str, Decimal]:
        """Return the values in months of passes, or of all."""
        return {
            pass_id: sum((self.passes[pass_id].get(month, Decimal(0)) for month in months), Decimal(0))
            for pass_id in (self.passes if pass_ids is None else pass_ids)
        }


async def rank(store: MemoryStore, last_month: int, now_month: int, count: int) -> tuple[list[Decimal], int]:
    """Return the greatest values of the twelve months that end with a month, and how many sums were read for them."""
    months = cover(bounds_of(earlier_month(last_month, 11))[0], bounds_of(last_month)[1])
    reads = cast(PassPeriodReads, store)
    chosen = await choose_twelve_months(reads, months, bounds_of(now_month)[0])
    assert isinstance(chosen, ChosenLists)
    lists = MergedLists(
        [ValueList(reads, "", ranking=each, low=FIRST_LOW) for each in chosen.twelve], chosen.last_months
    )
    order, decided = ThresholdOrder(1), len(chosen.doubtful)
    order.decide(chosen.doubtful, store.sums(months.months, chosen.doubtful))
    while (step := order.next_step(count)) is not None:
        if isinstance(step, Decide):
            decided += len(step.pass_ids)
            order.decide(step.pass_ids, store.sums(months.months, step.pass_ids))
            continue
        await lists.read_on(max(100, lists.read // 4))
        order.take(0, [(each.pass_id, each.value) for each in lists.take()], lists.bound)
    assert dict(order.found).items() <= store.sums(months.months).items()
    return [value for _, value in order.found], decided


@pytest.mark.parametrize("seed", range(30))
async def test_order_of_twelve_months_is_that_of_all_sums(seed: int) -> None:
    """Passes have gaps, refunds, former contents and events in later months. The months end now or a month ago."""
    random, now = Random(seed), random_month(Random(seed))
    greatest = random.choice((3, 90, 4_000))

    def months() -> Months:
        first, chance = random.randrange(-1, 20), random.random()
        found = {
            earlier_month(now, number): Decimal(random.randrange(-greatest // 3, greatest)) / 10
            for number in range(first, first + 20)
            if number >= 0 or random.random() < 0.1
            if random.random() < chance
        }
        return found or {earlier_month(now, 1): Decimal(1)}

    passes = {f"p{number:03}": months() for number in range(random.choice((5, 250)))}
    former = [(pass_id, months()) for pass_id in passes if random.random() < 0.3]
    store = MemoryStore(passes, former)
    for last_month in (now, earlier_month(now, 1)):
        if last_month % 100 == 12:
            continue
        count = random.choice((1, 20, 300))
        expected = store.sums([earlier_month(last_month, number) for number in range(12)])
        found, _ = await rank(store, last_month, now, count)
        assert found == sorted((value for value in expected.values() if value > 0), reverse=True)[:count]


def random_month(random: Random) -> int:
    return random.choice((202501, 202502, 202606, 202611, 202612))


@pytest.mark.parametrize("events_a_month", [0.3, 3, 400])
@pytest.mark.parametrize("day", [3, 28])
async def test_greatest_of_alike_passes_cost_the_same_for_any_number_of_them(day: int, events_a_month: float) -> None:
    """The running month has few events on its third day, and some passes have none in it."""
    costs: dict[int, tuple[int, int]] = {}
    for number in (200, 3_000):
        random = Random(number)
        passes = {f"p{n}": alike_months(random, day, events_a_month) for n in range(number)}
        store = MemoryStore({pass_id: months for pass_id, months in passes.items() if months})
        for last_month in (202606, 202605):
            store.read = 0
            _, decided = await rank(store, last_month, 202606, 51)
            costs[number] = max(costs.get(number, (0, 0)), (store.read, decided))
    assert max(read for read, _ in costs.values()) <= 700, costs
    assert max(decided for _, decided in costs.values()) <= 200, costs


def alike_months(random: Random, day: int, events_a_month: float) -> Months:
    found: dict[int, Decimal] = {}
    for number in range(20):
        mean = events_a_month * (day / 30 if number == 0 else 1)
        events = max(0, round(random.gauss(mean, mean**0.5))) if mean > 20 else poisson(random, mean)
        if events:
            found[earlier_month(202606, number)] = Decimal(round(events * random.uniform(950, 1050))) / 100
    return found


def poisson(random: Random, mean: float) -> int:
    count, at = 0, random.expovariate(1)
    while at < mean:
        count, at = count + 1, at + random.expovariate(1)
    return count


async def test_list_without_values_is_not_searched_by_the_next_question() -> None:
    store = MemoryStore({"a": {202601: Decimal(1)}})
    reads, low, calls = cast(PassPeriodReads, store), FIRST_LOW, list[int]()
    for _ in range(2):
        values = ValueList(reads, "", ranking=Ranking(TWELVE_ENDING, 202605), low=low)
        assert values.next_low is None
        await values.read_on(10, until=Decimal(5))
        assert values.next_low is not None
        low = values.next_low
        calls.append(store.calls - sum(calls))
    assert calls[0] > calls[1] == 1
    assert low < 5


async def test_lists_of_twelve_months_serve_if_they_end_now_or_a_month_ago() -> None:
    reads = cast(Any, MemoryStore({"a": {202601: Decimal(1)}, "b": {202608: Decimal(1)}}))
    now = datetime(2026, 6, 20, tzinfo=UTC)

    async def choose(first: int, last: int) -> ChosenLists | None:
        return await choose_twelve_months(reads, cover(bounds_of(first)[0], bounds_of(last)[1]), now)

    assert await choose(202505, 202604) is None
    assert await choose(202501, 202512) is None, "the year has a list of its own"
    assert await choose(202507, 202605) is None
    chosen = await choose(202506, 202605)
    assert chosen == ChosenLists(
        twelve=(
            Ranking(TWELVE_ENDING, 202605),
            Ranking(TWELVE_BEFORE, 202606),
            Ranking(TWELVE_LATER, 2025),
            Ranking(TWELVE_LATER, 2026),
        ),
        last_months={*(earlier_month(202606, number) for number in range(13))},
        doubtful={"b"},
    )
