"""Imports: which column of a table is what, guessed from names and first rows or as told, and a row as an event.

A row is identified by its position: where no column gives an external id, the row's number (from 1, blank rows not
counted) is it, within the source. Everything that is not mapped goes to the metadata under the column's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from zoneinfo import ZoneInfo

from .cells import DateOrder, date_order_of, parse_cell_amount, parse_cell_instant, parse_cell_type, parse_cell_value
from .errors import Code, InvalidInput, Problem, Refused, refuse_if
from .events import Category, EventInput, parse_currency, parse_type
from .tables import Layout
from .texts import MAX_NAME

FIELDS = ("passExternalId", "type", "occurredAt", "amount", "currency", "points", "category", "externalId")
METADATA = "metadata."
REQUIRED = ("passExternalId", "type")
NEVER_BLANK = (*REQUIRED, "occurredAt", "externalId")
"""Fields that every row has where they are mapped: what would stand in for them is never what was meant."""
MAX_SOURCE = 100
_ZONE = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Where a field comes from: a column of the file, or the same value in every row."""

    field: str
    column: str | None = None
    value: str | None = None


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
        )

    def _value(self, name: str, text: str, before: Mapping[str, object]) -> dict[str, object]:
        if name == "occurredAt":
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


def guessed(
    columns: Sequence[str], rows: Sequence[Sequence[str]], currency: str, given: Sequence[ColumnMapping] = ()
) -> tuple[ColumnMapping, ...]:
    """What the columns of a file most likely mean, by their names and their first rows; what is `given` stands.

    Each field takes the first column whose name and cells fit: half of the cells where the name is a usual one, nine of
    ten where it only contains such a word. `type` is "purchase" where there is an amount, else
    "visit". Raises InvalidInput where no column names the customer.
    """
    names = {_plain(column): column for column in reversed(columns)}
    cells = {column: [row[place].strip() for row in rows if row[place].strip()] for place, column in enumerate(columns)}
    told = {mapping.field: mapping for mapping in given}
    taken: dict[str, str] = {}

    def take(field: str, exact: str, containing: str, fits: Callable[[list[str], float], bool]) -> None:
        words = containing.split()
        candidates = {names[name]: 0.5 for name in exact.split() if name in names}
        for column in columns:
            if any(word in f"_{_plain(column)}_" for word in words) and not _OTHER.search(_plain(column)):
                candidates.setdefault(column, 0.9)
        used = {*taken.values(), *(mapping.column for mapping in given)}
        for column, share in candidates.items():
            if field not in told and column not in used and fits(cells[column], share):
                taken[field] = column
                return

    def figures(found: list[str], share: float) -> bool:
        return _share(found, lambda text: _is_amount(text, currency)) >= share

    take("currency", "currency currency_code", "currency", lambda found, _: all(map(_is_currency, found)))
    take("passExternalId", _PASS, _PASS_WORDS, lambda found, _: all(len(text) <= MAX_NAME for text in found))
    take("occurredAt", _DATE, "date time timestamp _at_", lambda found, share: _share(found, _is_date) >= share)
    take("amount", _AMOUNT, _AMOUNT_WORDS, figures)
    take("points", "points points_earned", "", figures)
    take("category", "category", "", lambda found, _: bool(found) and {text.upper() for text in found} <= {*Category})
    take("type", _TYPE, "", lambda found, _: 0 < len(set(found)) <= 50 and all(map(_is_type, found)))
    take("externalId", _EXTERNAL, "", lambda found, _: 1 < len(rows) == len(found) == len(set(found)))
    if "passExternalId" not in told.keys() | taken.keys():
        shown = ", ".join(columns[:20])
        message = f"No column looks like the customer's id; say which one is passExternalId. There are: {shown}."
        if len(columns) > 1 and all(
            _is_date(column) or _is_amount(column, currency) or not column.strip() for column in columns[1:]
        ):
            message = f"The first row has to name the columns; it reads: {shown}."
        raise InvalidInput(Code.REQUIRED, message, "columns")
    found = {field: ColumnMapping(field, column) for field, column in taken.items()} | told
    if "type" not in found:
        found["type"] = ColumnMapping("type", None, "purchase" if "amount" in found else "visit")
    return tuple(found.values())


_PASS = """pass_external_id passexternalid customer_id customerid customer user_id userid user member_id memberid member
    card_id card_number card loyalty_id client_id clientid client account_id account subscriber_id guest_id visitor_id
    contact_id person_id shopper_id buyer_id household_id pass_id email email_address customer_email phone phone_number"""
_PASS_WORDS = "customer cust member user client card guest subscriber shopper buyer visitor household account email"
_DATE = """occurred_at occurredat date timestamp time when datetime date_time purchase_date order_date transaction_date
    invoice_date event_time event_date created_at purchased_at ordered_at created day"""
_AMOUNT = """amount dollar_value total total_amount order_total transaction_amount purchase_amount order_value revenue
    price value spend spent sales net_amount gross_amount paid"""
_AMOUNT_WORDS = "amount total revenue price spend sales dollar"
_TYPE = "type event_type eventtype event event_name action activity"
_EXTERNAL = """external_id externalid order_id orderid transaction_id transactionid event_id eventid order_number
    order_no invoice_id invoice_number invoice_no invoice receipt_id receipt_number receipt id"""


_OTHER = re.compile("birth|expir|due_date|valid_until|updated|deleted|modified|quantity|number_of|discount|tax|balance")
"""Names of dates and figures that say something else than when it happened or what was spent."""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")


def _share(texts: Sequence[str], fits: Callable[[str], bool]) -> float:
    """Which part of the first texts fits: some bad rows must not hide what a column is."""
    some = texts[:500]
    return sum(map(fits, some)) / len(some) if some else 0.0


def _is_date(text: str) -> bool:
    return _accepted(lambda: parse_cell_instant(text, _ZONE, DateOrder.DMY))


def _is_amount(text: str, currency: str) -> bool:
    return _accepted(lambda: parse_cell_amount(text, currency))


def _is_currency(text: str) -> bool:
    return _accepted(lambda: parse_currency(text.upper()))


def _is_type(text: str) -> bool:
    return _accepted(lambda: parse_type(parse_cell_type(text)))


def _accepted(parse: Callable[[], object]) -> bool:
    try:
        parse()
    except Refused:
        return False
    return True


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
