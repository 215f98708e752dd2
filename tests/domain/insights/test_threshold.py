"""The order that is found from several lists equals that of a plain sort of all sums."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from random import Random

import pytest

from app.domain.insights.threshold import Decide, ThresholdOrder, TopPass
from app.domain.values.decimals import ZERO

Lists = list[dict[str, Decimal]]


class Reader:
    """Lists of valid values with invalid ones between them, which are read as an order asks."""

    def __init__(self, random: Random, lists: Lists, invalid: int = 0) -> None:
        self.random, self.lists = random, lists
        self.order = ThresholdOrder(len(lists))
        self.read, self.decided = 0, 0
        self._values = [list(each.items()) for each in lists]
        for _ in range(invalid):
            values = random.choice(self._values)
            if values:
                pass_id, value = random.choice(values)
                values.append((pass_id, value + random.randrange(-5, 6)))
        for values in self._values:
            values.sort(key=lambda item: (item[1], item[0]), reverse=True)

    def extend(self, count: int) -> Sequence[TopPass]:
        """Find `count` passes, and return all that are found."""
        while (step := self.order.next_step(count)) is not None:
            if isinstance(step, Decide):
                self.decided += len(step.pass_ids)
                self.order.decide(step.pass_ids, self.sums(step.pass_ids))
                continue
            values = self._values[step.number]
            taken = [item for item in values[: self.random.randrange(0, 30)] if item[1] > 0]
            del values[: len(taken)]
            is_over = not values or values[0][1] <= 0
            # A bound may be greater than the next value, and nothing may be read while it falls.
            bound = ZERO if is_over else values[0][1] + self.random.randrange(0, 2)
            if taken:
                bound = min(bound, taken[-1][1])
            self.read += len(taken)
            self.order.take(step.number, taken, bound)
        return self.order.found

    def sums(self, pass_ids: Collection[str] | None = None) -> Mapping[str, Decimal]:
        """Return the sums of passes, or of all."""
        found: dict[str, Decimal] = {}
        for each in self.lists:
            for pass_id, value in each.items():
                found[pass_id] = found.get(pass_id, ZERO) + value
        return found if pass_ids is None else {each: found[each] for each in pass_ids}


def make_lists(random: Random, passes: int, lists: int, value: Callable[[], int]) -> Lists:
    return [
        {f"p{number:03}": Decimal(value()) / 10 for number in range(passes) if random.random() < 0.7}
        for _ in range(lists)
    ]


@pytest.mark.parametrize("seed", range(60))
def test_order_equals_that_of_a_plain_sort_with_ties_negatives_and_invalid_values(seed: int) -> None:
    random = Random(seed)
    greatest = random.choice((2, 30, 3_000))
    lists = make_lists(
        random, random.choice((3, 60, 300)), random.randint(1, 12), lambda: random.randrange(-3, greatest)
    )
    reader = Reader(random, lists, invalid=random.choice((0, 20)))
    sums = reader.sums()
    expected = sorted((value for value in sums.values() if value > 0), reverse=True)
    for count in sorted(random.randrange(1, 320) for _ in range(4)):
        found = reader.extend(count)
        assert [value for _, value in found] == expected[:count]
        assert dict(found).items() <= sums.items()
        assert len(dict(found)) == len(found)


def test_few_values_and_sums_are_read_if_the_greatest_are_far_above_the_others() -> None:
    random = Random(4)
    lists = make_lists(random, 5_000, 6, lambda: int(100 * random.paretovariate(1.2)))
    reader = Reader(random, lists)
    reader.extend(20)
    assert reader.read < 1_500
    assert reader.decided < 400
    read = reader.read
    reader.extend(20)
    assert reader.read == read, "what is found costs nothing again"


def test_pass_that_rises_above_what_was_found_is_left_out() -> None:
    order = ThresholdOrder(1)
    order.take(0, [("a", Decimal(9)), ("b", Decimal(8))], Decimal(8))
    order.decide(["a"], {"a": Decimal(9)})
    assert order.next_step(1) is None
    order.take(0, [("c", Decimal(7))], ZERO)
    order.decide(["b"], {"b": Decimal(10)})
    order.decide(["c"], {"c": Decimal(7)})
    assert order.next_step(3) is None
    assert order.found == [("a", Decimal(9)), ("c", Decimal(7))]


def test_sums_without_any_list_are_ordered() -> None:
    order = ThresholdOrder(0)
    order.decide(["a", "b", "c"], {"a": Decimal(1), "b": Decimal(3), "c": Decimal(-2)})
    assert order.next_step(5) is None
    assert order.found == [("b", Decimal(3)), ("a", Decimal(1))]
