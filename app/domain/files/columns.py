"""Columns: which column of a table is which field of an event, told or guessed from names and first rows."""

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
"""The fields of recordEvents' input that a file may give, by the API's names."""
ATTRIBUTES = {field: re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", field) for field in FIELDS}
"""What each of them is called in EventInput."""
_ZONE = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Where a field comes from: a column of the file, or the same value in every row."""

    field: str
    column: str | None = None
    value: str | None = None


def guess_columns(
    columns: Sequence[str], rows: Sequence[Sequence[str]], currency: str, given: Sequence[ColumnMapping] = ()
) -> tuple[ColumnMapping, ...]:
    """What the columns of a file most likely mean, by their names and their first rows; what is `given` stands.

    Each field takes the first column whose name and cells fit: half of the cells where the name is a usual one, nine of
    ten where it only contains such a word. A file without such names takes the first column of written dates, and as the
    customer an id that comes again. `type` is "purchase" where there is an amount, else "visit".
    Raises InvalidInput where no column names the customer.
    """
    guess = _Guess(columns, rows, given)

    def figures(found: Sequence[str], share: float) -> bool:
        return _share(found, lambda text: _is_amount(text, currency)) >= share

    guess.take("currency", "currency currency_code", "currency", lambda found, _: all(map(_is_currency, found)))
    guess.take("passExternalId", _PASS, _PASS_WORDS, lambda found, _: all(len(text) <= MAX_NAME for text in found))
    guess.take("occurredAt", _DATE, _DATE_WORDS, lambda found, share: _share(found, _is_date) >= share)
    guess.take("occurredAt", "", "_", lambda found, share: _share(found, _is_written_date) >= share)
    guess.take("amount", _AMOUNT, _AMOUNT_WORDS, figures)
    guess.take("points", "points points_earned", "", figures)
    if "points" in guess.found:
        guess.take("pointsExpireAt", "points_expire_at", "", lambda found, _: bool(found) and all(map(_is_date, found)))
        guess.take(
            "pointsExpireAfterDays", "points_expire_after_days", "", lambda found, _: all(map(str.isdigit, found))
        )
    guess.take("category", "category", "", lambda found, _: bool(found) and {x.upper() for x in found} <= {*Category})
    guess.take("type", _TYPE, "", lambda found, _: 0 < len(set(found)) <= 50 and all(map(_is_type, found)))
    guess.take("externalId", _EXTERNAL, "", lambda found, _: 1 < len(rows) == len(found) == len(set(found)))
    guess.take("passExternalId", "id name", _ID_ENDS, lambda found, _: len(set(found)) < len(found) == len(rows))
    if "passExternalId" not in guess.found:
        shown = ", ".join(columns[:20])
        message = f"No column looks like the customer's id; say which one is passExternalId. There are: {shown}."
        if len(columns) > 1 and all(_is_date(column) or _is_amount(column, currency) for column in columns[1:]):
            message = f"The first row has to name the columns; it reads: {shown}."
        raise InvalidInput(Code.REQUIRED, message, "columns")
    if "type" not in guess.found:
        guess.found["type"] = ColumnMapping("type", None, "purchase" if "amount" in guess.found else "visit")
    return tuple(guess.found.values())


class _Guess:
    """The mappings found so far; no column is taken twice."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]], given: Sequence[ColumnMapping]) -> None:
        self.found = {mapping.field: mapping for mapping in given}
        self._names = {column: _plain(column) for column in columns}
        self._cells = {
            column: [row[place].strip() for row in rows if row[place].strip()] for place, column in enumerate(columns)
        }

    def take(self, field: str, exact: str, words: str, fits: Callable[[Sequence[str], float], bool]) -> None:
        """Maps the field to the first column that fits, unless it is mapped: exact names first, then those with ids."""
        if field in self.found:
            return
        exactly = exact.split()
        candidates = [(exactly.index(name), 0.5, column) for column, name in self._names.items() if name in exactly]
        for column, name in self._names.items():
            other = _NOBODY if field == "passExternalId" else _OTHER
            if name not in exactly and any(w in f"_{name}_" for w in words.split()) and not other.search(name):
                candidates.append((len(exactly) + (not _ENDS_IN_ID.search(name)), 0.9, column))
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
"""Names of dates and figures that say something else than when it happened or what was spent."""
_NOBODY = re.compile(
    "agent|segment|since|(^|_)age|birth|country|city|zip|post|status|gender|tier|level|type|count|item|product|sku|stock"
    "|store|shop_|branch|till|order|invoice|transaction|receipt|coupon|campaign|event"
)
"""Names of what customers have or buy, which are not the customer."""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")


def _share(texts: Sequence[str], fits: Callable[[str], bool]) -> float:
    """Which part of the first texts fits: some bad rows must not hide what a column is."""
    some = texts[:500]
    return sum(map(fits, some)) / len(some) if some else 0.0


def _is_date(text: str) -> bool:
    return _accepted(lambda: parse_cell_instant(text, _ZONE, DateOrder.DMY))


def _is_written_date(text: str) -> bool:
    return not text.isdigit() and _is_date(text)


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
