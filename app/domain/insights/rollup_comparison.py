"""Comparison of the rows that a rollup holds with the rows that the events give."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from app.domain.fold.recomputation import Difference
from app.domain.rollups.dimensions import dimension_of, is_dimension
from app.domain.rollups.rows import CountedRow, RowKey, Totals, add_rows
from app.domain.values.instants import format_instant, from_ms

Rows = Mapping[tuple[int, str, RowKey], Totals]
"""Totals by the first instant of the cell in milliseconds, event type and key."""
NOTHING = Totals()


def rows_by_key(rows: Iterable[CountedRow]) -> Rows:
    """Return the rows by what they are of, added up. A content has further rows for each dimension that it holds."""
    return {(row.start_ms, row.type, row.key): row.totals for row in add_rows(rows)}


def hash_rows(rows: Rows) -> str:
    """Return a hash of rows. Equal rows have equal hashes, in whatever order they were read and with whatever zeros."""
    lines = (
        "\x1f".join((str(start_ms), event_type, *map(repr, key), *map(_text, _fields(totals))))
        for (start_ms, event_type, key), totals in rows.items()
    )
    return hashlib.sha256("\x1e".join(sorted(lines)).encode()).hexdigest()


def compare_rows(live: Rows, rebuilt: Rows) -> list[Difference]:
    """Return the differences of the rows, sorted by cell, type and key."""
    found = []
    for where in sorted(live.keys() | rebuilt.keys(), key=str):
        stored, expected = live.get(where, NOTHING), rebuilt.get(where, NOTHING)
        if stored != expected:
            found.append(Difference(_name(*where), _describe(stored), _describe(expected)))
    return found


def _name(start_ms: int, event_type: str, key: RowKey) -> str:
    made = ", made by rules" if key.made else ""
    currency = "" if key.currency is None else f" in {key.currency}"
    source = "" if key.source is None else f" from {key.source}"
    if is_dimension(event_type):
        dimension = dimension_of(event_type)
        event_type = f"{dimension.type} with {'no value' if key.value is None else key.value} of {dimension.path}"
    return f"{event_type}{currency}{source}{made} from {format_instant(from_ms(start_ms))}"


def _describe(totals: Totals) -> str:
    texts = zip(_NAMES, map(_text, _fields(totals)), strict=True)
    return "; ".join(f"{name} {text}" for name, text in texts if text not in ("0", "")) or "nothing"


def _fields(totals: Totals) -> tuple[object, ...]:
    return tuple(getattr(totals, name) for name in _NAMES)


def _text(value: object) -> str:
    # Decimals that are equal may have other numbers of zeros.
    return "" if value is None else f"{value:f}".rstrip("0").rstrip(".") if "." in str(value) else str(value)


_NAMES = ("count", "sum", "min", "max", "points_count", "points_sum", "points_min", "points_max")
