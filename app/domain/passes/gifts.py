"""Gift cards: passes with a balance of money in one currency, which events of two types change.

The balance is the sum of what was added less the sum of what was spent, both exact. So it needs no state of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from app.domain.events.events import GIFT_ADDED, GIFT_SPENT, Event
from app.domain.events.guards import Reason
from app.domain.state.aggregates import Aggregates
from app.domain.values.decimals import ZERO, add, plain, subtract

NOT_A_GIFT_CARD = "NOT_A_GIFT_CARD"
WRONG_CURRENCY = "WRONG_CURRENCY"
INSUFFICIENT_BALANCE = "INSUFFICIENT_BALANCE"


def gift_balance(currency: str, *aggregates: Aggregates) -> Decimal:
    """Return the balance of a gift card in its currency, from the aggregates of its events."""
    total = ZERO
    for rows in aggregates:
        if (added := rows.get((GIFT_ADDED, currency))) is not None:
            total = add(total, added.sum)
        if (spent := rows.get((GIFT_SPENT, currency))) is not None:
            total = subtract(total, spent.sum)
    return total


def why_not_gift(event: Event, currency: str | None, *aggregates: Aggregates) -> Iterator[Reason]:
    """Iterate over the reasons why an event cannot change the balance now; none if it can.

    `currency` is that of the gift card; None for a pass that is none.
    """
    if currency is None:
        yield Reason(NOT_A_GIFT_CARD, "The pass is not a gift card. Create one with createPass and kind GIFT_CARD.")
        return
    if event.currency != currency:
        yield Reason(WRONG_CURRENCY, f"The gift card holds {currency}; this amount is in {event.currency}.")
        return
    balance = gift_balance(currency, *aggregates)
    if event.type == GIFT_SPENT and event.amount is not None and event.amount > balance:
        message = f"The gift card holds {plain(balance)} {currency}; this needs {plain(event.amount)}."
        yield Reason(INSUFFICIENT_BALANCE, message)
