"""CSV: detection of encoding and layout, and splitting of bytes into rows of cells."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.domain.errors import Code, InvalidInput

from .row_splitter import BOM, MAX_ROW_BYTES, MAX_SHOWN_CHARACTERS, Row, Splitter

MAX_COLUMNS = 500
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(rb"\"?sep=([^\w\"\r\n\x00])\"?(?:\r?\n|\r)", re.IGNORECASE)
"""The first line by which spreadsheets learn the delimiter."""
_QUOTED_OR_BREAK = re.compile(rb"\"[^\"]*\"|\r(?!\r*\n)|\n")
"""A text in quotation marks, or the end of a line: a line feed, or a carriage return without a line feed."""
INVISIBLE = "\ufeff"
"""The byte order mark, which also stands between files that were joined."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a CSV file: encoding (utf-8 or cp1252), delimiter, column names, and the end of a line.

    `start` is the position, in bytes, of the first row below the header. `newline` is a line feed, or a carriage return
    in files of old systems.
    """

    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    start: int
    newline: str = "\n"

    @property
    def width(self) -> int:
        """The cells that a row has at least: columns without a name at the end may be left out."""
        width = len(self.columns)
        while width > 1 and self.columns[width - 1] == f"column_{width}":
            width -= 1
        return width


QUOTES_ADVICE = (
    "A quotation mark is opened and not closed, or text follows a closing one. Write a mark inside a quoted cell twice."
)
SWALLOWED_ADVICE = (
    "The quoted cell holds lines that look like rows, so its mark may be a mistake. Remove the mark or these lines."
)


class TableSplitter(Splitter):
    """A splitter that cuts a CSV file into rows of cells."""

    def __init__(self, layout: Layout, position: int) -> None:
        super().__init__(layout.encoding, position, layout.newline.encode())
        self._layout = layout
        self._width = layout.width

    def _read(self, line: bytes, stop: int) -> Row | None:
        if b'"' in line:
            return self._read_quoted(line)
        return self._row(self._text(self._at, stop).rstrip("\r\n").split(self._layout.delimiter), stop)

    def _read_quoted(self, line: bytes) -> Row | None:
        # csv.reader reads another line exactly when a quotation mark is still open at the end of a line. With `strict`,
        # it refuses what stands behind a closing mark: the mark was the opening one of another cell.
        reached = self._at
        ran_out = False

        def lines() -> Iterator[str]:
            nonlocal reached, ran_out
            while reached < len(self._buffer) and reached - self._at < MAX_ROW_BYTES:
                stop = self._buffer.find(self._newline, reached) + 1
                if not stop and not self._ended:
                    break
                begin, reached = reached, stop or len(self._buffer)
                yield self._text(begin, reached)
            ran_out = True

        first = self._at + len(line)
        try:
            cells = next(csv.reader(lines(), delimiter=self._layout.delimiter, strict=True))
        except (csv.Error, StopIteration):
            cells = []
        if ran_out and not self._ended and reached - self._at < MAX_ROW_BYTES:
            return None
        if ran_out or not cells or (reached > first and not self._width <= len(cells) <= len(self._layout.columns)):
            return self._skip_invalid(first, QUOTES_ADVICE)
        if reached > first and self._holds_rows(self._text(self._at, reached)):
            return self._skip_invalid(first, SWALLOWED_ADVICE)
        return self._row(cells, reached)

    def _holds_rows(self, text: str) -> bool:
        """Return whether the first line of a row is a whole row by itself, and a later line is one of its kind.

        Two stray quotation marks make one valid cell of all rows between them. Lines are of a kind if their numbers and
        dates stand in the same columns. Lines of fewer than three cells are too common in notes to tell anything.
        """
        if self._width < 3:
            return False
        first, *others = (self._cut(line) for line in text.split(self._layout.newline))
        columns = [index for index, cell in enumerate(first) if _is_number(cell)]
        return any(
            line and any(_is_number(line[index]) for index in columns)
            for line in others
            if all(_is_number(line[index]) or not line[index].strip() for index in columns if line)
        )

    def _cut(self, line: str) -> list[str]:
        """Return the cells of one line by itself, as many as the header has, or none if it has another number."""
        width = len(self._layout.columns)
        delimiter = self._layout.delimiter
        read_cells = next(csv.reader([line], delimiter=delimiter), [])
        for cells in (read_cells, line.split(delimiter)):
            if self._width <= len(cells) <= width:
                return cells + [""] * (width - len(cells))
        return []

    def _row(self, cells: list[str], stop: int) -> Row:
        text = self._text(self._at, stop).rstrip("\r\n")
        if "\ufffd" in text and self._is_broken(stop):
            return self._skip_invalid(stop, f"The row is not text in {self._encoding}, the encoding of the file.")
        width = len(self._layout.columns)
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        if not self._width <= len(cells) <= width and any(cell.strip() for cell in cells):
            return self._skip_invalid(stop, f"The row has {len(cells)} cells; the header has {self._width}.")
        if len(cells) < width:
            cells += [""] * (width - len(cells))
        if INVISIBLE in text:
            cells = [cell.strip().strip(INVISIBLE) for cell in cells]
        self._move(stop)
        return Row(cells, text[:MAX_SHOWN_CHARACTERS], self.position)


def _is_number(cell: str) -> bool:
    """Return whether a cell has more digits than letters, as numbers and dates have."""
    return sum(map(str.isdigit, cell)) > sum(map(str.isalpha, cell))


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

    The first row names the columns; a line such as "sep=;" may stand before it. A column without a name is called
    column_N, and a repeated name gets a number. Raises InvalidInput for a file that is empty or in UTF-16, and for a
    first row that does not name columns.
    """
    if head.startswith(_UTF_16_MARKS):
        raise InvalidInput(Code.UNSUPPORTED, "The file is in UTF-16; save it as UTF-8.", "file")
    start = len(BOM) if head.startswith(BOM) else 0
    separator = _SEPARATOR_LINE.match(head, start)
    if separator is not None:
        start = separator.end()
    if not head[start:].strip() and is_whole:
        raise InvalidInput(Code.REQUIRED, "The file is empty.", "file")
    newline, header = _find_header(head, start, encoding)
    if "\x00" in header:
        raise InvalidInput(Code.INVALID, "The first row has NUL characters; send a text file in CSV.", "file")
    delimiter = separator[1].decode("latin-1") if separator else _detect_delimiter(header)
    stop = start

    def lines() -> Iterator[str]:
        nonlocal stop
        while stop < len(head) and stop - start <= MAX_ROW_BYTES:
            begin, stop = stop, head.find(newline.encode(), stop) + 1 or len(head)
            yield head[begin:stop].decode(encoding, "replace")

    try:
        names = next(csv.reader(lines(), delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        names = []
    if stop - start > MAX_ROW_BYTES or (stop == len(head) and not is_whole):
        raise InvalidInput(
            Code.TOO_LONG, f"The first row is longer than {MAX_ROW_BYTES} bytes; it has to name the columns.", "file"
        )
    if not any(name.strip() for name in names):
        raise InvalidInput(Code.INVALID, "The first row does not name the columns.", "file")
    while len(names) > MAX_COLUMNS and not names[-1].strip():
        names.pop()
    if len(names) > MAX_COLUMNS:
        raise InvalidInput(
            Code.TOO_MANY, f"The file has {len(names)} columns; at most {MAX_COLUMNS} are allowed.", "file"
        )
    return Layout(encoding=encoding, delimiter=delimiter, columns=_distinct(names), start=stop, newline=newline)


def _find_header(head: bytes, start: int, encoding: str) -> tuple[str, str]:
    """Return the end of a line, and the text up to the first one outside quotation marks."""
    for found in _QUOTED_OR_BREAK.finditer(head, start):
        if found[0] in (b"\n", b"\r"):
            return found[0].decode(), head[start : found.end()].decode(encoding, "replace")
    return "\n", head[start:].decode(encoding, "replace")


def _detect_delimiter(header: str) -> str:
    return max(_DELIMITERS, key=lambda mark: (_count_outside_quotes(header, mark), -_DELIMITERS.index(mark)))


def read_first_rows(head: bytes, layout: Layout, *, is_whole: bool, limit: int = 10_000) -> list[Row]:
    """Return the complete rows of the beginning of a file, up to `limit`."""
    splitter = TableSplitter(layout, layout.start)
    splitter.feed(head[layout.start :])
    if is_whole:
        splitter.end()
    return splitter.take(limit)


def _count_outside_quotes(line: str, mark: str) -> int:
    return sum(part.count(mark) for part in line.split('"')[::2])


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for column, raw in enumerate(names, 1):
        name = raw.strip().strip(INVISIBLE) or f"column_{column}"
        number = 2
        unique = name
        while unique in found:
            unique = f"{name}_{number}"
            number += 1
        found[unique] = None
    return tuple(found)
