"""Lines of JSON: a file with one object a line (JSONL), and the plan by which its objects become events.

A value belongs to the field of recordEvents' input that has its name, unless a mapping says otherwise, whose column is a
path there ("customer.id"); what has no such name goes to the metadata. What exportEvents wrote is read as it is.
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
from app.domain.events.events import EventInput
from app.domain.values.conditions import dig
from app.domain.values.decimals import plain
from app.domain.values.text import MAX_JSON_DEPTH

from .columns import FIELDS, ColumnMapping, guess_columns
from .csv_table import MAX_COLUMNS
from .csv_values import DateOrder, date_order_of
from .import_plan import METADATA, NEVER_BLANK, REQUIRED, ImportPlan, check_mappings
from .row_splitter import BOM, MAX_SHOWN_CHARACTERS, Row, Splitter

FIRST = 10_000
_MAX_DIGITS = 64
_TEXTS = frozenset({"passExternalId", "externalId", "fieldName", "oldValue", "newValue", "label", "source", "staff"})
"""Fields whose value is a text, also where it is written as a number."""
_DATES = frozenset({"occurredAt", "pointsExpireAt"})
_CORRECTS = ("correctionOf", "correctionOfSource", "correctionOfExternalId")
_EXPORTED = ("id", "recordedAt")
"""What a line of an export says beside what can be recorded."""
_EVENT_ID = re.compile("event_[0-9a-f]{1,64}")


class LineSplitter(Splitter):
    """Cuts lines of JSON into rows of values by name."""

    def __init__(self, position: int) -> None:
        super().__init__("utf-8", position)

    def _read(self, line: bytes, stop: int) -> Row | None:
        if not line.strip():
            self._move(stop)
            return Row((), "", self.position)
        try:
            values = json.loads(line.decode("utf-8"), parse_float=Decimal, parse_constant=_refused)
        except UnicodeDecodeError:
            return self._unread(stop, "The line is not text in UTF-8.")
        except (ValueError, ArithmeticError, RecursionError):
            return self._unread(stop, "The line is not JSON.")
        if not isinstance(values, dict):
            return self._unread(stop, 'The line is not a JSON object, such as {"passExternalId": "ann", …}.')
        text = self._text(self._at, stop).rstrip("\r\n")
        self._move(stop)
        return Row((), text[:MAX_SHOWN_CHARACTERS], self.position, None, values)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePlan(ImportPlan):
    """How lines of JSON become events; fields without a mapping are those of their names.

    `always` are the fields that no line may lack.
    """

    begin_at: int
    always: tuple[str, ...]

    @property
    def begin(self) -> int:
        """Where the first line begins: behind a byte order mark."""
        return self.begin_at

    def splitter(self, position: int) -> LineSplitter:
        """What cuts the file into lines from a position on."""
        return LineSplitter(position)

    def event(self, number: int, row: Row) -> EventInput:
        """The line of this number (from 1) as an input of recordEvents. Raises Refused with everything at fault."""
        line = row.values or {}
        mapped = {mapping.field: mapping for mapping in self.mappings}
        used = {_name_in(line, mapping.column) for mapping in self.mappings if mapping.column is not None}
        named = {field for field in FIELDS if field not in mapped and field not in used}
        problems: list[Problem] = []
        values: dict[str, object] = {}
        for field in _ORDER:
            if field not in mapped and field not in named:
                continue
            value = line.get(field) if field in named else _mapped(line, mapped[field])
            if value is None or (isinstance(value, str) and not value.strip()):
                if field in self.always:
                    problems.append(Problem(Code.REQUIRED, f"The line has no {field}.", (field,)))
                continue
            try:
                values |= self._given(field, value, values, friendly=field in mapped)
            except Refused as refused:
                problems.extend(refused.problems)
        metadata = line.get("metadata")
        if metadata is None:
            metadata = {}
        elif not isinstance(metadata, Mapping):
            problems.append(Problem(Code.INVALID, "The metadata is a JSON object.", ("metadata",)))
            metadata = {}
        refuse_if(problems)
        spent = {*named, *used, *_CORRECTS, "metadata", *(_EXPORTED if _is_exported(line) else ())}
        details = {name: _json(value) for name, value in line.items() if name not in spent}
        details |= {name: _json(value) for name, value in metadata.items()}
        for field, mapping in mapped.items():
            if field.startswith(METADATA) and (value := _mapped(line, mapping)) is not None:
                details[field.removeprefix(METADATA)] = _json(value)
        return replace(self._input(number, values, details), correction_of=_event_id(line.get("correctionOf")))

    def known_as(self, row: Row) -> str | None:
        """The id that an exported line has."""
        line = row.values or {}
        return str(line["id"]) if _is_exported(line) else None

    def corrects(self, row: Row) -> tuple[str, str] | None:
        """The (source, external id) of the event that the line's corrects, where it says so rather than its id."""
        line = row.values or {}
        external_id = line.get("correctionOfExternalId")
        return None if external_id is None else (str(line.get("correctionOfSource") or self.source), str(external_id))

    def _given(self, field: str, value: Any, before: Mapping[str, object], *, friendly: bool) -> dict[str, object]:
        """What a value says for a field; texts as exact as recordEvents takes them, unless they are mapped."""
        is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
        if is_number and field in _DATES | _TEXTS:
            value = _text(value)
        if isinstance(value, str) and (field in _DATES or (friendly and field not in _TEXTS)):
            return self._read(field, value.strip(), before)
        return {field: value}


