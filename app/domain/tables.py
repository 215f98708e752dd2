"""Tables as text: bytes of a CSV file cut into rows, each with the position where the next one begins; rows as CSV.

A row that cannot be read is answered as a problem of its own; what follows it is read as if it were not there.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .errors import Code, InvalidInput, Problem

MAX_ROW_BYTES = 131_072
SHOWN = 1_000
"""How many characters of a row are kept to show it."""
MAX_COLUMNS = 500
BOM = b"\xef\xbb\xbf"
"""By which spreadsheets know UTF-8."""
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_FIGURE = re.compile(r"-?\d+(\.\d+)?")
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its cells, or the problem that kept it from being read; its text, cut short; where the next begins."""

    cells: Sequence[str]
    text: str
    end: int
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written: the encoding (utf-8 or cp1252), the delimiter, the columns, where the first row begins."""

    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    start: int


class Splitter:
    """Cuts bytes that arrive in parts into rows; holds little more than the last part and one row.

    Blank rows are passed over. `position` is where the next row begins, in the file.
    """

    def __init__(self, layout: Layout, position: int) -> None:
        self.position = position
        self._layout = layout
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
            if row.problem is not None or any(cell.strip() for cell in row.cells):
                found.append(row)
        return found

    def _next(self) -> Row | None:
        if self._too_long is None and self._at >= len(self._held):
            return None
        newline = self._held.find(b"\n", self._at)
        if self._too_long is not None:
            return self._passed_over(newline)
        stop = newline + 1 or len(self._held)
        if stop - self._at > MAX_ROW_BYTES:
            self._too_long = self._text(self._at, self._at + SHOWN)
            return self._passed_over(newline)
        if not newline + 1 and not self._ended:
            return None
        line = self._held[self._at : stop]
        if b'"' in line:
            return self._quoted(line)
        return self._row(self._text(self._at, stop).rstrip("\r\n").split(self._layout.delimiter), stop)

    def _passed_over(self, newline: int) -> Row | None:
        """The row that is too long, once its end has been seen; until then its bytes are dropped."""
        stop = newline + 1 or len(self._held)
        self._move(stop)
        if not newline + 1 and not self._ended:
            return None
        text, self._too_long = self._too_long or "", None
        problem = Problem(Code.TOO_LONG, f"The row is longer than {MAX_ROW_BYTES} bytes.")
        return Row((), text[:SHOWN], self.position, problem)

    def _quoted(self, line: bytes) -> Row | None:
        # csv.reader asks for another line exactly when a quotation mark is still open at the end of one.
        reached = self._at
        starved = False

        def lines() -> Iterator[str]:
            nonlocal reached, starved
            while reached < len(self._held) and reached - self._at < MAX_ROW_BYTES:
                stop = self._held.find(b"\n", reached) + 1
                if not stop and not self._ended:
                    break
                begun, reached = reached, stop or len(self._held)
                yield self._text(begun, reached)
            starved = True

        first = self._at + len(line)
        try:
            cells = next(csv.reader(lines(), delimiter=self._layout.delimiter))
        except (csv.Error, StopIteration) as error:
            return self._unread(first, f"The row cannot be read: {error}.")
        if starved and not self._ended and reached - self._at < MAX_ROW_BYTES:
            return None
        if starved or (reached > first and len(cells) != len(self._layout.columns)):
            return self._unread(first, "A quotation mark is opened and not closed.")
        return self._row(cells, reached)

    def _row(self, cells: list[str], stop: int) -> Row:
        text = self._text(self._at, stop).rstrip("\r\n")
        if "\ufffd" in text and self._is_broken(stop):
            return self._unread(stop, "The row is not text in the encoding of the file.")
        width = len(self._layout.columns)
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if len(cells) != width and any(cell.strip() for cell in cells):
            return self._unread(stop, f"The row has {len(cells)} cells; the header has {width}.")
        self._move(stop)
        return Row(cells, text[:SHOWN], self.position)

    def _unread(self, stop: int, message: str) -> Row:
        text = self._text(self._at, stop).rstrip("\r\n")[:SHOWN]
        self._move(stop)
        return Row((), text, self.position, Problem(Code.INVALID, message))

    def _is_broken(self, stop: int) -> bool:
        try:
            self._held[self._at : stop].decode(self._layout.encoding)
        except UnicodeDecodeError:
            return True
        return False

    def _move(self, stop: int) -> None:
        self.position += stop - self._at
        self._at = stop

    def _text(self, begin: int, stop: int) -> str:
        return self._held[begin:stop].decode(self._layout.encoding, "replace")


class Reading:
    """Finds out the encoding of bytes that arrive in parts.

    It is UTF-8, unless what is not UTF-8 comes first of everything beyond ASCII: then it is Windows-1252, of which
    nothing is invalid. A file in UTF-8 with some broken rows is not read as if all of it were something else.
    """

    def __init__(self) -> None:
        self.encoding = "utf-8"
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._decided = False

    def take(self, part: bytes) -> None:
        """Looks at the bytes that follow."""
        if self._decided:
            return
        try:
            self._decided = not self._decoder.decode(part).isascii()
        except UnicodeDecodeError as error:
            self._decided = True
            if error.object[: error.start].isascii():
                self.encoding = "cp1252"


def encoding_of(head: bytes) -> str:
    """The encoding that the beginning of a file shows."""
    reading = Reading()
    reading.take(head)
    return reading.encoding


def layout_of(head: bytes, *, whole: bool, encoding: str = "utf-8") -> Layout:
    """How a file that begins with `head` is written; `whole` says that nothing follows.

    The first row names the columns; one without a name is column_N, and a name that came before gets a number.
    Raises InvalidInput for a file that is empty, in UTF-16, or whose first row cannot name columns.
    """
    if head.startswith(_WIDE):
        raise InvalidInput(Code.UNSUPPORTED, "The file is in UTF-16; save it as UTF-8.", "file")
    start = len(BOM) if head.startswith(BOM) else 0
    newline = head.find(b"\n", start)
    stop = newline + 1 or (len(head) if whole else 0)
    if not head[start:].strip() and whole:
        raise InvalidInput(Code.REQUIRED, "The file is empty.", "file")
    if not stop or stop - start > MAX_ROW_BYTES:
        raise InvalidInput(Code.TOO_LONG, f"The first row is longer than {MAX_ROW_BYTES} bytes.", "file")
    line = head[start:stop].decode(encoding, "replace").strip("\r\n")
    if "\x00" in line:
        raise InvalidInput(Code.INVALID, "The first row has NUL characters: is this a text file?", "file")
    delimiter = max(_DELIMITERS, key=lambda mark: (_outside_quotes(line, mark), -_DELIMITERS.index(mark)))
    try:
        names = next(csv.reader([line], delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        raise InvalidInput(Code.INVALID, "The first row does not name the columns.", "file") from None
    while names and not names[-1].strip():
        names.pop()
    if not names:
        raise InvalidInput(Code.INVALID, "The first row does not name the columns.", "file")
    if len(names) > MAX_COLUMNS:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_COLUMNS} columns; the file has {len(names)}.", "file")
    return Layout(encoding, delimiter, _distinct(names), stop)


def first_rows(head: bytes, layout: Layout, *, whole: bool, most: int = 10_000) -> list[Row]:
    """The rows that are whole in the beginning of a file."""
    splitter = Splitter(layout, layout.start)
    splitter.feed(head[layout.start :])
    if whole:
        splitter.end()
    return splitter.take(most)


def written(rows: Iterable[Sequence[str]]) -> bytes:
    """The rows as CSV in UTF-8, harmless to spreadsheets; their names come from anywhere, and so do their texts."""
    text = io.StringIO()
    csv.writer(text).writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue().encode("utf-8", "replace")


def _harmless(cell: str) -> str:
    """The cell, marked as text where a spreadsheet would run it as a formula."""
    runs = cell.startswith(_FORMULAS) and not _FIGURE.fullmatch(cell)
    return f"'{cell}" if runs else cell


def _outside_quotes(line: str, mark: str) -> int:
    return sum(part.count(mark) for part in line.split('"')[::2])


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for place, raw in enumerate(names, 1):
        name = raw.strip() or f"column_{place}"
        number = 2
        unique = name
        while unique in found:
            unique = f"{name}_{number}"
            number += 1
        found[unique] = None
    return tuple(found)
