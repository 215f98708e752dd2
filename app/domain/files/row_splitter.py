"""Splitting of a file that arrives in parts into rows, each with the position at which the next row begins.

A row that cannot be read becomes a row with a problem. The splitter continues with the row after it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.errors import Code, Problem

MAX_ROW_BYTES = 131_072
MAX_SHOWN_CHARACTERS = 1_000
"""Characters of a row that are kept to show the row in a report."""
BOM = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8, by which spreadsheets recognize the encoding."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: its cells, or its values by name, or the problem of a row that cannot be read.

    `text` is the row as written, up to 1,000 characters. `end` is the position at which the next row begins.
    """

    cells: Sequence[str]
    text: str
    end: int
    problem: Problem | None = None
    values: Mapping[str, object] | None = None

    @property
    def is_blank(self) -> bool:
        """Whether the row has no values and no problem."""
        return self.problem is None and self.values is None and not any(cell.strip() for cell in self.cells)


class Splitter(ABC):
    """A splitter of bytes that arrive in parts. It holds little more than the last part and one row in memory.

    Blank rows are left out. `position` is the position in the file at which the next row begins.
    """

    def __init__(self, encoding: str, position: int, newline: bytes = b"\n") -> None:
        self.position = position
        self._encoding = encoding
        self._newline = newline
        self._buffer = b""
        self._at = 0
        self._ended = False
        self._too_long: str | None = None

    def feed(self, part: bytes) -> None:
        """Add the next bytes of the file."""
        self._buffer = self._buffer[self._at :] + part
        self._at = 0

    def end(self) -> None:
        """Mark the end of the file: the last row may lack its line break."""
        self._ended = True

    def take(self, limit: int) -> list[Row]:
        """Return the next complete rows, up to `limit`.

        Fewer rows, or none, mean that the splitter needs more bytes or that the file has ended.
        """
        rows: list[Row] = []
        while len(rows) < limit and (row := self._next()) is not None:
            if not row.is_blank:
                rows.append(row)
        return rows

    @abstractmethod
    def _read(self, line: bytes, stop: int) -> Row | None:
        """Return the row that begins with this line, or None if more bytes are needed. The line ends at `stop`."""

    def _next(self) -> Row | None:
        if self._too_long is None and self._at >= len(self._buffer):
            return None
        if self._buffer.startswith(BOM, self._at):
            # The mark stands at the beginning of each of several files that were joined.
            self._move(self._at + len(BOM))
        newline = self._buffer.find(self._newline, self._at)
        if self._too_long is not None:
            return self._skip_too_long(newline)
        stop = newline + 1 or len(self._buffer)
        if stop - self._at > MAX_ROW_BYTES:
            self._too_long = self._text(self._at, self._at + MAX_SHOWN_CHARACTERS)
            return self._skip_too_long(newline)
        if not newline + 1 and not self._ended:
            return None
        return self._read(self._buffer[self._at : stop], stop)

    def _skip_too_long(self, newline: int) -> Row | None:
        """Drop the bytes of a row that is too long, and return the row as a problem once its end has arrived."""
        stop = newline + 1 or len(self._buffer)
        self._move(stop)
        if not newline + 1 and not self._ended:
            return None
        text, self._too_long = self._too_long or "", None
        problem = Problem(Code.TOO_LONG, f"The row is longer than {MAX_ROW_BYTES} bytes.")
        return Row(cells=(), text=text[:MAX_SHOWN_CHARACTERS], end=self.position, problem=problem)

    def _skip_invalid(self, stop: int, message: str) -> Row:
        """Move behind a row that cannot be read, and return the row as a problem."""
        text = self._text(self._at, stop).rstrip("\r\n")[:MAX_SHOWN_CHARACTERS]
        self._move(stop)
        return Row(cells=(), text=text, end=self.position, problem=Problem(Code.INVALID, message))

    def _is_broken(self, stop: int) -> bool:
        try:
            self._buffer[self._at : stop].decode(self._encoding)
        except UnicodeDecodeError:
            return True
        return False

    def _move(self, stop: int) -> None:
        self.position += stop - self._at
        self._at = stop

    def _text(self, begin: int, stop: int) -> str:
        return self._buffer[begin:stop].decode(self._encoding, "replace")
