"""Columns: the mapping from columns of a table to event fields, and its guess from column names and first rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.domain.errors import Code, InvalidInput, Refused
from app.domain.events.events import TYPES, Category
from app.domain.events.type_names import parse_type
from app.domain.values.currencies import CURRENCIES
from app.domain.values.text import MAX_NAME

from .csv_numbers import can_be_amount, currency_code
from .csv_values import DateOrder, parse_cell_instant, parse_cell_type

FIELDS = (
    "passExternalId", "type", "occurredAt", "amount", "currency", "points", "category", "externalId", "pointsExpireAt",
    "pointsExpireAfterDays", "label", "source", "fieldName", "oldValue", "newValue", "staff",
)  # fmt: skip
"""The fields of `RecordEventInput` that a file may give."""
ATTRIBUTES = {field: re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", field) for field in FIELDS}
"""The name of each field in EventInput."""
_ZONE = ZoneInfo("UTC")
"""The time zone of guesses, which only ask whether a text is a date."""


class CellKind(StrEnum):
    """What the cells of a column become in the metadata: texts as written, or numbers."""

    TEXT = "TEXT"
    NUMBER = "NUMBER"


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The source of a field: a column of the file, or one value for all rows.

    `kind` is for metadata. Without it, a cell becomes a number only if the number keeps the digits of the cell.
    """

    field: str
    column: str | None = None
    value: str | None = None
    kind: CellKind | None = None


def guess_columns(
    columns: Sequence[str], rows: Sequence[Sequence[str]], currency: str, given: Sequence[ColumnMapping] = ()
) -> tuple[ColumnMapping, ...]:
    """Guess the mapping of columns to fields from column names and first rows. Mappings in `given` stay unchanged.

    A field gets the first of these columns:

    1. a column with a usual name, in half of whose cells the field can be read;
    2. a column with an exact name, such as "date" or "amount", whatever its cells hold: rows that cannot be read fail;
    3. a column whose name contains a usual word, in nine of ten of whose cells the field can be read.

    If no date column has a usual name, `occurredAt` gets the first column of written dates. If no customer column has
    one, `passExternalId` gets a column of ids in which an id is repeated. Without a type column, the type is "purchase"
    in a file with amounts, else "visit". Raises InvalidInput if no column names the customer.
    """
    guess = _Guess(columns, rows, given)

    def are_amounts(cells: Sequence[str], share: float) -> bool:
        return _share(cells, lambda text: can_be_amount(text, currency)) >= share

    guess.take("currency", "currency currency_code", "currency", _are_currencies, any_of="currency currency_code")
    guess.take("passExternalId", _PASS, _PASS_WORDS, _are_names, any_of=_PASS)
    guess.take("occurredAt", _DATE, _DATE_WORDS, _are_dates, any_of=_DATE)
    guess.take("occurredAt", "", "_", lambda cells, share: _share(cells, _is_written_date) >= share)
    guess.take("amount", _AMOUNT, _AMOUNT_WORDS, are_amounts, any_of=_AMOUNT)
    guess.take("points", "points points_earned", "", are_amounts, any_of="points points_earned")
    if "points" in guess.found:
        guess.take("pointsExpireAt", "points_expire_at", "", _are_dates, any_of="points_expire_at")
        guess.take(
            "pointsExpireAfterDays", "points_expire_after_days", "", _are_whole, any_of="points_expire_after_days"
        )
    guess.take("category", "category", "", lambda cells, share: _share(cells, _is_category) >= share)
    guess.take("type", _TYPE, "", _are_types, any_of="event_type eventtype event_name")
    guess.take("externalId", _EXTERNAL, "", lambda cells, _: 1 < len(rows) == len(cells) == len(set(cells)))
    guess.take("passExternalId", "id name", _ID_ENDS, lambda cells, _: len(set(cells)) < len(cells) == len(rows))
    if "passExternalId" not in guess.found:
        names = ", ".join(columns[:20])
        message = f"No column looks like the customer's id; map one to passExternalId. The columns are: {names}."
        if len(columns) > 1 and all(_is_date(column) or can_be_amount(column, currency) for column in columns[1:]):
            message = f"The first row has to name the columns; it reads: {names}."
        raise InvalidInput(Code.REQUIRED, message, "columns")
    if "type" not in guess.found:
        guess.found["type"] = ColumnMapping("type", None, "purchase" if guess.has_amounts else "visit")
    return tuple(guess.found.values())


