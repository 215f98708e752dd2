"""Order of the groups of an aggregation."""

from __future__ import annotations

from decimal import Decimal

from app.domain.state.aggregations import Group
from app.domain.state.ranking import GroupOrder, Ranking


def test_groups_are_within_the_bounds_and_equal_values_are_in_order_of_keys() -> None:
    values = {"d": 1, "c": 2, "b": 2, "a": 3, "e": 4}
    groups = [Group((key,), 1, Decimal(value)) for key, value in values.items()]

    def ranked(order: GroupOrder, low: int | None = None, high: int | None = None) -> str:
        bounds = (None if each is None else Decimal(each) for each in (low, high))
        return "".join(str(group.key[0]) for group in Ranking(order, *bounds).rank(groups))

    assert ranked(GroupOrder.KEY) == "abcde"
    assert ranked(GroupOrder.VALUE) == "eabcd"
    assert ranked(GroupOrder.VALUE_ASC) == "dbcae"
    assert ranked(GroupOrder.VALUE, 2, 3) == "abc"
    assert ranked(GroupOrder.VALUE_ASC, high=1) == "d"
