"""Imports: the plan by which the rows of a table become events, and each row as an event.

A row is identified by its position: where no column gives an external id, the row's number (from 1, blank rows not
counted) is it, within the source. Everything that is not mapped goes to the metadata under the column's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from zoneinfo import ZoneInfo

from .cells import DateOrder, date_order_of, parse_cell_amount, parse_cell_instant, parse_cell_type, parse_cell_value
from .columns import FIELDS, ColumnMapping, guessed
from .errors import Code, InvalidInput, Problem, Refused, refuse_if
from .events import EventInput
from .tables import Layout

METADATA = "metadata."
REQUIRED = ("passExternalId", "type")
NEVER_BLANK = (*REQUIRED, "occurredAt", "externalId")
"""Fields that every row has where they are mapped: what would stand in for them is never what was meant."""
MAX_SOURCE = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """How the rows of one file become events: one mapping a field, and how dates and amounts without more are meant."""

    layout: Layout
    mappings: tuple[ColumnMapping, ...]
    source: str
    timezone: str
    currency: str
    date_order: DateOrder | None = None

    def event(self, number: int, cells: Sequence[str]) -> EventInput:
        """The row of this number (from 1) as an input of recordEvents. Raises Refused with every cell at fault."""
        places = {name: place for place, name in enumerate(self.layout.columns)}
        problems: list[Problem] = []
        values: dict[str, object] = {}
        metadata: dict[str, object] = {}
        for mapping in self.mappings:
            name = mapping.field
            text = (mapping.value or "") if mapping.column is None else cells[places[mapping.column]]
            text = text.strip()
            if not text:
                if name in NEVER_BLANK:
                    where = f"Column '{mapping.column}' is blank in this row."
                    problems.append(Problem(Code.REQUIRED, where, (name,)))
            elif name.startswith(METADATA):
                metadata[name.removeprefix(METADATA)] = parse_cell_value(text)
            else:
                try:
                    values |= self._value(name, text, values)
                except Refused as refused:
                    problems.extend(refused.problems)
        refuse_if(problems)
        return EventInput(
            type=values["type"],
            pass_external_id=values["passExternalId"],
            category=values.get("category"),
            amount=values.get("amount"),
            currency=values.get("currency"),
            points=values.get("points"),
            occurred_at=values.get("occurredAt"),
            external_id=values.get("externalId", str(number)),
            source=self.source,
            metadata=metadata or None,
            points_expire_at=values.get("pointsExpireAt"),
            points_expire_after_days=values.get("pointsExpireAfterDays"),
        )

    def _value(self, name: str, text: str, before: Mapping[str, object]) -> dict[str, object]:
        if name in ("occurredAt", "pointsExpireAt"):
            return {name: parse_cell_instant(text, ZoneInfo(self.timezone), self.date_order, name)}
        if name == "amount":
            named = before.get("currency")
            amount, marked = parse_cell_amount(text, str(named or self.currency), name)
            if marked is not None and named not in (None, marked):
                raise InvalidInput(Code.INVALID, f"The amount is in {marked}, the row's currency is {named}.", name)
            return {name: amount, **({} if marked is None else {"currency": marked})}
        if name == "points":
            return {name: parse_cell_amount(text, self.currency, name)[0]}
        if name == "type":
            return {name: parse_cell_type(text)}
        return {name: text.upper() if name in ("currency", "category") else text}


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """What an import was asked to do: by which plan, with or without making passes, and the file's size in bytes."""

    plan: Plan
    create_missing_passes: bool
    size: int


def planned(
    layout: Layout,
    rows: Sequence[Sequence[str]],
    mappings: Sequence[ColumnMapping] | None,
    *,
    source: str,
    timezone: str,
    currency: str,
    date_order: DateOrder | None = None,
) -> Plan:
    """The plan for a file with these first rows: as mapped, or guessed where `mappings` is None.

    The order of ambiguous dates is that of the first rows where they show one. Raises Refused: paths are `columns`,
    index, and field, column or value; or `timezone`.
    """
    try:
        zone = ZoneInfo(timezone).key
    except (ValueError, OSError, KeyError):
        raise InvalidInput(
            Code.UNKNOWN, "No such time zone; use an IANA name such as Europe/Berlin.", "timezone"
        ) from None
    if mappings is None:
        mappings = guessed(layout.columns, rows, currency)
    _check(mappings, layout.columns)
    found = _complete(mappings, layout.columns)
    dates = next((m.column for m in found if m.field == "occurredAt"), None)
    if date_order is None and dates is not None:
        place = layout.columns.index(dates)
        date_order = date_order_of(cells[place] for cells in rows)
    return Plan(layout, found, source, zone, currency, date_order)


def default_source(file_name: str) -> str:
    """The source of a file's events where none is given: the same name, the same source; at most 100 characters."""
    name = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "_", re.split(r"[/\\]", file_name)[-1]).strip() or "file"
    source = f"import:{name}"
    if len(source) <= MAX_SOURCE:
        return source
    return f"{source[: MAX_SOURCE - 17]}~{blake2b(name.encode(), digest_size=8).hexdigest()}"


def _check(mappings: Sequence[ColumnMapping], columns: Sequence[str]) -> None:
    problems = []
    seen: set[str] = set()
    for index, mapping in enumerate(mappings):
        at = ("columns", str(index))
        if mapping.field not in FIELDS and not _is_metadata(mapping.field):
            says = f"One of {', '.join(FIELDS)} or metadata.<name>; names have no points and do not begin with '$'."
            problems.append(Problem(Code.UNKNOWN, says, (*at, "field")))
        elif mapping.field in seen:
            problems.append(Problem(Code.TAKEN, "Another mapping has this field.", (*at, "field")))
        seen.add(mapping.field)
        if (mapping.column is None) == (mapping.value is None):
            code = Code.REQUIRED if mapping.column is None else Code.INVALID
            problems.append(Problem(code, "Give either a column or a value.", (*at, "column")))
        elif mapping.column is not None and mapping.column not in columns:
            problems.append(
                Problem(Code.UNKNOWN, f"No such column. There are: {', '.join(columns[:20])}.", (*at, "column"))
            )
        elif mapping.value is not None and not mapping.value.strip():
            problems.append(Problem(Code.REQUIRED, "The value is blank.", (*at, "value")))
    problems += [
        Problem(Code.REQUIRED, f"Say which column or value is {field}.", ("columns",))
        for field in REQUIRED
        if field not in seen
    ]
    refuse_if(problems)


def _is_metadata(field: str) -> bool:
    name = field.removeprefix(METADATA)
    return name != field and bool(name) and name[0] != "$" and "." not in name and name.isprintable()


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
