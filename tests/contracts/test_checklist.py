"""Each row of docs/capabilities.md is named by the test that proves it."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
_NAMED_ROWS = re.compile(r"\b(WH\d|V\d|A1)-(\d\d)((?:(?:,| to| and) (?:\d\d)\b)*)")


def _rows(prefix: str, *ranges: tuple[int, int]) -> set[str]:
    return {f"{prefix}-{number:02}" for low, high in ranges for number in range(low, high + 1)}


ROWS = (
    _rows("WH1", (1, 22))
    | _rows("WH2", (1, 31))
    | _rows("WH3", (1, 2))
    | _rows("WH4", (1, 1))
    | _rows("V1", (1, 15))
    | _rows("V2", (1, 3))
    | _rows("A1", (1, 25))
)


def _rows_named(text: str) -> set[str]:
    """Return the rows that a text names, in the forms "WH2-20", "WH2-20, 21" and "WH2-20 to 24"."""
    found = set()
    for prefix, first, more in _NAMED_ROWS.findall(text):
        last = int(first)
        found.add(f"{prefix}-{first}")
        for joint, digits in re.findall(r"(,| to| and) (\d\d)", more):
            number = int(digits)
            found |= _rows(prefix, (last + 1 if joint == " to" else number, number))
            last = number
    return found


def test_each_row_of_the_capabilities_is_named_by_a_test() -> None:
    texts = [path.read_text() for path in TESTS.rglob("test_*.py") if path != Path(__file__)]
    assert ROWS - _rows_named("\n".join(texts)) == set()


def test_lists_and_spans_of_rows_are_understood() -> None:
    assert _rows_named("WH2-20, 21 and 24; A1-01 to 03") == {"WH2-20", "WH2-21", "WH2-24", "A1-01", "A1-02", "A1-03"}
