"""Sums of twelve months of a pass that are kept with its last month, so that few lists order all passes by them.

A question about twelve months asks for those that end now, or a month ago. For most passes, they end in the last month with
events, or one month before or after it. So a pass needs three sums, however many months it has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import NamedTuple

from app.domain.values.decimals import ZERO, add, subtract

from .periods import ALL_MONTHS, earlier_month

TWELVE = 12


class TwelveMonths(NamedTuple):
    """Values of a measure in twelve months of a pass, by where these end; 0 for those below 0.

    The last month of a pass is the last one with an event.

    - `ending`: those that end with the last month.
    - `before`: those that end one month before it.
    - `later`: the greatest value of those that end later. It has at most eleven months with events.
    """

    ending: Decimal
    before: Decimal
    later: Decimal


def sum_twelve_months(months: Mapping[int, Mapping[str, Decimal]]) -> dict[str, TwelveMonths]:
    """Return the sums by measure, from the values by month. Measures of which no sum is above 0 are left out.

    `months` has each month with events among the last one and the twelve before it.
    """
    if not months:
        return {}
    last = max(months)
    values = [months.get(earlier_month(last, number), {}) for number in range(TWELVE + 1)]
    found: dict[str, TwelveMonths] = {}
    for measure in sorted({measure for month in values for measure in month}):
        total, later = ZERO, ZERO
        for month in values[: TWELVE - 1]:
            total = add(total, month.get(measure, ZERO))
            later = max(later, total)
        ending = add(total, values[TWELVE - 1].get(measure, ZERO))
        before = subtract(add(ending, values[TWELVE].get(measure, ZERO)), values[0].get(measure, ZERO))
        sums = TwelveMonths(max(ending, ZERO), max(before, ZERO), later)
        if any(sums):
            found[measure] = sums
    return found


def months_to_sum(sealed: Collection[int], dirty: Collection[int]) -> list[int] | None:
    """Return the sealed months whose values the sums of twelve months need, oldest first. None if these sums do not change.

    Dirty months may have no events any more. So the last month is at the earliest the last one that is not dirty.
    """
    if ALL_MONTHS in dirty:
        return []
    clean = sorted(month for month in sealed if month not in dirty)
    if not clean:
        return []
    first = earlier_month(clean[-1], TWELVE)
    return [month for month in clean if month >= first] if max(dirty) >= first else None