_ORDER = ("currency", *(field for field in FIELDS if field != "currency"))
"""The currency comes before the amount, which is checked against it."""


def first_lines(head: bytes, *, whole: bool) -> list[Row]:
    """The lines that are whole in the beginning of a file. Raises InvalidInput for a file that is empty or in UTF-16."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidInput(Code.UNSUPPORTED, "The file is in UTF-16; save it as UTF-8.", "file")
    if whole and not head.removeprefix(BOM).strip():
        raise InvalidInput(Code.REQUIRED, "The file is empty.", "file")
    begin = _begin_of(head)
    splitter = LineSplitter(begin)
    splitter.feed(head[begin:])
    if whole:
        splitter.end()
    return splitter.take(FIRST)


def plan_lines_import(
    rows: Sequence[Row],
    mappings: Sequence[ColumnMapping],
    head: bytes,
    source: str,
    timezone: str,
    currency: str,
    date_order: DateOrder | None = None,
    *,
    guess: bool,
) -> LinePlan:
    """The plan for lines of which these are the first. Where no mapping and no name says whose they are, it is guessed.

    Raises Refused where that cannot be found out, and for mappings that cannot be used.
    """
    lines = [row.values for row in rows if row.values is not None]
    if rows and not lines:
        raise InvalidInput(Code.INVALID, f"No line can be read. The first: {rows[0].problem}.", "file")
    names = list(dict.fromkeys(name for line in lines for name in line))[:MAX_COLUMNS]
    told = {mapping.field for mapping in mappings}
    missing = [field for field in REQUIRED if field not in told and field not in names]
    if guess and missing:
        cells = [["" if line.get(name) is None else _text(line[name]) for name in names] for line in lines]
        named = [ColumnMapping(field, field) for field in FIELDS if field in names and field not in told]
        found = guess_columns(names, cells, currency, [*mappings, *named])
        mappings = [mapping for mapping in found if mapping not in named]
        missing = []
    check_mappings(mappings, lambda path: any(_at(line, path) is not None for line in lines), names, missing)
    told = {mapping.field for mapping in mappings}
    path = next((m.column for m in mappings if m.field == "occurredAt" and m.column), "occurredAt")
    if date_order is None:
        date_order = date_order_of(str(_at(line, path)) for line in lines)
    return LinePlan(
        mappings=tuple(mappings),
        source=source,
        timezone=timezone,
        currency=currency,
        date_order=date_order,
        begin_at=_begin_of(head),
        always=tuple(f for f in NEVER_BLANK if f in REQUIRED or f in told or f in names),
    )


def _begin_of(head: bytes) -> int:
    return len(BOM) if head.startswith(BOM) else 0


def _is_exported(line: Mapping[str, object]) -> bool:
    """Whether exportEvents wrote the line."""
    return "recordedAt" in line and _EVENT_ID.fullmatch(str(line.get("id"))) is not None


def _event_id(named: object) -> object:
    """The id of an event, also where it is named as the API names it."""
    if not isinstance(named, str) or _EVENT_ID.fullmatch(named):
        return named
    with contextlib.suppress(ValueError):
        kind, _, inner = b64decode(named, validate=True).decode("ascii").partition(":")
        if kind == "Event":
            return inner
    return named


def _mapped(line: Mapping[str, object], mapping: ColumnMapping) -> object:
    return mapping.value if mapping.column is None else _at(line, mapping.column)


def _name_in(line: Mapping[str, object], path: str) -> str:
    """The name at the top of the line under which a path lies."""
    return path if path in line else path.partition(".")[0]


def _at(line: Mapping[str, object], path: str) -> object:
    """The value at a path; a name with points in it comes first."""
    return line[path] if path in line else dig(line, path)


def _text(value: object) -> str:
    """The value as the cell that a table would have for it."""
    if isinstance(value, Decimal) and abs(value.adjusted()) < _MAX_DIGITS:
        return plain(value)
    return "" if isinstance(value, (dict, list)) else str(value)


def _json(value: object, depth: int = MAX_JSON_DEPTH) -> object:
    """The value as JSON commonly has it: what is exact for amounts is a float in the metadata.

    Whatever lies deeper than metadata may be is left as it is, to be refused.
    """
    if isinstance(value, Decimal):
        return float(value)
    if depth and isinstance(value, Mapping):
        return {name: _json(item, depth - 1) for name, item in value.items()}
    return [_json(item, depth - 1) for item in value] if depth and isinstance(value, list) else value


def _refused(constant: str) -> NoReturn:
    raise ValueError(constant)
