"""Import plans: how the rows of a file become events, in any file format.

If a row has no external id, its number becomes the external id within the source. Numbers begin at 1 and leave out
blank rows. So if the same file is imported again, its rows are repeats.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from zoneinfo import ZoneInfo

from app.domain.errors import Code, InvalidInput, Problem, refuse_if
from app.domain.events.events import EventInput
from app.domain.values.paths import split_path
from app.domain.values.text import MAX_JSON_DEPTH, MAX_JSON_INTEGER

from .columns import ATTRIBUTES, FIELDS, ColumnMapping
from .csv_numbers import DecimalMark, currency_code, parse_cell_amount, parse_cell_number
from .csv_values import DateOrder, parse_cell_instant, parse_cell_type
from .row_splitter import Row, Splitter

DECLINED = "DECLINED"
"""The `outcome` of an exported event that was declined."""

METADATA = "metadata."
REQUIRED = ("passExternalId", "type")
NEVER_BLANK = (*REQUIRED, "occurredAt", "externalId")
"""Fields that need a value in every row if they are mapped: the default of the server would hide a wrong mapping."""
MAX_SOURCE = 100
"""Characters of a source."""
NOW = "now"
"""The value of occurredAt that says that all events occur when they are recorded."""
NO_INSTANTS_ADVICE = (
    f"Map a column with the time of the events to occurredAt, or the value '{NOW}' if they occur at their import."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan(ABC):
    """The plan of one import: how the rows of the file become events.

    `mappings` has at most one mapping for each field. `source` is the default source. `timezone` is the zone of dates
    without an offset, and `currency` the currency of amounts without one. `date_order` and `decimal_mark` decide about
    ambiguous dates and numbers; None means that such cells are rejected.
    """

    mappings: tuple[ColumnMapping, ...]
    source: str
    timezone: str
    currency: str
    date_order: DateOrder | None = None
    decimal_mark: DecimalMark | None = None

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

    @abstractmethod
    def is_numbered(self, row: Row) -> bool:
        """Return whether the row has no external id of its own, so that its number identifies it."""

    def is_of_rule(self, _row: Row) -> bool:
        """Return whether an export says that a rule made the event. Such a row is left out."""
        return False

    def find_exported_id(self, _row: Row) -> str | None:
        """Return the event id of an exported row, else None. The event may still be stored in this workspace."""
        return None

    def is_declined(self, _row: Row) -> bool:
        """Return whether the row is an exported event that was declined, and so must not be recorded as one that counts."""
        return False

    def find_corrected_identity(self, _row: Row) -> tuple[str, str] | None:
        """Return the (source, external id) of the event that the row corrects, if the row gives them."""
        return None

    @property
    def has_instants(self) -> bool:
        """Whether a column or a value says when the events occur."""
        return any(mapping.field == "occurredAt" for mapping in self.mappings)

    def _build_input(
        self, number: int, values: Mapping[str, object], metadata: object, repeat_metadata: object = None
    ) -> EventInput:
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
                "repeat_metadata": repeat_metadata or None,
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
            amount, currency = parse_cell_amount(text, str(row_currency or self.currency), name, mark=self.decimal_mark)
            if currency is not None and row_currency not in (None, currency):
                message = f"The amount is in {currency}, but the row's currency is {row_currency}; correct one of them."
                raise InvalidInput(Code.INVALID, message, name)
            return {name: amount, **({} if currency is None else {"currency": currency})}
        if name == "points":
            return {name: parse_cell_number(text, name, mark=self.decimal_mark)}
        if name == "type":
            return {name: parse_cell_type(text)}
        if name == "currency":
            return {name: currency_code(text)}
        return {name: text.upper() if name == "category" else text}

    def _parse_metadata_number(self, name: str, text: str) -> int | float:
        """Return a cell of a column whose cells are numbers. Raises InvalidInput."""
        value = parse_cell_number(text, name, mark=self.decimal_mark)
        number = int(value) if value == value.to_integral_value() else float(value)
        if Decimal(repr(number)) != value or abs(number) > MAX_JSON_INTEGER:
            message = f"'{text[:100]}' has more digits than a number keeps; import the column as text, with kind TEXT."
            raise InvalidInput(Code.TOO_LONG, message, name)
        return number


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


def metadata_field(column: str) -> str:
    """Return the field of the metadata that a column without a mapping gets: `metadata.` and its name."""
    name = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "_", column)
    name = ".".join(part.lstrip("$") for part in name.split("."))
    if len(split_path(name)) > MAX_JSON_DEPTH:
        name = name.replace(".", "_")
    return f"{METADATA}{name if split_path(name) else 'column'}"


def former_key(name: str) -> str:
    """Return the key that version 0.1.0 gave to the metadata of a column: by it, a repeat of its events is recognized."""
    return name.replace(".", "_")


def is_now(mapping: ColumnMapping) -> bool:
    """Return whether the mapping says that all events occur when they are recorded."""
    return mapping.field == "occurredAt" and mapping.column is None and (mapping.value or "").strip().lower() == NOW


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
            message = f"Use one of {', '.join(FIELDS)}, or metadata.<name> with a name that does not begin with '$'."
            problems.append(Problem(Code.UNKNOWN, message, (*at, "field")))
        elif mapping.field in mapped:
            problems.append(Problem(Code.TAKEN, "Another mapping has this field; remove one of them.", (*at, "field")))
        mapped.add(mapping.field)
        if mapping.kind is not None and not (_is_metadata(mapping.field) and mapping.column is not None):
            problems.append(
                Problem(Code.UNSUPPORTED, "Only columns of the metadata have a kind; leave it out.", (*at, "kind"))
            )
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
    steps = split_path(name)
    is_path = 0 < len(steps) <= MAX_JSON_DEPTH and not any(step.startswith("$") for step in steps)
    return name != field and is_path and name.isprintable()
