"""Tables as text: how a CSV file is written, its bytes cut into rows of cells, and rows written as CSV."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.domain.errors import Code, InvalidInput

from .row_splitter import BOM, MAX_ROW_BYTES, MAX_SHOWN_CHARACTERS, Row, Splitter

MAX_COLUMNS = 500
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_FIGURE = re.compile(r"-?\d+(\.\d+)?")
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written: the encoding (utf-8 or cp1252), the delimiter, the columns, where the first row begins."""

    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    start: int


class TableSplitter(Splitter):
    """Cuts a table into rows of cells."""

    def __init__(self, layout: Layout, position: int) -> None:
        super().__init__(layout.encoding, position)
        self._layout = layout

    def _read(self, line: bytes, stop: int) -> Row | None:
        if b'"' in line:
            return self._quoted(line)
        return self._row(self._text(self._at, stop).rstrip("\r\n").split(self._layout.delimiter), stop)

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
        return Row(cells, text[:MAX_SHOWN_CHARACTERS], self.position)


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
    splitter = TableSplitter(layout, layout.start)
    splitter.feed(head[layout.start :])
    if whole:
        splitter.end()
    return splitter.take(most)


def write_csv(rows: Iterable[Sequence[str]]) -> bytes:
    """The rows as CSV in UTF-8, harmless to spreadsheets; their names come from anywhere, and so do their texts."""
    text = _Text()
    csv.writer(text).writerows([_harmless(cell) for cell in row] for row in rows)
    return "".join(text.parts).encode("utf-8", "replace")


class _Text:
    """What csv writes to."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, part: str) -> None:
        self.parts.append(part)


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
