"""Import plans: how the rows of a file become events, in any file format.

If a row has no external id, its number becomes the external id within the source. Numbers begin at 1 and leave out
blank rows. So if the same file is imported again, its rows are repeats.
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
"""Fields that need a value in every row if they are mapped: the default of the server would hide a wrong mapping."""
MAX_SOURCE = 100
"""Characters of a source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan(ABC):
    """The plan of one import: how the rows of the file become events.

    `mappings` has at most one mapping for each field. `source` is the default source. `timezone` is the zone of dates
    without an offset, `currency` the currency of amounts without one, and `date_order` the order of ambiguous dates.
    """

    mappings: tuple[ColumnMapping, ...]
    source: str
    timezone: str
    currency: str
    date_order: DateOrder | None = None

    @property
    @abstractmethod
    def start(self) -> int:
        """The position in the file, in bytes, at which the first row begins."""

    @abstractmethod
    def open_splitter(self, position: int) -> Splitter:
        """Return a splitter that cuts the file into rows, from a position on."""

    @abstractmethod
    def parse_row(self, number: int, row: Row) -> EventInput:
        """Return a row as an input of `recordEvents`. Rows are numbered from 1. Raises Refused with all problems."""

    def find_exported_id(self, _row: Row) -> str | None:
        """Return the event id of an exported row, else None. The event may still be stored in this workspace."""
        return None

    def find_corrected_identity(self, _row: Row) -> tuple[str, str] | None:
        """Return the (source, external id) of the event that the row corrects, if the row gives them."""
        return None

    def _build_input(self, number: int, values: Mapping[str, object], metadata: object) -> EventInput:
        source = values.get("source", self.source)
        # A row number identifies a row within one file. Under a source that files may share, add the name of the file.
        default_id = str(number) if source == self.source else f"{self.source}:{number}"
        fields = {ATTRIBUTES[name]: value for name, value in values.items()}
        return EventInput(
            **{
                "external_id": default_id,
                **fields,
                "source": source,
                "type": values.get("type"),
                "metadata": metadata or None,
            }
        )

    def _parse_field(self, name: str, text: str, parsed: Mapping[str, object]) -> dict[str, object]:
        """Return the values that the text of a field gives, by field. An amount may give its currency too.

        `parsed` are the values of fields before this one. Raises InvalidInput.
        """
        if name in ("occurredAt", "pointsExpireAt"):
            return {name: parse_cell_instant(text, ZoneInfo(self.timezone), self.date_order, name)}
        if name == "amount":
            row_currency = parsed.get("currency")
            amount, currency = parse_cell_amount(text, str(row_currency or self.currency), name)
            if currency is not None and row_currency not in (None, currency):
                message = f"The amount is in {currency}, but the row's currency is {row_currency}; correct one of them."
                raise InvalidInput(Code.INVALID, message, name)
            return {name: amount, **({} if currency is None else {"currency": currency})}
        if name == "points":
            return {name: parse_cell_amount(text, self.currency, name)[0]}
        if name == "type":
            return {name: parse_cell_type(text)}
        return {name: text.upper() if name in ("currency", "category") else text}


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """The order of an import job: the plan, whether missing passes are created, and the size of the file in bytes."""

    plan: ImportPlan
    create_missing_passes: bool
    size: int


def default_source(file_name: str) -> str:
    """Return the default source of a file's events: "import:" and the file name, up to 100 characters.

    The same name always gives the same source. A longer name is cut and ends in a hash of the whole name.
    """
    name = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "_", re.split(r"[/\\]", file_name)[-1]).strip() or "file"
    source = f"import:{name}"
    if len(source) <= MAX_SOURCE:
        return source
    return f"{source[: MAX_SOURCE - 17]}~{blake2b(name.encode(), digest_size=8).hexdigest()}"


def parse_zone(name: str) -> str:
    """Return the IANA name of a time zone. Raises InvalidInput: UNKNOWN at `timezone`."""
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, KeyError):
        raise InvalidInput(
            Code.UNKNOWN, "No such time zone; use an IANA name such as Europe/Berlin.", "timezone"
        ) from None


def check_mappings(
    mappings: Sequence[ColumnMapping],
    has_column: Callable[[str], bool],
    columns: Sequence[str],
    required: Sequence[str] = REQUIRED,
) -> None:
    """Raise Refused for mappings that cannot be used, with all problems.

    `has_column` returns whether the file has a column, and `columns` are the names that a message lists. `required` are
    the fields that need a mapping.
    """
    problems = []
    mapped: set[str] = set()
    for index, mapping in enumerate(mappings):
        at = ("columns", str(index))
        if mapping.field not in FIELDS and not _is_metadata(mapping.field):
            message = f"Use one of {', '.join(FIELDS)}, or metadata.<name> with a name without points and '$'."
            problems.append(Problem(Code.UNKNOWN, message, (*at, "field")))
        elif mapping.field in mapped:
            problems.append(Problem(Code.TAKEN, "Another mapping has this field; remove one of them.", (*at, "field")))
        mapped.add(mapping.field)
        if (mapping.column is None) == (mapping.value is None):
            code = Code.REQUIRED if mapping.column is None else Code.INVALID
            problems.append(Problem(code, "Give either a column or a value.", (*at, "column")))
        elif not _is_text(mapping.column or mapping.value or ""):
            name = "value" if mapping.column is None else "column"
            problems.append(Problem(Code.INVALID, "The text has unpaired surrogates; leave them out.", (*at, name)))
        elif mapping.column is not None and not has_column(mapping.column):
            problems.append(
                Problem(Code.UNKNOWN, f"No such column. There are: {', '.join(columns[:20])}.", (*at, "column"))
            )
        elif mapping.value is not None and not mapping.value.strip():
            problems.append(Problem(Code.REQUIRED, "The value is blank; give a text.", (*at, "value")))
    problems += [
        Problem(Code.REQUIRED, f"Map a column or a value to {field}.", ("columns",))
        for field in required
        if field not in mapped
    ]
    refuse_if(problems)


def _is_text(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _is_metadata(field: str) -> bool:
    name = field.removeprefix(METADATA)
    return name != field and bool(name) and name[0] != "$" and "." not in name and name.isprintable()
