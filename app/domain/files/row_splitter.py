"""Splitting: bytes that arrive in parts are cut into rows, each with the position where the next one begins.

A row that cannot be read is answered as a problem of its own; what follows it is read as if it were not there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.domain.errors import Code, Problem

MAX_ROW_BYTES = 131_072
MAX_SHOWN_CHARACTERS = 1_000
"""How many characters of a row are kept to show it."""
BOM = b"\xef\xbb\xbf"
"""By which spreadsheets know UTF-8."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its cells, or its values by name, or the problem that kept it from being read.

    `text` is how it is written, cut short; `end` is where the next one begins.
    """

    cells: Sequence[str]
    text: str
    end: int
    problem: Problem | None = None
    values: Mapping[str, object] | None = None

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing in it, not even a problem."""
        return self.problem is None and self.values is None and not any(cell.strip() for cell in self.cells)


class Splitter(ABC):
    """Cuts bytes that arrive in parts into rows; holds little more than the last part and one row.

    Blank rows are passed over. `position` is where the next row begins, in the file.
    """

    def __init__(self, encoding: str, position: int) -> None:
        self.position = position
        self._encoding = encoding
        self._held = b""
        self._at = 0
        self._ended = False
        self._too_long: str | None = None

    def feed(self, part: bytes) -> None:
        """Takes the bytes that follow."""
        self._held = self._held[self._at :] + part
        self._at = 0

    def end(self) -> None:
        """Takes note that no bytes follow: the last row may lack its line break."""
        self._ended = True

    def take(self, most: int) -> list[Row]:
        """Up to `most` rows that are there whole; fewer, or none, where more bytes are needed first or none are left."""
        found: list[Row] = []
        while len(found) < most and (row := self._next()) is not None:
            if not row.is_blank:
                found.append(row)
        return found

    @abstractmethod
    def _read(self, line: bytes, stop: int) -> Row | None:
        """The row that begins with this line, which ends at `stop`; None where more bytes are needed first."""

    def _next(self) -> Row | None:
        if self._too_long is None and self._at >= len(self._held):
            return None
        newline = self._held.find(b"\n", self._at)
        if self._too_long is not None:
            return self._passed_over(newline)
        stop = newline + 1 or len(self._held)
        if stop - self._at > MAX_ROW_BYTES:
            self._too_long = self._text(self._at, self._at + MAX_SHOWN_CHARACTERS)
            return self._passed_over(newline)
        if not newline + 1 and not self._ended:
            return None
        return self._read(self._held[self._at : stop], stop)

    def _passed_over(self, newline: int) -> Row | None:
        """The row that is too long, once its end has been seen; until then its bytes are dropped."""
        stop = newline + 1 or len(self._held)
        self._move(stop)
        if not newline + 1 and not self._ended:
            return None
        text, self._too_long = self._too_long or "", None
        problem = Problem(Code.TOO_LONG, f"The row is longer than {MAX_ROW_BYTES} bytes.")
        return Row((), text[:MAX_SHOWN_CHARACTERS], self.position, problem)

    def _unread(self, stop: int, message: str) -> Row:
        text = self._text(self._at, stop).rstrip("\r\n")[:MAX_SHOWN_CHARACTERS]
        self._move(stop)
        return Row((), text, self.position, Problem(Code.INVALID, message))

    def _is_broken(self, stop: int) -> bool:
        try:
            self._held[self._at : stop].decode(self._encoding)
        except UnicodeDecodeError:
            return True
        return False

    def _move(self, stop: int) -> None:
        self.position += stop - self._at
        self._at = stop

    def _text(self, begin: int, stop: int) -> str:
        return self._held[begin:stop].decode(self._encoding, "replace")
