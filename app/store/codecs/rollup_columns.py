"""Binary columns of numbers, in which contents of rollups store their cells, and what is computed from them."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, pairwise

from bson import Binary

from app.domain.rollups.rows import QUARTER_HOUR_MS
from app.domain.values.instants import DAY_MS

Columns = Mapping[str, Sequence[int] | int]
"""Columns as they are read. One in which all numbers are the same is that number."""
COLUMNS = ("cell", "n", "sum", "has", "min", "max", "pn", "psum", "pmin", "pmax")
"""Columns: number of the cell, count, sum, whether there are amounts, extremes; then the same of the points."""
_WIDTHS = "bhiq"
"""Type codes of signed numbers of 1, 2, 4 and 8 bytes."""
_SAME, _TEXT = "=", "T"
"""Codes of a column in which all numbers are the same, and of one with a number that is wider than 8 bytes."""
_CELLS_OF_DAY = DAY_MS // QUARTER_HOUR_MS
_BITS = {"b": 7, "h": 15, "i": 31, "q": 63}


def pack_column(numbers: Sequence[int]) -> Binary:
    """Return a column: one byte for its code, then its numbers."""
    low, high = min(numbers), max(numbers)
    if low == high:
        return Binary(f"{_SAME}{low}".encode())
    bits = max(high.bit_length(), (~low).bit_length() if low < 0 else 0)
    for code in _WIDTHS:
        if bits <= _BITS[code]:
            column = array(code, numbers)
            if sys.byteorder == "big":
                column.byteswap()
            return Binary(code.encode() + column.tobytes())
    return Binary(f"{_TEXT}{' '.join(map(str, numbers))}".encode())


def unpack_column(stored: bytes) -> Sequence[int] | int:
    """Return the numbers of a column, or the one number that all of them are."""
    code, rest = chr(stored[0]), stored[1:]
    if code == _SAME:
        return int(rest)
    if code == _TEXT:
        return [int(number) for number in rest.split()]
    column = array(code)
    column.frombytes(rest)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def sum_column(column: Sequence[int] | int, low: int, high: int) -> int:
    """Return the sum of the numbers from the index `low` to before `high`."""
    return column * (high - low) if isinstance(column, int) else sum(column[low:high])


def part_of_column(column: Sequence[int] | int, low: int, high: int) -> Sequence[int]:
    """Return the numbers from the index `low` to before `high`."""
    return (column,) * (high - low) if isinstance(column, int) else column[low:high]


def extremes_of(
    least: Sequence[int] | int, greatest: Sequence[int] | int, has: Sequence[int] | int, low: int, high: int
) -> tuple[int, int] | None:
    """Return the extremes of the cells that have any; None if none has."""
    if has == 0:
        return None
    lows, highs = part_of_column(least, low, high), part_of_column(greatest, low, high)
    if not isinstance(has, int) and not all(flags := has[low:high]):
        lows, highs = list(compress(lows, flags)), list(compress(highs, flags))
    return (min(lows), max(highs)) if lows else None


def group_cells(cells: Sequence[int], first: int, end: int, cuts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Return the groups of a row's cells: first index, index behind the last one, and number of the cell at its begin."""
    if not cuts:
        for index in range(first, end):
            yield index, index + 1, cells[index]
        return
    low = bisect_left(cells, cuts[0], first, end)
    for begin, stop in pairwise(cuts):
        high = bisect_left(cells, stop, low, end)
        if high > low:
            yield low, high, begin
        low = high


class CellSums:
    """Columns of one row, added up by the number of the cell. The extremes of a cell without any are None."""

    def __init__(self) -> None:
        self._sums = {name: [0] * _CELLS_OF_DAY for name in ("n", "sum", "pn", "psum")}
        self._extremes: dict[str, list[int | None]] = {
            name: [None] * _CELLS_OF_DAY for name in ("min", "max", "pmin", "pmax")
        }

    def add(self, cells: Sequence[int], columns: Mapping[str, Sequence[int]]) -> None:
        """Add the columns of these cells. A column that is absent has zeros only."""
        zeros = (0,) * len(cells)
        for name, totals in self._sums.items():
            for cell, number in zip(cells, columns.get(name, ()), strict=False):
                totals[cell] += number
        for flag, least, greatest in (("has", "min", "max"), ("pn", "pmin", "pmax")):
            if flag not in columns:
                continue
            lows, highs = self._extremes[least], self._extremes[greatest]
            values = zip(cells, columns[flag], columns.get(least, zeros), columns.get(greatest, zeros), strict=True)
            for cell, has_any, low, high in values:
                if has_any:
                    before_low, before_high = lows[cell], highs[cell]
                    if before_low is None or low < before_low:
                        lows[cell] = low
                    if before_high is None or high > before_high:
                        highs[cell] = high

    def columns(self) -> dict[str, Sequence[int]]:
        """Return the columns of the cells that have events."""
        cells = [cell for cell, number in enumerate(self._sums["n"]) if number]
        extremes = {name: [values[cell] or 0 for cell in cells] for name, values in self._extremes.items()}
        sums = {name: [totals[cell] for cell in cells] for name, totals in self._sums.items()}
        return {"cell": cells, "has": [self._extremes["min"][cell] is not None for cell in cells], **sums, **extremes}
