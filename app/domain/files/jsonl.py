"""JSONL: files with one JSON object a line, and the plan by which the objects become events.

A member of an object goes to the field of the same name in `RecordEventInput`. A mapping can change the source of a
field; its column is then a path such as "customer.id". Other members go to the metadata. Files of `exportEvents` need
no mapping.
"""

from __future__ import annotations

import contextlib
import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NoReturn

from app.domain.errors import Code, InvalidInput, Problem, Refused, refuse_if
from app.domain.events.events import RULE_CHANNEL, EventInput
from app.domain.values.decimals import plain
from app.domain.values.json_values import keep_numbers
from app.domain.values.paths import find_value, split_path

from .columns import FIELDS, CellKind, ColumnMapping, guess_columns
from .csv_numbers import DecimalMark, detect_decimal_mark
from .csv_table import MAX_COLUMNS
from .csv_values import DateOrder, detect_date_order
from .import_plan import (
    DECLINED,
    METADATA,
    NEVER_BLANK,
    NO_INSTANTS_ADVICE,
    REQUIRED,
    ImportPlan,
    check_mappings,
    is_now,
)
from .row_splitter import BOM, MAX_SHOWN_CHARACTERS, Row, Splitter

MAX_FIRST_LINES = 10_000
"""Lines by which a plan is guessed."""
_MAX_DIGITS = 64
"""Digits of a number that is written out in full as a text."""
_TEXTS = frozenset({"passExternalId", "externalId", "fieldName", "oldValue", "newValue", "label", "source", "staff"})
"""Fields whose value is a text, even if the line has a number."""
_DATES = frozenset({"occurredAt", "pointsExpireAt"})
_CORRECTS = ("correctionOf", "correctionOfSource", "correctionOfExternalId")
_EXPORTED = ("id", "recordedAt", "channel", "performedAt", "outcome")
"""Members of an exported line that cannot be recorded."""
EVENT_ID = re.compile("event_[0-9a-f]{1,64}")