class _Guess:
    """The mappings found so far. Each column is used once."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]], given: Sequence[ColumnMapping]) -> None:
        self.found = {mapping.field: mapping for mapping in given}
        self._names = {column: _normalize(column) for column in columns}
        self._cells = {
            column: [row[index].strip() for row in rows if row[index].strip()] for index, column in enumerate(columns)
        }

    def take(
        self,
        field: str,
        exact: str,
        words: str,
        fits: Callable[[Sequence[str], float], bool],
        *,
        any_of: str = "",
    ) -> None:
        """Map the field to the first column that fits, unless the field is mapped already.

        The order of columns is:

        1. names in `exact`, in the order of that text;
        2. names in `any_of`, in the order of that text, unless the name is vague and its cells hold no digits;
        3. names that contain one of `words` and end like an id;
        4. other names that contain one of `words`.

        `fits` gets the cells of a column, and the share of cells that must fit. Columns of group 2 need not fit.
        """
        if field in self.found:
            return
        used = {mapping.column for mapping in self.found.values()}
        for share, candidates in (
            (0.5, self._named(field, exact)),
            (None, self._named(field, any_of)),
            (0.9, self._containing(field, exact, words)),
        ):
            for column in candidates:
                cells = self._cells[column]
                is_found = _decides(self._names[column], cells) if share is None else fits(cells, share)
                if column not in used and is_found:
                    self.found[field] = ColumnMapping(field, column)
                    return

    @property
    def has_amounts(self) -> bool:
        """Whether a column of amounts is mapped, and a row has an amount."""
        mapping = self.found.get("amount")
        return mapping is not None and bool(mapping.column is None or self._cells.get(mapping.column))

    def _named(self, field: str, usual_names: str) -> list[str]:
        """Return the columns with one of these names, in the order of the names. "Amount (EUR)" is an amount."""
        ranks = {name: rank for rank, name in enumerate(usual_names.split())}
        names = self._names.items()
        if field == "amount":
            names = {column: _without_currency(name) for column, name in names}.items()
        found = [(ranks[name], column) for column, name in names if name in ranks]
        return [column for _, column in sorted(found, key=lambda each: each[0])]

    def _containing(self, field: str, exact: str, words: str) -> list[str]:
        """Return the columns whose name contains a usual word; those that end like an id first."""
        usual_names = exact.split()
        excluded = _NOT_CUSTOMER if field == "passExternalId" else _OTHER
        found = [
            (not _ENDS_IN_ID.search(name), column)
            for column, name in self._names.items()
            if name not in usual_names and any(w in f"_{name}_" for w in words.split()) and not excluded.search(name)
        ]
        return [column for _, column in sorted(found, key=lambda each: each[0])]


_PASS = """pass pass_external_id passexternalid customer_id customerid customer user_id userid user member_id memberid member
    card_id card_number card loyalty_id client_id clientid client account_id account subscriber_id guest_id visitor_id
    contact_id person_id shopper_id buyer_id household_id pass_id email email_address customer_email phone phone_number"""
_PASS_WORDS = "customer cust_ member user client card guest subscriber shopper buyer visitor household account email"
_DATE = """occurred_at occurredat date timestamp time when datetime date_time purchase_date order_date transaction_date
    invoice_date event_time event_date created_at purchased_at ordered_at created day"""
_DATE_WORDS = "date datum time timestamp _at_ _on_ day"
_AMOUNT = """amount dollar_value total total_amount order_total transaction_amount purchase_amount order_value revenue
    price value spend spent sales net_amount gross_amount paid"""
_AMOUNT_WORDS = "amount total revenue price spend spent sales dollar value paid payment charge cost"
_VAGUE = frozenset("when time day created value paid".split())
"""Usual names that also mean other things. They decide only if half of their cells hold a digit."""
_TYPE = "type event_type eventtype event event_name action activity"
_EXTERNAL = """external_id externalid order_id orderid transaction_id transactionid event_id eventid order_number
    order_no invoice_id invoice_number invoice_no invoice receipt_id receipt_number receipt id"""
_ID_ENDS = "_id_ _no_ _nr_ _number_ _code_ _key_"
_ENDS_IN_ID = re.compile("(^|_)(id|no|nr|number|key|code|uuid|email)$")
_OTHER = re.compile(
    "birth|expir|due_date|valid_until|updated|deleted|modified|since|quantity|number_of|discount|tax|balance|saving"
)
"""Names of columns whose dates and numbers are neither the time of the event nor the amount."""
_NOT_CUSTOMER = re.compile(
    "agent|segment|since|(^|_)age|birth|country|city|zip|post|status|gender|tier|level|type|count|item|product|sku|stock"
    "|store|shop_|branch|till|order|invoice|transaction|receipt|coupon|campaign|event"
)
"""Names of columns about things that customers have or buy, not about the customer."""


def _normalize(name: str) -> str:
    """Return the name in lower case, with words joined by underscores: "customerId" is customer_id."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")


