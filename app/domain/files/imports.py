"""Imports: what a file is, by its beginning, and the plan for it; and the rows of a table as events.

Everything in a table that is not mapped goes to the metadata under the column's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.errors import Code, InvalidInput, Problem, Refused, refuse_if
from app.domain.events.events import EventInput

from .columns import FIELDS, ColumnMapping, guess_columns
from .csv_table import Layout, TableSplitter, encoding_of, first_rows, layout_of
from .csv_values import DateOrder, date_order_of, parse_cell_value
from .import_plan import METADATA, NEVER_BLANK, ImportPlan, check_mappings, parse_zone
from .jsonl import first_lines, plan_lines_import
from .row_splitter import BOM, Row


class ImportFormat(StrEnum):
    """How a file of events is written."""

    CSV = "CSV"
    JSONL = "JSONL"


def format_of(file_name: str, head: bytes) -> ImportFormat:
    """How a file is written, by its name, else by its first character."""
    name = file_name.lower()
    if name.endswith((".jsonl", ".ndjson")) or (
        not name.endswith(".csv") and head.lstrip(BOM + b" \t\r\n")[:1] == b"{"
    ):
        return ImportFormat.JSONL
    return ImportFormat.CSV


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan(ImportPlan):
    """How the rows of a table become events; every column has its mapping."""

    layout: Layout

    @property
    def begin(self) -> int:
        """Where the first row below the names begins."""
        return self.layout.start

    def splitter(self, position: int) -> TableSplitter:
        """What cuts the table into rows from a position on."""
        return TableSplitter(self.layout, position)

    def event(self, number: int, row: Row) -> EventInput:
        """The row of this number (from 1) as an input of recordEvents. Raises Refused with every cell at fault."""
        places = {name: place for place, name in enumerate(self.layout.columns)}
        problems: list[Problem] = []
        values: dict[str, object] = {}
        metadata: dict[str, object] = {}
        for mapping in self.mappings:
            name = mapping.field
            text = (mapping.value or "") if mapping.column is None else row.cells[places[mapping.column]]
            text = text.strip()
            if not text:
                if name in NEVER_BLANK:
                    where = f"Column '{mapping.column}' is blank in this row."
                    problems.append(Problem(Code.REQUIRED, where, (name,)))
            elif name.startswith(METADATA):
                metadata[name.removeprefix(METADATA)] = parse_cell_value(text)
            else:
                try:
                    values |= self._read(name, text, values)
                except Refused as refused:
                    problems.extend(refused.problems)
        refuse_if(problems)
        return self._input(number, values, metadata)


def plan_import(
    kind: ImportFormat,
    head: bytes,
    mappings: Sequence[ColumnMapping],
    *,
    whole: bool,
    guess: bool,
    source: str,
    timezone: str,
    currency: str,
    date_order: DateOrder | None = None,
) -> tuple[ImportPlan, list[Row]]:
    """The plan for a file that begins with `head`, and its first rows; `whole` says that nothing follows.

    By the mappings given, and where `guess`, by what the rest most likely means. The order of ambiguous dates is that of
    the first rows where they show one. Raises Refused for a file that cannot be used, at `file`; for mappings: paths are
    `columns`, index, and field, column or value; or `timezone`.
    """
    zone = parse_zone(timezone)
    if kind is ImportFormat.JSONL:
        rows = first_lines(head, whole=whole)
        plan: ImportPlan = plan_lines_import(rows, mappings, head, source, zone, currency, date_order, guess=guess)
    else:
        layout = layout_of(head, whole=whole, encoding=encoding_of(head))
        rows = first_rows(head, layout, whole=whole)
        plan = plan_table_import(layout, rows, mappings, source, zone, currency, date_order, guess=guess)
    if whole and not rows:
        raise InvalidInput(Code.REQUIRED, "The file has no rows below the names of its columns.", "file")
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
    """The plan for a table with these first rows; as `planned`."""
    cells = [row.cells for row in rows if row.problem is None]
    if guess:
        mappings = guess_columns(layout.columns, cells, currency, mappings)
    check_mappings(mappings, layout.columns.__contains__, layout.columns)
    found = _complete(mappings, layout.columns)
    dates = next((m.column for m in found if m.field == "occurredAt"), None)
    if date_order is None and dates is not None:
        place = layout.columns.index(dates)
        date_order = date_order_of(row[place] for row in cells)
    return TablePlan(
        mappings=found, source=source, timezone=timezone, currency=currency, date_order=date_order, layout=layout
    )


def _complete(mappings: Iterable[ColumnMapping], columns: Sequence[str]) -> tuple[ColumnMapping, ...]:
    """The mappings in the order of the fields, and for every column that none of them uses one to the metadata."""
    by_field = {mapping.field: mapping for mapping in mappings}
    # The currency comes before the amount, which is checked against it.
    order = ("currency", *(field for field in FIELDS if field != "currency"))
    found = [by_field.pop(field) for field in order if field in by_field]
    used = {mapping.column for mapping in (*found, *by_field.values())}
    for column in columns:
        name = re.sub(r"[.\x00-\x1f\x7f\ud800-\udfff]", "_", column).lstrip("$") or "column"
        if column not in used:
            by_field.setdefault(f"{METADATA}{name}", ColumnMapping(f"{METADATA}{name}", column))
    return (*found, *by_field.values())
