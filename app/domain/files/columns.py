"""Columns: the mapping from columns of a table to event fields, and its guess from column names and first rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from app.domain.errors import Code, InvalidInput, Refused
from app.domain.events.events import Category, parse_type
from app.domain.values.currencies import parse_currency
from app.domain.values.text import MAX_NAME

from .csv_values import DateOrder, parse_cell_amount, parse_cell_instant, parse_cell_type

FIELDS = (
    "passExternalId", "type", "occurredAt", "amount", "currency", "points", "category", "externalId", "pointsExpireAt",
    "pointsExpireAfterDays", "label", "source", "fieldName", "oldValue", "newValue", "staff",
)  # fmt: skip
"""The fields of `RecordEventInput` that a file may give."""
ATTRIBUTES = {field: re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", field) for field in FIELDS}
"""The name of each field in EventInput."""
_ZONE = ZoneInfo("UTC")
"""The time zone of guesses, which only ask whether a text is a date."""


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The source of a field: a column of the file, or one value for all rows."""

    field: str
    column: str | None = None
    value: str | None = None


def guess_columns(
    columns: Sequence[str], rows: Sequence[Sequence[str]], currency: str, given: Sequence[ColumnMapping] = ()
) -> tuple[ColumnMapping, ...]:
    """Guess the mapping of columns to fields from column names and first rows. Mappings in `given` stay unchanged.

    A field gets the first column whose name and cells fit:

    - dates and amounts: half of the cells under a usual name; nine of ten if the name only contains a usual word;
    - other fields: all cells.

    If no date column has a usual name, `occurredAt` gets the first column of written dates. If no customer column has
    one, `passExternalId` gets a column of ids in which an id is repeated. Without a type column, the type is "purchase"
    in a file with amounts, else "visit". Raises InvalidInput if no column names the customer.
    """
    guess = _Guess(columns, rows, given)

    def are_amounts(cells: Sequence[str], share: float) -> bool:
        return _share(cells, lambda text: _is_amount(text, currency)) >= share

    guess.take("currency", "currency currency_code", "currency", lambda cells, _: all(map(_is_currency, cells)))
    guess.take("passExternalId", _PASS, _PASS_WORDS, lambda cells, _: all(len(text) <= MAX_NAME for text in cells))
    guess.take("occurredAt", _DATE, _DATE_WORDS, lambda cells, share: _share(cells, _is_date) >= share)
    guess.take("occurredAt", "", "_", lambda cells, share: _share(cells, _is_written_date) >= share)
    guess.take("amount", _AMOUNT, _AMOUNT_WORDS, are_amounts)
    guess.take("points", "points points_earned", "", are_amounts)
    if "points" in guess.found:
        guess.take("pointsExpireAt", "points_expire_at", "", lambda cells, _: bool(cells) and all(map(_is_date, cells)))
        guess.take(
            "pointsExpireAfterDays", "points_expire_after_days", "", lambda cells, _: all(map(str.isdigit, cells))
        )
    guess.take("category", "category", "", lambda cells, _: bool(cells) and {x.upper() for x in cells} <= {*Category})
    guess.take("type", _TYPE, "", lambda cells, _: 0 < len(set(cells)) <= 50 and all(map(_is_type, cells)))
    guess.take("externalId", _EXTERNAL, "", lambda cells, _: 1 < len(rows) == len(cells) == len(set(cells)))
    guess.take("passExternalId", "id name", _ID_ENDS, lambda cells, _: len(set(cells)) < len(cells) == len(rows))
    if "passExternalId" not in guess.found:
        names = ", ".join(columns[:20])
        message = f"No column looks like the customer's id; map one to passExternalId. The columns are: {names}."
        if len(columns) > 1 and all(_is_date(column) or _is_amount(column, currency) for column in columns[1:]):
            message = f"The first row has to name the columns; it reads: {names}."
        raise InvalidInput(Code.REQUIRED, message, "columns")
    if "type" not in guess.found:
        guess.found["type"] = ColumnMapping("type", None, "purchase" if "amount" in guess.found else "visit")
    return tuple(guess.found.values())


class _Guess:
    """The mappings found so far. Each column is used once."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]], given: Sequence[ColumnMapping]) -> None:
        self.found = {mapping.field: mapping for mapping in given}
        self._names = {column: _normalize(column) for column in columns}
        self._cells = {
            column: [row[index].strip() for row in rows if row[index].strip()] for index, column in enumerate(columns)
        }

    def take(self, field: str, exact: str, words: str, fits: Callable[[Sequence[str], float], bool]) -> None:
        """Map the field to the first column that fits, unless the field is mapped already.

        The order of columns is:

        1. names in `exact`, in the order of that text;
        2. names that contain one of `words` and end like an id;
        3. other names that contain one of `words`.

        `fits` gets the cells of a column, and the share of cells that must fit.
        """
        if field in self.found:
            return
        usual_names = exact.split()
        candidates = [
            (usual_names.index(name), 0.5, column) for column, name in self._names.items() if name in usual_names
        ]
        for column, name in self._names.items():
            excluded = _NOT_CUSTOMER if field == "passExternalId" else _OTHER
            if name not in usual_names and any(w in f"_{name}_" for w in words.split()) and not excluded.search(name):
                candidates.append((len(usual_names) + (not _ENDS_IN_ID.search(name)), 0.9, column))
        used = {mapping.column for mapping in self.found.values()}
        for _, share, column in sorted(candidates, key=lambda candidate: candidate[0]):
            if column not in used and fits(self._cells[column], share):
                self.found[field] = ColumnMapping(field, column)
                return


_PASS = """pass_external_id passexternalid customer_id customerid customer user_id userid user member_id memberid member
    card_id card_number card loyalty_id client_id clientid client account_id account subscriber_id guest_id visitor_id
    contact_id person_id shopper_id buyer_id household_id pass_id email email_address customer_email phone phone_number"""
_PASS_WORDS = "customer cust_ member user client card guest subscriber shopper buyer visitor household account email"
_DATE = """occurred_at occurredat date timestamp time when datetime date_time purchase_date order_date transaction_date
    invoice_date event_time event_date created_at purchased_at ordered_at created day"""
_DATE_WORDS = "date datum time timestamp _at_ _on_ day"
_AMOUNT = """amount dollar_value total total_amount order_total transaction_amount purchase_amount order_value revenue
    price value spend spent sales net_amount gross_amount paid"""
_AMOUNT_WORDS = "amount total revenue price spend spent sales dollar value paid payment charge cost"
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


def _share(texts: Sequence[str], fits: Callable[[str], bool]) -> float:
    """Return the share of the first 500 texts that fit: some bad rows must not hide the meaning of a column."""
    sample = texts[:500]
    return sum(map(fits, sample)) / len(sample) if sample else 0.0


def _is_date(text: str) -> bool:
    return _is_accepted(lambda: parse_cell_instant(text, _ZONE, DateOrder.DMY))


def _is_written_date(text: str) -> bool:
    return not text.isdigit() and _is_date(text)


def _is_amount(text: str, currency: str) -> bool:
    return _is_accepted(lambda: parse_cell_amount(text, currency))


def _is_currency(text: str) -> bool:
    return _is_accepted(lambda: parse_currency(text.upper()))


def _is_type(text: str) -> bool:
    return _is_accepted(lambda: parse_type(parse_cell_type(text)))


def _is_accepted(parse: Callable[[], object]) -> bool:
    try:
        parse()
    except Refused:
        return False
    return True
