"""Plans of imports: how the rows of a file become events, whatever the file is made of.

A row is identified by its position: where nothing in it is an external id, the row's number (from 1, blank rows not
counted) is it, within the source.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from zoneinfo import ZoneInfo

from app.domain.errors import Code, InvalidInput, Problem, refuse_if
from app.domain.events.events import EventInput

from .columns import ATTRIBUTES, FIELDS, ColumnMapping
from .csv_values import DateOrder, parse_cell_amount, parse_cell_instant, parse_cell_type
from .row_splitter import Row, Splitter

METADATA = "metadata."
REQUIRED = ("passExternalId", "type")
NEVER_BLANK = (*REQUIRED, "occurredAt", "externalId")
"""Fields that every row has where they are mapped: what would stand in for them is never what was meant."""
MAX_SOURCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan(ABC):
    """How the rows of one file become events: one mapping a field, and how dates and amounts without more are meant."""

    mappings: tuple[ColumnMapping, ...]
    source: str
    timezone: str
    currency: str
    date_order: DateOrder | None = None

    @property
    @abstractmethod
    def begin(self) -> int:
        """Where in the file the first row begins."""

    @abstractmethod
    def splitter(self, position: int) -> Splitter:
        """What cuts the file into rows from a position on."""

    @abstractmethod
    def event(self, number: int, row: Row) -> EventInput:
        """The row of this number (from 1) as an input of recordEvents. Raises Refused with everything at fault."""

    def known_as(self, _row: Row) -> str | None:
        """The id under which the row's event may be in this workspace already, having been exported from it."""
        return None

    def corrects(self, _row: Row) -> tuple[str, str] | None:
        """The (source, external id) of the event that the row's corrects."""
        return None

    def _input(self, number: int, values: Mapping[str, object], metadata: object) -> EventInput:
        source = values.get("source", self.source)
        # A number identifies a row of this file only, so under another source it names the file.
        standing = str(number) if source == self.source else f"{self.source}:{number}"
        given = {ATTRIBUTES[name]: value for name, value in values.items()}
        return EventInput(
            **{
                "external_id": standing,
                **given,
                "source": source,
                "type": values.get("type"),
                "metadata": metadata or None,
            }
        )

    def _read(self, name: str, text: str, before: Mapping[str, object]) -> dict[str, object]:
        """What a text says for a field, by names of fields. Raises InvalidInput."""
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

    plan: ImportPlan
    create_missing_passes: bool
    size: int


def default_source(file_name: str) -> str:
    """The source of a file's events where none is given: the same name, the same source; at most 100 characters."""
    name = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "_", re.split(r"[/\\]", file_name)[-1]).strip() or "file"
    source = f"import:{name}"
    if len(source) <= MAX_SOURCE:
        return source
    return f"{source[: MAX_SOURCE - 17]}~{blake2b(name.encode(), digest_size=8).hexdigest()}"


def parse_zone(name: str) -> str:
    """The IANA name of a time zone. Raises InvalidInput: UNKNOWN at `timezone`."""
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, KeyError):
        raise InvalidInput(
            Code.UNKNOWN, "No such time zone; use an IANA name such as Europe/Berlin.", "timezone"
        ) from None


def check_mappings(
    mappings: Sequence[ColumnMapping],
    is_there: Callable[[str], bool],
    shown: Sequence[str],
    required: Sequence[str] = REQUIRED,
) -> None:
    """Nothing; raises Refused for mappings that cannot be used. `is_there` knows the columns, `shown` are their names."""
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
        elif not _is_text(mapping.column or mapping.value or ""):
            name = "value" if mapping.column is None else "column"
            problems.append(Problem(Code.INVALID, "Unpaired surrogates are not text.", (*at, name)))
        elif mapping.column is not None and not is_there(mapping.column):
            problems.append(
                Problem(Code.UNKNOWN, f"No such column. There are: {', '.join(shown[:20])}.", (*at, "column"))
            )
        elif mapping.value is not None and not mapping.value.strip():
            problems.append(Problem(Code.REQUIRED, "The value is blank.", (*at, "value")))
    problems += [
        Problem(Code.REQUIRED, f"Say which column or value is {field}.", ("columns",))
        for field in required
        if field not in seen
    ]
    refuse_if(problems)


def _is_text(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _is_metadata(field: str) -> bool:
    name = field.removeprefix(METADATA)
    return name != field and bool(name) and name[0] != "$" and "." not in name and name.isprintable()