class LineSplitter(Splitter):
    """A splitter that cuts a JSONL file into rows of values by name."""

    def __init__(self, position: int) -> None:
        super().__init__("utf-8", position)

    def _read(self, line: bytes, stop: int) -> Row | None:
        if not line.strip():
            self._move(stop)
            return Row((), "", self.position)
        try:
            values = json.loads(line.decode("utf-8"), parse_float=Decimal, parse_constant=reject_constant)
        except UnicodeDecodeError:
            return self._skip_invalid(stop, "The line is not text in UTF-8.")
        except (ValueError, ArithmeticError, RecursionError):
            return self._skip_invalid(stop, "The line is not JSON.")
        if not isinstance(values, dict):
            return self._skip_invalid(stop, 'The line is not a JSON object, such as {"passExternalId": "ann", …}.')
        text = self._text(self._at, stop).rstrip("\r\n")
        self._move(stop)
        return Row(cells=(), text=text[:MAX_SHOWN_CHARACTERS], end=self.position, values=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePlan(ImportPlan):
    """The plan for a JSONL file. A field without a mapping gets the member of its name.

    `required_fields` are the fields that every line must have.
    """

    first_line_at: int
    required_fields: tuple[str, ...]

    @property
    def has_instants(self) -> bool:
        """Whether the lines say when their events occur."""
        return "occurredAt" in self.required_fields

    @property
    def start(self) -> int:
        """The position in the file, in bytes, of the first line: behind a byte order mark, if there is one."""
        return self.first_line_at

    def open_splitter(self, position: int) -> LineSplitter:
        """Return a splitter that cuts the file into lines, from a position on."""
        return LineSplitter(position)

    def parse_row(self, number: int, row: Row) -> EventInput:
        """Return a line as an input of `recordEvents`. Lines are numbered from 1. Raises Refused with all problems."""
        line = row.values or {}
        mapped = {mapping.field: mapping for mapping in self.mappings}
        used = {_first_name(line, mapping.column) for mapping in self.mappings if mapping.column is not None}
        direct = {field for field in FIELDS if field not in mapped and field not in used}
        problems: list[Problem] = []
        values: dict[str, object] = {}
        for field in _ORDER:
            if (field not in mapped and field not in direct) or (field in mapped and is_now(mapped[field])):
                continue
            value = line.get(field) if field in direct else _find_mapped(line, mapped[field])
            if value is None or (isinstance(value, str) and not value.strip()):
                if field in self.required_fields:
                    problems.append(
                        Problem(
                            Code.REQUIRED, f"The line has no {field}; add it, or map a column or value to it.", (field,)
                        )
                    )
                continue
            try:
                values |= self._convert(field, value, values, is_mapped=field in mapped)
            except Refused as refused:
                problems.extend(refused.problems)
        metadata = line.get("metadata")
        if metadata is None:
            metadata = {}
        elif not isinstance(metadata, Mapping):
            problems.append(
                Problem(Code.INVALID, "The metadata is not a JSON object; send one, or leave it out.", ("metadata",))
            )
            metadata = {}
        used |= {*direct, *_CORRECTS, "metadata", *(_EXPORTED if _is_exported(line) else ())}
        details = {name: keep_numbers(value) for name, value in line.items() if name not in used}
        details |= {name: keep_numbers(value) for name, value in metadata.items()}
        for field, mapping in mapped.items():
            if not field.startswith(METADATA) or (value := _find_mapped(line, mapping)) is None:
                continue
            try:
                details[field.removeprefix(METADATA)] = self._convert_metadata(field, value, mapping.kind)
            except Refused as refused:
                problems.extend(refused.problems)
        refuse_if(problems)
        return replace(
            self._build_input(number, values, details), correction_of=_parse_event_id(line.get("correctionOf"))
        )

    def is_numbered(self, row: Row) -> bool:
        """Return whether the line has no external id, so that its number identifies it."""
        value = (row.values or {}).get("externalId")
        return "externalId" not in self.required_fields and (value is None or not str(value).strip())

    def is_of_rule(self, row: Row) -> bool:
        """Return whether an export says that a rule made the event."""
        line = row.values or {}
        return _is_exported(line) and line.get("channel") == RULE_CHANNEL

    def find_exported_id(self, row: Row) -> str | None:
        """Return the event id of a line that `exportEvents` wrote, else None."""
        line = row.values or {}
        return str(line["id"]) if _is_exported(line) else None

    def is_declined(self, row: Row) -> bool:
        """Return whether the line is an exported event that was declined."""
        line = row.values or {}
        return _is_exported(line) and line.get("outcome") == DECLINED

    def find_corrected_identity(self, row: Row) -> tuple[str, str] | None:
        """Return the (source, external id) of the event that the line corrects, if the line gives them."""
        line = row.values or {}
        external_id = line.get("correctionOfExternalId")
        return None if external_id is None else (str(line.get("correctionOfSource") or self.source), str(external_id))

    def _convert(self, field: str, value: Any, parsed: Mapping[str, object], *, is_mapped: bool) -> dict[str, object]:
        """Return the values that a member gives to a field, by field.

        Mapped texts are parsed like table cells. Other texts, except dates, must have the form that `recordEvents`
        accepts.
        """
        is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
        if is_number and field in _DATES | _TEXTS:
            value = _to_text(value)
        if isinstance(value, str) and (field in _DATES or (is_mapped and field not in _TEXTS)):
            return self._parse_field(field, value.strip(), parsed)
        return {field: value}

    def _convert_metadata(self, field: str, value: object, kind: CellKind | None) -> object:
        """Return a mapped value of the metadata. With a kind, texts become numbers, or numbers become texts."""
        if kind is CellKind.NUMBER and isinstance(value, str):
            return self._parse_metadata_number(field, value)
        is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
        return _to_text(value) if kind is CellKind.TEXT and is_number else keep_numbers(value)


_ORDER = ("currency", *(field for field in FIELDS if field != "currency"))
"""The fields in the order of parsing: the currency first, since the amount is checked against it."""


def read_first_lines(head: bytes, *, is_whole: bool) -> list[Row]:
    """Return the complete lines of the beginning of a file. Raises InvalidInput if the file is empty or in UTF-16."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidInput(Code.UNSUPPORTED, "The file is in UTF-16; save it as UTF-8.", "file")
    if is_whole and not head.removeprefix(BOM).strip():
        raise InvalidInput(Code.REQUIRED, "The file is empty.", "file")
    start = _find_start(head)
    splitter = LineSplitter(start)
    splitter.feed(head[start:])
    if is_whole:
        splitter.end()
    return splitter.take(MAX_FIRST_LINES)


def plan_lines_import(
    rows: Sequence[Row],
    mappings: Sequence[ColumnMapping],
    head: bytes,
    source: str,
    timezone: str,
    currency: str,
    date_order: DateOrder | None = None,
    decimal_mark: DecimalMark | None = None,
    *,
    guess: bool,
) -> LinePlan:
    """Return the plan for a JSONL file with these first lines.

    With `guess`, missing mappings are guessed from names and values, but only if `passExternalId` or `type` is neither
    mapped nor a name in the lines. Raises Refused if the guess fails, and for mappings that cannot be used.
    """
    lines = [row.values for row in rows if row.values is not None]
    if rows and not lines:
        reason = next((row.problem.message for row in rows if row.problem is not None), "")
        raise InvalidInput(Code.INVALID, f"No line of the file can be read. The first one: {reason}", "file")
    names = list(dict.fromkeys(name for line in lines for name in line))[:MAX_COLUMNS]
    mapped = {mapping.field for mapping in mappings}
    missing = [field for field in REQUIRED if field not in mapped and field not in names]
    if guess and missing:
        cells = [["" if line.get(name) is None else _to_text(line[name]) for name in names] for line in lines]
        direct = [ColumnMapping(field, field) for field in FIELDS if field in names and field not in mapped]
        guessed = guess_columns(names, cells, currency, [*mappings, *direct])
        if all(mapping.field != "occurredAt" for mapping in guessed):
            raise InvalidInput(Code.REQUIRED, NO_INSTANTS_ADVICE, "columns")
        mappings = [mapping for mapping in guessed if mapping not in direct]
        missing = []
    check_mappings(mappings, lambda path: any(_find_value(line, path) is not None for line in lines), names, missing)
    mapped = {mapping.field for mapping in mappings}
    paths = [m.column for m in mappings if m.field == "occurredAt" and m.column] or ["occurredAt"]
    numbers = [
        m.column for m in mappings if m.column and (m.field in ("amount", "points") or m.kind is CellKind.NUMBER)
    ]

    def texts_at(paths: Sequence[str]) -> list[str]:
        """Return the texts of the first lines at these paths."""
        values = (_find_value(line, path) for path in paths for line in lines)
        return [value for value in values if isinstance(value, str)]

    return LinePlan(
        mappings=tuple(mappings),
        source=source,
        timezone=timezone,
        currency=currency,
        date_order=date_order or detect_date_order(texts_at(paths)),
        decimal_mark=decimal_mark or detect_decimal_mark(texts_at(numbers)),
        first_line_at=_find_start(head),
        required_fields=tuple(f for f in NEVER_BLANK if f in REQUIRED or f in mapped or f in names),
    )


def _find_start(head: bytes) -> int:
    return len(BOM) if head.startswith(BOM) else 0


def _is_exported(line: Mapping[str, object]) -> bool:
    """Return whether `exportEvents` wrote the line."""
    return "recordedAt" in line and EVENT_ID.fullmatch(str(line.get("id"))) is not None


def _parse_event_id(value: object) -> object:
    """Return the database id of an event from itself or from the id of the API; return other values unchanged."""
    if not isinstance(value, str) or EVENT_ID.fullmatch(value):
        return value
    with contextlib.suppress(ValueError):
        kind, _, inner = b64decode(value, validate=True).decode("ascii").partition(":")
        if kind == "Event":
            return inner
    return value


def _find_mapped(line: Mapping[str, object], mapping: ColumnMapping) -> object:
    return mapping.value if mapping.column is None else _find_value(line, mapping.column)


def _first_name(line: Mapping[str, object], path: str) -> str:
    """Return the name of the member that a path leads into."""
    return path if path in line else path.partition(".")[0]


def _find_value(line: Mapping[str, object], path: str) -> object:
    """Return the value at a path. A member whose name contains points takes precedence over a path of the same text."""
    return find_value(line, split_path(path))


def _to_text(value: object) -> str:
    """Return the value as a table cell: plain digits for decimals, and an empty cell for objects and lists."""
    if isinstance(value, Decimal) and abs(value.adjusted()) < _MAX_DIGITS:
        return plain(value)
    return "" if isinstance(value, (dict, list)) else str(value)


def reject_constant(constant: str) -> NoReturn:
    """Raise ValueError for NaN and the infinities, which Python accepts in JSON."""
    raise ValueError(constant)
