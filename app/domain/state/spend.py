"""Spend by currency, from totals of events: those of a pass, or rows of all passes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from app.domain.events.spend import ORDERS, REFUNDS, signed
from app.domain.values.decimals import ZERO, add_exactly, average


@dataclass(frozen=True, slots=True)
class SpendPart:
    """Totals of events of one type and currency that count in spend.

    - `spent`: the sum of the amounts as recorded of those events that are transactions.
    - `count`: the number of events; 0 for events that walks made, which are no orders.
    """

    type: str
    currency: str | None
    spent: Decimal
    count: int
    is_transaction: bool


@dataclass(frozen=True, slots=True)
class SpendRow:
    """Spend in one currency: the amounts of all transactions, that is, of events of the category TRANSACTION.

    `refunded` is the sum of refunds and credits, and `gross` is the sum of all other transactions; a checkout has the total
    that its last correction gave. `net` is `gross` less `refunded`. `orders` is the number of purchases and checkouts, less
    rejects.
    """

    currency: str
    gross: Decimal = ZERO
    refunded: Decimal = ZERO
    net: Decimal = ZERO
    orders: int = 0

    @property
    def average(self) -> Decimal | None:
        """The net spend for each order, rounded half-even to 6 places; None without orders."""
        return average(self.net, self.orders) if self.orders > 0 else None


def sum_spend(parts: Iterable[SpendPart]) -> list[SpendRow]:
    """Return the spend of all parts by currency, sorted by currency. A currency without transactions has no row."""
    by_currency: dict[str, SpendRow] = {}
    for part in parts:
        # Events that are no transactions have nothing spent; free purchases are orders.
        orders = part.count * ORDERS.get(part.type, 0)
        if part.currency is None or not (part.is_transaction or part.spent or orders):
            continue
        before = by_currency.get(part.currency, SpendRow(part.currency))
        amount = signed(part.type, part.spent)
        is_refunded = part.type in REFUNDS
        by_currency[part.currency] = SpendRow(
            part.currency,
            gross=before.gross if is_refunded else add_exactly(before.gross, amount),
            refunded=add_exactly(before.refunded, part.spent) if is_refunded else before.refunded,
            net=add_exactly(before.net, amount),
            orders=before.orders + orders,
        )
    return [by_currency[currency] for currency in sorted(by_currency)]
