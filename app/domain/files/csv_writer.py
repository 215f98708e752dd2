"""Writing of CSV that is safe to open in a spreadsheet, and reading of the marks that make it safe.

Other systems and customers choose names and texts, so a cell may hold a formula. An apostrophe before its first character
marks such a cell as text. Spreadsheets of many countries cut a row at semicolons, tabs or bars, and a line break inside
quotation marks may end a row for them. So a formula behind one of these characters gets an apostrophe, too. Blanks and
quotation marks before a formula make no difference.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence

_SIGN = "[=+\\-@\\t\\r\uff1d\uff0b\uff0d\uff20]"
"""Characters with which a formula begins, also in full width."""
_BEFORE = r"(^|[;|\t\r\n])([ \u00a0\"]*)"
_FORMULA = re.compile(rf"{_BEFORE}(?='*{_SIGN})")
_MARKED = re.compile(rf"{_BEFORE}'(?='*{_SIGN})")
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)


def write_csv(rows: Iterable[Sequence[str]]) -> bytes:
    """Return the rows as CSV in UTF-8, without formulas. `unmark_cell` returns the cells as they were."""
    buffer = _TextBuffer()
    csv.writer(buffer).writerows([mark_cell(cell) for cell in row] for row in rows)
    return "".join(buffer.parts).encode("utf-8", "replace")


def mark_cell(cell: str) -> str:
    """Return the cell with an apostrophe before each text that a spreadsheet would run as a formula."""
    return cell if _NUMBER.fullmatch(cell) else _FORMULA.sub(r"\1\2'", cell)


def unmark_cell(cell: str) -> str:
    """Return the cell without the apostrophes of `mark_cell`."""
    return _MARKED.sub(r"\1\2", cell) if "'" in cell else cell


class _TextBuffer:
    """The file that csv.writer writes to: texts in memory."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, part: str) -> None:
        self.parts.append(part)
