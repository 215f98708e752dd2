"""Checkouts: transactions that later updates and a reject correct. The walk makes the differences of their totals.

`checkout_update` and `checkout_reject` add nothing to spend themselves. (Source: docs/howto/correct-and-erase.md.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal

from app.domain.errors import Code, InvalidInput, Problem, Refused
from app.domain.values.decimals import ZERO, parse_decimal, plain

from .events import CHECKOUT, CHECKOUT_REJECT, CHECKOUT_UPDATE

TOTALED = frozenset({CHECKOUT, CHECKOUT_UPDATE})
"""Types whose amount is a total, which may be given by the metadata."""
_EXACT = Context(prec=100)


def find_total(event_type: str, metadata: Mapping[str, object], problems: list[Problem]) -> Decimal | None:
    """Return the total that the metadata gives: `total`, else the sum of `items`; None if it gives none.

    An item has an `amount`, or a `price` for each of its `quantity` (1 if left out). Problems are appended to `problems`.
    """
    if event_type not in TOTALED:
        return None
    try:
        if metadata.get("total") is not None:
            return parse_decimal(metadata["total"], "metadata", "total")
        items = metadata.get("items")
        if items is None or items == []:
            return None
        if not isinstance(items, Sequence) or isinstance(items, str):
            raise InvalidInput(
                Code.INVALID, "Give the items as a list of objects, or give a total.", "metadata", "items"
            )
        total = ZERO
        for index, item in enumerate(items):
            total = _EXACT.add(total, _item_amount(item, ("metadata", "items", str(index))))
        # Sums and products must fit into an amount, as totals that are sent do.
        return parse_decimal(plain(total), "metadata", "items")
    except Refused as refused:
        problems.extend(refused.problems)
        return None


def _item_amount(item: object, path: tuple[str, ...]) -> Decimal:
    body = item if isinstance(item, Mapping) else {}
    if body.get("amount") is not None:
        return parse_decimal(body["amount"], *path, "amount")
    if body.get("price") is None:
        raise Refused(Problem(Code.REQUIRED, "Give the item a price, or an amount.", (*path, "price")))
    quantity = Decimal(1) if body.get("quantity") is None else parse_decimal(body["quantity"], *path, "quantity")
    return _EXACT.multiply(parse_decimal(body["price"], *path, "price"), quantity)


def find_checkout_problems(event_type: str, amount: Decimal | None, correction_of: object) -> list[Problem]:
    """Return what an update or a reject of a checkout lacks."""
    problems = []
    if event_type in (CHECKOUT_UPDATE, CHECKOUT_REJECT) and correction_of is None:
        problems.append(Problem(Code.REQUIRED, "Name the checkout that this event corrects.", ("correctionOf",)))
    if event_type == CHECKOUT_UPDATE and amount is None:
        message = "Give the new total as `amount`, or as `total` or `items` of the metadata."
        problems.append(Problem(Code.REQUIRED, message, ("amount",)))
    if event_type == CHECKOUT_REJECT and amount is not None:
        message = "A reject takes back what is left of the checkout; leave the amount out."
        problems.append(Problem(Code.INVALID, message, ("amount",)))
    return problems
