"""Files of passes, for the lists of segments: each row names one pass, by its id or by its external id."""

from __future__ import annotations

import contextlib
from base64 import b64decode
from dataclasses import dataclass

from app.domain.errors import Code, InvalidInput
from app.domain.values.text import parse_external_id

from .csv_table import Layout, TableSplitter, detect_encoding, detect_layout
from .csv_writer import unmark_cell
from .imports import ImportFormat
from .jsonl import LineSplitter, read_first_lines
from .row_splitter import BOM, Row, Splitter

PASS_ID, EXTERNAL_ID = "passId", "passExternalId"
"""Names of the columns, or members, that name a pass."""


@dataclass(frozen=True, slots=True)
class ListedName:
    """Name of a pass in a row: one of the two."""

    pass_id: str | None = None
    external_id: str | None = None

    @property
    def field(self) -> str:
        """The column that gave the name."""
        return EXTERNAL_ID if self.pass_id is None else PASS_ID


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """How the rows of a file name passes. `layout` is None for JSONL. `start` is the byte at which the first row begins."""

    start: int
    layout: Layout | None = None

    def open_splitter(self, position: int) -> Splitter:
        """Return a splitter that cuts the file into rows, from a position on."""
        return LineSplitter(position) if self.layout is None else TableSplitter(self.layout, position)

    def read_name(self, row: Row) -> ListedName:
        """Return the pass that a row names. Raises InvalidInput unless it names exactly one, by one of the two names."""
        texts = {name: text for name in (PASS_ID, EXTERNAL_ID) if (text := self._find(row, name))}
        if len(texts) != 1:
            code = Code.INVALID if texts else Code.REQUIRED
            raise InvalidInput(code, f"Name the pass by exactly one of {PASS_ID} and {EXTERNAL_ID}.", EXTERNAL_ID)
        if PASS_ID in texts:
            return ListedName(pass_id=_database_id(texts[PASS_ID]))
        return ListedName(external_id=parse_external_id(texts[EXTERNAL_ID], EXTERNAL_ID))

    def _find(self, row: Row, name: str) -> str:
        if self.layout is None:
            value = (row.values or {}).get(name)
            return "" if value is None or isinstance(value, dict | list) else str(value).strip()
        columns = self.layout.columns
        return unmark_cell(row.cells[columns.index(name)]).strip() if name in columns else ""


@dataclass(frozen=True, slots=True)
class MemberImportOrder:
    """Passes to put on a list of a segment: the plan of the file, and its size in bytes."""

    segment_id: str
    list_name: str
    plan: MemberPlan
    size: int


def plan_member_import(kind: ImportFormat, head: bytes, *, is_whole: bool) -> MemberPlan:
    """Return the plan for a file that begins with `head`. `is_whole`: nothing follows.

    Raises InvalidInput at `file` for a file that cannot be used, or whose columns name no passes.
    """
    if kind is ImportFormat.JSONL:
        read_first_lines(head, is_whole=is_whole)
        return MemberPlan(len(BOM) if head.startswith(BOM) else 0)
    layout = detect_layout(head, is_whole=is_whole, encoding=detect_encoding(head))
    if not {PASS_ID, EXTERNAL_ID} & set(layout.columns):
        message = (
            f"The file has no column {PASS_ID} or {EXTERNAL_ID}; name the column of the passes so in its first row."
        )
        raise InvalidInput(Code.REQUIRED, message, "file")
    return MemberPlan(layout.start, layout)


def _database_id(text: str) -> str:
    """Return the database id of a pass from itself or from the id of the API; return other texts unchanged."""
    with contextlib.suppress(ValueError):
        kind, _, inner = b64decode(text, validate=True).decode("ascii").partition(":")
        if kind == "Pass":
            return inner
    return text
