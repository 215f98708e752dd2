"""Import of files: detection of the format, the plan from the first rows, and conversion of table rows to events.

Columns of a table without a mapping go to the metadata, under the name of the column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.errors import Code, InvalidInput, Problem, Refused, refuse_if
from app.domain.events.events import EventInput

from .columns import FIELDS, ColumnMapping, guess_columns
from .csv_table import Layout, TableSplitter, detect_encoding, detect_layout, read_first_rows
from .csv_values import DateOrder, detect_date_order, parse_cell_value
from .import_plan import METADATA, NEVER_BLANK, ImportPlan, check_mappings, parse_zone
from .jsonl import plan_lines_import, read_first_lines
from .row_splitter import BOM, Row


class ImportFormat(StrEnum):
    """The format of an import file."""

    CSV = "CSV"
    JSONL = "JSONL"


def detect_format(file_name: str, head: bytes) -> ImportFormat:
    """Return the format of a file by the end of its name, else by its first character."""
    name = file_name.lower()
    if name.endswith((".jsonl", ".ndjson")) or (
        not name.endswith(".csv") and head.lstrip(BOM + b" \t\r\n")[:1] == b"{"
    ):
        return ImportFormat.JSONL
    return ImportFormat.CSV


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan(ImportPlan):
    """The plan for a CSV file. Every column has a mapping."""

    layout: Layout

    @property
    def start(self) -> int:
        """The position in the file, in bytes, of the first row below the header."""
        return self.layout.start

    def open_splitter(self, position: int) -> TableSplitter:
        """Return a splitter that cuts the table into rows, from a position on."""
        return TableSplitter(self.layout, position)

    def parse_row(self, number: int, row: Row) -> EventInput:
        """Return a row as an input of `recordEvents`. Rows are numbered from 1. Raises Refused with all problems."""
        indexes = {name: index for index, name in enumerate(self.layout.columns)}
        problems: list[Problem] = []
        values: dict[str, object] = {}
        metadata: dict[str, object] = {}
        for mapping in self.mappings:
            name = mapping.field
            text = (mapping.value or "") if mapping.column is None else row.cells[indexes[mapping.column]]
            text = text.strip()
            if not text:
                if name in NEVER_BLANK:
                    message = f"Column '{mapping.column}' is blank in this row; {name} needs a value."
                    problems.append(Problem(Code.REQUIRED, message, (name,)))
            elif name.startswith(METADATA):
                metadata[name.removeprefix(METADATA)] = parse_cell_value(text)
            else:
                try:
                    values |= self._parse_field(name, text, values)
                except Refused as refused:
                    problems.extend(refused.problems)
        refuse_if(problems)
        return self._build_input(number, values, metadata)


def plan_import(
    kind: ImportFormat,
    head: bytes,
    mappings: Sequence[ColumnMapping],
    *,
    is_whole: bool,
    guess: bool,
    source: str,
    timezone: str,
    currency: str,
    date_order: DateOrder | None = None,
) -> tuple[ImportPlan, list[Row]]:
    """Return the plan for a file that begins with `head`, and its first rows.

    `is_whole` means that nothing follows `head`. With `guess`, mappings that are not given are guessed from names and
    first rows. Without `date_order`, the first rows decide the order of ambiguous dates if they show one. Raises
    Refused with one of these paths:

    - `file`: the file cannot be used;
    - `columns`, index, and `field`, `column` or `value`: a mapping cannot be used;
    - `timezone`: there is no such time zone.
    """
    zone = parse_zone(timezone)
    if kind is ImportFormat.JSONL:
        rows = read_first_lines(head, is_whole=is_whole)
        plan: ImportPlan = plan_lines_import(rows, mappings, head, source, zone, currency, date_order, guess=guess)
    else:
        layout = detect_layout(head, is_whole=is_whole, encoding=detect_encoding(head))
        rows = read_first_rows(head, layout, is_whole=is_whole)
        plan = plan_table_import(layout, rows, mappings, source, zone, currency, date_order, guess=guess)
    if is_whole and not rows:
        raise InvalidInput(Code.REQUIRED, "The file has no rows below its header; add at least one.", "file")
    return plan, rows


def plan_table_import(
    layout: Layout,
    rows: Sequence[Row],
    mappings: Sequence[ColumnMapping],
    source: str,
    timezone: str,
    currency: str,
    date_order: DateOrder | None = None,
    *,
    guess: bool,
) -> TablePlan:
    """Return the plan for a CSV file with these first rows. Parameters and errors are those of `plan_import`."""
    cells = [row.cells for row in rows if row.problem is None]
    if guess:
        mappings = guess_columns(layout.columns, cells, currency, mappings)
    check_mappings(mappings, layout.columns.__contains__, layout.columns)
    complete = _complete_mappings(mappings, layout.columns)
    date_column = next((m.column for m in complete if m.field == "occurredAt"), None)
    if date_order is None and date_column is not None:
        index = layout.columns.index(date_column)
        date_order = detect_date_order(row[index] for row in cells)
    return TablePlan(
        mappings=complete, source=source, timezone=timezone, currency=currency, date_order=date_order, layout=layout
    )


def _complete_mappings(mappings: Iterable[ColumnMapping], columns: Sequence[str]) -> tuple[ColumnMapping, ...]:
    """Return the mappings in order of the fields, with a metadata mapping added for each unused column."""
    by_field = {mapping.field: mapping for mapping in mappings}
    # Parse the currency before the amount: the amount is checked against the currency.
    order = ("currency", *(field for field in FIELDS if field != "currency"))
    ordered = [by_field.pop(field) for field in order if field in by_field]
    used = {mapping.column for mapping in (*ordered, *by_field.values())}
    for column in columns:
        name = re.sub(r"[.\x00-\x1f\x7f\ud800-\udfff]", "_", column).lstrip("$") or "column"
        if column not in used:
            by_field.setdefault(f"{METADATA}{name}", ColumnMapping(f"{METADATA}{name}", column))
    return (*ordered, *by_field.values())
