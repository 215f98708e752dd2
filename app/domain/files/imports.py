"""Import of files: detection of the format, the plan from the first rows, and conversion of table rows to events.

Columns of a table without a mapping go to the metadata, under the name of the column.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from app.domain.errors import Code, InvalidInput, Problem, Refused, refuse_if
from app.domain.events.events import RULE_CHANNEL, EventInput
from app.domain.values.json_values import keep_numbers
from app.domain.values.zones import parse_zone

from .columns import FIELDS, CellKind, ColumnMapping, guess_columns
from .csv_numbers import DecimalMark, detect_decimal_mark, keep_digits, repeat_value
from .csv_table import Layout, TableSplitter, detect_encoding, detect_layout, read_first_rows
from .csv_values import DateOrder, detect_date_order
from .csv_writer import unmark_cell
from .import_plan import (
    DECLINED,
    METADATA,
    NEVER_BLANK,
    NO_INSTANTS_ADVICE,
    ImportPlan,
    check_mappings,
    former_key,
    is_now,
    metadata_field,
)
from .jsonl import EVENT_ID, plan_lines_import, read_first_lines, reject_constant
from .row_splitter import BOM, Row

_EXPORTED = frozenset({"id", "passExternalId", "type", "occurredAt", "externalId", "recordedAt"})
"""Columns by which a file of `exportEvents` is recognized."""
_NOT_MAPPED = frozenset(
    {
        "id",
        "recordedAt",
        "metadata",
        "channel",
        "correctionOf",
        "correctionOfSource",
        "correctionOfExternalId",
        "performedAt",
        "outcome",
    }
)
"""Columns of such a file that are no field of `RecordEventInput` as they are."""


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
    """The plan for a CSV file. Every column has a mapping, except some columns of files that `exportEvents` wrote."""

    layout: Layout

    @property
    def start(self) -> int:
        """The position in the file, in bytes, of the first row below the header."""
        return self.layout.start

    @property
    def is_exported(self) -> bool:
        """Whether `exportEvents` wrote the file. Its cells are read as they were written."""
        return set(self.layout.columns) >= _EXPORTED

    def open_splitter(self, position: int) -> TableSplitter:
        """Return a splitter that cuts the table into rows, from a position on."""
        return TableSplitter(self.layout, position)

    def parse_row(self, number: int, row: Row) -> EventInput:
        """Return a row as an input of `recordEvents`. Rows are numbered from 1. Raises Refused with all problems."""
        is_exported = self.is_exported
        indexes = {name: index for index, name in enumerate(self.layout.columns)}
        problems: list[Problem] = []
        values: dict[str, object] = {}
        metadata: dict[str, object] = {}
        repeated: dict[str, object] = {}
        for mapping in self.mappings:
            name = mapping.field
            if mapping.column is None:
                text = (mapping.value or "").strip()
            elif is_exported:
                text = unmark_cell(row.cells[indexes[mapping.column]])
            else:
                text = _read_cell(row.cells[indexes[mapping.column]])
            if not text:
                if name in NEVER_BLANK:
                    message = f"Column '{mapping.column}' is blank in this row; {name} needs a value."
                    problems.append(Problem(Code.REQUIRED, message, (name,)))
                continue
            if is_now(mapping):
                continue
            try:
                if name.startswith(METADATA):
                    key = name.removeprefix(METADATA)
                    metadata[key] = self._parse_metadata(name, text, mapping.kind)
                    repeated.setdefault(former_key(key), repeat_value(text))
                elif is_exported and name not in ("occurredAt", "pointsExpireAt"):
                    values[name] = text
                else:
                    values |= self._parse_field(name, text, values)
            except Refused as refused:
                problems.extend(refused.problems)
        if not is_exported:
            refuse_if(problems)
            return self._build_input(number, values, metadata, None if repeated == metadata else repeated)
        try:
            metadata |= _parse_metadata(self._find_cell(row, "metadata"))
        except Refused as refused:
            problems.extend(refused.problems)
        refuse_if(problems)
        corrected = self._find_cell(row, "correctionOf") or None
        return replace(self._build_input(number, values, metadata), correction_of=corrected)

    def is_numbered(self, row: Row) -> bool:
        """Return whether no column gives external ids, so that its number identifies the row."""
        return all(mapping.field != "externalId" for mapping in self.mappings)

    def is_of_rule(self, row: Row) -> bool:
        """Return whether an export says that a rule made the event."""
        return self.is_exported and self._find_cell(row, "channel") == RULE_CHANNEL

    def find_exported_id(self, row: Row) -> str | None:
        """Return the event id of a row that `exportEvents` wrote, else None."""
        found = self._find_cell(row, "id") if self.is_exported else ""
        return found if EVENT_ID.fullmatch(found) else None

    def is_declined(self, row: Row) -> bool:
        """Return whether the row is an exported event that was declined."""
        return self.is_exported and self._find_cell(row, "outcome") == DECLINED

    def find_corrected_identity(self, row: Row) -> tuple[str, str] | None:
        """Return the (source, external id) of the event that an exported row corrects, if the row gives them."""
        external_id = self._find_cell(row, "correctionOfExternalId") if self.is_exported else ""
        return (self._find_cell(row, "correctionOfSource") or self.source, external_id) if external_id else None

    def _find_cell(self, row: Row, column: str) -> str:
        """Return the cell of a column without marks, or "" if the file has no such column."""
        columns = self.layout.columns
        return unmark_cell(row.cells[columns.index(column)]) if column in columns else ""

    def _parse_metadata(self, name: str, text: str, kind: CellKind | None) -> object:
        if kind is CellKind.NUMBER:
            return self._parse_metadata_number(name, text)
        return text if kind is CellKind.TEXT else keep_digits(text)


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
    decimal_mark: DecimalMark | None = None,
) -> tuple[ImportPlan, list[Row]]:
    """Return the plan for a file that begins with `head`, and its first rows.

    `is_whole` means that nothing follows `head`. With `guess`, mappings that are not given are guessed from names and
    first rows. Without `date_order` or `decimal_mark`, the first rows decide about ambiguous dates or numbers if they
    show an order or a mark. Raises Refused with one of these paths:

    - `file`: the file cannot be used;
    - `columns`: a guess finds no customer or no time of the events;
    - `columns`, index, and `field`, `column`, `value` or `kind`: a mapping cannot be used;
    - `timezone`: there is no such time zone.
    """
    zone = parse_zone(timezone, "timezone").key
    if kind is ImportFormat.JSONL:
        lines = read_first_lines(head, is_whole=is_whole)
        _check_rows(lines, is_whole=is_whole)
        return (
            plan_lines_import(lines, mappings, head, source, zone, currency, date_order, decimal_mark, guess=guess),
            lines,
        )
    layout = detect_layout(head, is_whole=is_whole, encoding=detect_encoding(head))
    rows = read_first_rows(head, layout, is_whole=is_whole)
    _check_rows(rows, is_whole=is_whole)
    plan = plan_table_import(layout, rows, mappings, source, zone, currency, date_order, decimal_mark, guess=guess)
    return plan, rows


def _check_rows(rows: Sequence[Row], *, is_whole: bool) -> None:
    if is_whole and not rows:
        raise InvalidInput(Code.REQUIRED, "The file has no rows below its header; add at least one.", "file")


def plan_table_import(
    layout: Layout,
    rows: Sequence[Row],
    mappings: Sequence[ColumnMapping],
    source: str,
    timezone: str,
    currency: str,
    date_order: DateOrder | None = None,
    decimal_mark: DecimalMark | None = None,
    *,
    guess: bool,
) -> TablePlan:
    """Return the plan for a CSV file with these first rows. Parameters and errors are those of `plan_import`."""
    cells = [row.cells for row in rows if row.problem is None]
    is_exported = set(layout.columns) >= _EXPORTED
    if guess and is_exported:
        given = {mapping.field for mapping in mappings}
        mappings = [
            *mappings,
            *(ColumnMapping(name, name) for name in FIELDS if name in layout.columns and name not in given),
        ]
    elif guess:
        mappings = guess_columns(layout.columns, cells, currency, mappings)
    check_mappings(mappings, layout.columns.__contains__, layout.columns)
    columns = {name: [_read_cell(row[index]) for row in cells] for index, name in enumerate(layout.columns)}
    complete = _complete_mappings(mappings, columns, _NOT_MAPPED if is_exported else ())
    if guess and all(mapping.field != "occurredAt" for mapping in complete):
        raise InvalidInput(Code.REQUIRED, NO_INSTANTS_ADVICE, "columns")

    def cells_of(*fields: str) -> Iterable[str]:
        """Return the cells of the columns that these fields are mapped to."""
        return (cell for m in complete if m.field in fields and m.column is not None for cell in columns[m.column])

    numbers = [cell for m in complete if m.kind is CellKind.NUMBER and m.column for cell in columns[m.column]]
    return TablePlan(
        mappings=complete,
        source=source,
        timezone=timezone,
        currency=currency,
        date_order=date_order or detect_date_order(cells_of("occurredAt")),
        decimal_mark=decimal_mark or detect_decimal_mark([*cells_of("amount", "points"), *numbers]),
        layout=layout,
    )


def _complete_mappings(
    mappings: Iterable[ColumnMapping], cells: Mapping[str, Sequence[str]], not_mapped: Iterable[str]
) -> tuple[ColumnMapping, ...]:
    """Return the mappings in order of the fields, with a metadata mapping added for each unused column.

    A column of the metadata with a first cell that a number would change holds texts, so that all its cells compare
    with one another.
    """
    by_field = {mapping.field: mapping for mapping in mappings}
    # Parse the currency before the amount: the amount is checked against the currency.
    order = ("currency", *(field for field in FIELDS if field != "currency"))
    ordered = [by_field.pop(field) for field in order if field in by_field]
    used = {mapping.column for mapping in (*ordered, *by_field.values())} | set(not_mapped)
    for column in cells:
        field = metadata_field(column)
        if column not in used:
            by_field.setdefault(field, ColumnMapping(field, column))
    for field, mapping in by_field.items():
        if mapping.kind is None and mapping.column is not None:
            is_text = any(isinstance(keep_digits(cell), str) for cell in cells[mapping.column] if cell)
            by_field[field] = replace(mapping, kind=CellKind.TEXT if is_text else None)
    return (*ordered, *by_field.values())


def _read_cell(cell: str) -> str:
    """Return a cell without blanks around it, and without the apostrophe that keeps spreadsheets from running it."""
    text = cell.strip()
    return text[1:] if text.startswith("'") and unmark_cell(text)[:1] != "'" else text


def _parse_metadata(text: str) -> dict[str, object]:
    """Return the metadata of an exported row. Raises InvalidInput unless the cell is a JSON object or empty."""
    try:
        found = json.loads(text or "{}", parse_float=Decimal, parse_constant=reject_constant)
    except (ValueError, ArithmeticError, RecursionError):
        found = None
    if not isinstance(found, dict):
        message = "The cell is not a JSON object; write it like an export does, or empty it."
        raise InvalidInput(Code.INVALID, message, "metadata")
    return {name: keep_numbers(value) for name, value in found.items()}
