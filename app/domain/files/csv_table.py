"""CSV: detection of encoding and layout, splitting of bytes into rows of cells, and writing."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.domain.errors import Code, InvalidInput

from .row_splitter import BOM, MAX_ROW_BYTES, MAX_SHOWN_CHARACTERS, Row, Splitter

MAX_COLUMNS = 500
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""First characters of texts that spreadsheets run as formulas."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a CSV file: encoding (utf-8 or cp1252), delimiter and column names.

    `start` is the position, in bytes, of the first row below the header.
    """

    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    start: int


class TableSplitter(Splitter):
    """A splitter that cuts a CSV file into rows of cells."""

    def __init__(self, layout: Layout, position: int) -> None:
        super().__init__(layout.encoding, position)
        self._layout = layout

    def _read(self, line: bytes, stop: int) -> Row | None:
        if b'"' in line:
            return self._read_quoted(line)
        return self._row(self._text(self._at, stop).rstrip("\r\n").split(self._layout.delimiter), stop)

    def _read_quoted(self, line: bytes) -> Row | None:
        # csv.reader reads another line exactly when a quotation mark is still open at the end of a line.
        reached = self._at
        ran_out = False

        def lines() -> Iterator[str]:
            nonlocal reached, ran_out
            while reached < len(self._buffer) and reached - self._at < MAX_ROW_BYTES:
                stop = self._buffer.find(b"\n", reached) + 1
                if not stop and not self._ended:
                    break
                begin, reached = reached, stop or len(self._buffer)
                yield self._text(begin, reached)
            ran_out = True

        first = self._at + len(line)
        try:
            cells = next(csv.reader(lines(), delimiter=self._layout.delimiter))
        except (csv.Error, StopIteration) as error:
            return self._skip_invalid(first, f"The row is not valid CSV: {error}.")
        if ran_out and not self._ended and reached - self._at < MAX_ROW_BYTES:
            return None
        if ran_out or (reached > first and len(cells) != len(self._layout.columns)):
            return self._skip_invalid(first, "A quotation mark is opened and not closed.")
        return self._row(cells, reached)

    def _row(self, cells: list[str], stop: int) -> Row:
        text = self._text(self._at, stop).rstrip("\r\n")
        if "\ufffd" in text and self._is_broken(stop):
            return self._skip_invalid(stop, f"The row is not text in {self._encoding}, the encoding of the file.")
        width = len(self._layout.columns)
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if len(cells) != width and any(cell.strip() for cell in cells):
            return self._skip_invalid(stop, f"The row has {len(cells)} cells; the header has {width}.")
        self._move(stop)
        return Row(cells, text[:MAX_SHOWN_CHARACTERS], self.position)


class EncodingDetector:
    """Detection of the encoding of a file whose bytes arrive in parts: UTF-8 or Windows-1252.

    The first bytes beyond ASCII decide. If they are not valid UTF-8, the encoding is Windows-1252, in which Python can
    read nearly every byte. A file in UTF-8 with some broken rows below stays UTF-8.
    """

    def __init__(self) -> None:
        self.encoding = "utf-8"
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._decided = False

    def take(self, part: bytes) -> None:
        """Examine the next bytes of the file."""
        if self._decided:
            return
        try:
            self._decided = not self._decoder.decode(part).isascii()
        except UnicodeDecodeError as error:
            self._decided = True
            if error.object[: error.start].isascii():
                self.encoding = "cp1252"


def detect_encoding(head: bytes) -> str:
    """Return the encoding of a file by its first bytes: utf-8 or cp1252."""
    detector = EncodingDetector()
    detector.take(head)
    return detector.encoding


def detect_layout(head: bytes, *, is_whole: bool, encoding: str = "utf-8") -> Layout:
    """Return the layout of a file that begins with `head`. `is_whole` means that nothing follows.

    The first row names the columns. A column without a name is called column_N, and a repeated name gets a number.
    Raises InvalidInput for a file that is empty or in UTF-16, and for a first row that does not name columns.
    """
    if head.startswith(_UTF_16_MARKS):
        raise InvalidInput(Code.UNSUPPORTED, "The file is in UTF-16; save it as UTF-8.", "file")
    start = len(BOM) if head.startswith(BOM) else 0
    newline = head.find(b"\n", start)
    stop = newline + 1 or (len(head) if is_whole else 0)
    if not head[start:].strip() and is_whole:
        raise InvalidInput(Code.REQUIRED, "The file is empty.", "file")
    if not stop or stop - start > MAX_ROW_BYTES:
        raise InvalidInput(
            Code.TOO_LONG, f"The first row is longer than {MAX_ROW_BYTES} bytes; it has to name the columns.", "file"
        )
    line = head[start:stop].decode(encoding, "replace").strip("\r\n")
    if "\x00" in line:
        raise InvalidInput(Code.INVALID, "The first row has NUL characters; send a text file in CSV.", "file")
    delimiter = max(_DELIMITERS, key=lambda mark: (_count_outside_quotes(line, mark), -_DELIMITERS.index(mark)))
    try:
        names = next(csv.reader([line], delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        raise InvalidInput(Code.INVALID, "The first row does not name the columns.", "file") from None
    while names and not names[-1].strip():
        names.pop()
    if not names:
        raise InvalidInput(Code.INVALID, "The first row does not name the columns.", "file")
    if len(names) > MAX_COLUMNS:
        raise InvalidInput(
            Code.TOO_MANY, f"The file has {len(names)} columns; at most {MAX_COLUMNS} are allowed.", "file"
        )
    return Layout(encoding=encoding, delimiter=delimiter, columns=_distinct(names), start=stop)


def read_first_rows(head: bytes, layout: Layout, *, is_whole: bool, limit: int = 10_000) -> list[Row]:
    """Return the complete rows of the beginning of a file, up to `limit`."""
    splitter = TableSplitter(layout, layout.start)
    splitter.feed(head[layout.start :])
    if is_whole:
        splitter.end()
    return splitter.take(limit)


def write_csv(rows: Iterable[Sequence[str]]) -> bytes:
    """Return the rows as CSV in UTF-8 that is safe to open in a spreadsheet.

    Other systems and customers choose names and texts, so a cell may hold a formula. Such cells are marked as text.
    """
    buffer = _TextBuffer()
    csv.writer(buffer).writerows([_without_formula(cell) for cell in row] for row in rows)
    return "".join(buffer.parts).encode("utf-8", "replace")


class _TextBuffer:
    """The file that csv.writer writes to: texts in memory."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, part: str) -> None:
        self.parts.append(part)


def _without_formula(cell: str) -> str:
    """Return the cell, marked as text by an apostrophe if a spreadsheet would run the cell as a formula."""
    is_formula = cell.startswith(_FORMULAS) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell


def _count_outside_quotes(line: str, mark: str) -> int:
    return sum(part.count(mark) for part in line.split('"')[::2])


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for column, raw in enumerate(names, 1):
        name = raw.strip() or f"column_{column}"
        number = 2
        unique = name
        while unique in found:
            unique = f"{name}_{number}"
            number += 1
        found[unique] = None
    return tuple(found)