def _without_currency(name: str) -> str:
    """Return the name without a code of a currency at its beginning or end."""
    words = name.split("_")
    if len(words) > 1 and words[-1].upper() in CURRENCIES:
        del words[-1]
    elif len(words) > 1 and words[0].upper() in CURRENCIES:
        del words[0]
    return "_".join(words)


def _share(texts: Sequence[str], fits: Callable[[str], bool]) -> float:
    """Return the share of the first 500 texts that fit: some bad rows must not hide the meaning of a column."""
    sample = texts[:500]
    return sum(map(fits, sample)) / len(sample) if sample else 0.0


def _is_date(text: str) -> bool:
    return _is_accepted(lambda: parse_cell_instant(text, _ZONE, DateOrder.DMY))


def _is_written_date(text: str) -> bool:
    return not text.isdigit() and _is_date(text)


def _is_category(text: str) -> bool:
    return text.upper() in Category.__members__


def _are_dates(cells: Sequence[str], share: float) -> bool:
    return _share(cells, _is_date) >= share


def _are_names(cells: Sequence[str], share: float) -> bool:
    return not cells or _share(cells, lambda text: len(text) <= MAX_NAME) >= share


def _are_whole(cells: Sequence[str], share: float) -> bool:
    return _share(cells, str.isdigit) >= share


def _are_currencies(cells: Sequence[str], share: float) -> bool:
    return _share(cells, lambda text: currency_code(text) in CURRENCIES) >= share


def _are_types(cells: Sequence[str], _share_of_cells: float) -> bool:
    """Return whether cells name event types: one is a built-in type, or all can be types and few are different."""
    names = {parse_cell_type(text) for text in cells}
    return not names.isdisjoint(TYPES) or (0 < len(names) <= 50 and all(map(_is_type, names)))


def _decides(name: str, cells: Sequence[str]) -> bool:
    """Return whether a column with a usual name has the field, although most of its cells cannot be read."""
    return name not in _VAGUE or _share(cells, lambda text: any(map(str.isdigit, text))) >= 0.5


def _is_type(name: str) -> bool:
    return _is_accepted(lambda: parse_type(name))


def _is_accepted(parse: Callable[[], object]) -> bool:
    try:
        parse()
    except Refused:
        return False
    return True
