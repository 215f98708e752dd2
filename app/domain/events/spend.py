"""Spend: the money that customers spend, as the sum of amounts of events. All figures of money follow this module.

Spend is the sum of the amounts of all transactions. Each type has a sign there:

- Refunds, credits and `checkout_decreased` subtract.
- `checkout_update` and `checkout_reject` change nothing. An update has the new total of a checkout as its amount, and the
  walk makes `checkout_increased` or `checkout_decreased` for the difference.
- All other types add.

So a correction changes spend by its own type, and a correction of the category ACTIVITY or CUSTOM changes nothing.
(Source: docs/decisions/0038-spend-is-every-transaction.md and 0139-one-table-of-signs.md.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType

from app.domain.values.decimals import ZERO

from .events import (
    CHECKOUT,
    CHECKOUT_DECREASED,
    CHECKOUT_DIFFERENCES,
    CHECKOUT_REJECT,
    CHECKOUT_UPDATE,
    Category,
    Event,
)

SPEND_CATEGORY = Category.TRANSACTION
"""Category whose amounts are spend."""
REFUNDS = frozenset({"refund", "credit"})
"""Types that give money back."""
NET_SIGNS: Mapping[str, int] = MappingProxyType(
    {**dict.fromkeys(sorted(REFUNDS), -1), CHECKOUT_DECREASED: -1, CHECKOUT_UPDATE: 0, CHECKOUT_REJECT: 0}
)
"""Signs of amounts in net sums, by type. All other types have the sign 1."""
GROSS_SIGNS: Mapping[str, int] = MappingProxyType(
    {event_type: sign for event_type, sign in NET_SIGNS.items() if event_type not in REFUNDS}
)
"""Signs of amounts in gross sums, in which refunds and credits add. All other types have the sign 1."""
ORDERS: Mapping[str, int] = MappingProxyType({"purchase": 1, CHECKOUT: 1, CHECKOUT_REJECT: -1})
"""Types that change the number of orders, and by how much."""


def signed(event_type: str, amount: Decimal, *, gross: bool = False) -> Decimal:
    """Return an amount as it counts in net sums of amounts, or in gross ones."""
    sign = (GROSS_SIGNS if gross else NET_SIGNS).get(event_type, 1)
    return amount if sign == 1 else -amount if sign else ZERO


def signed_amount(event: Event, *, gross: bool = False) -> Decimal:
    """Return the amount of an event as it counts in net sums of amounts, or in gross ones; 0 without an amount."""
    return ZERO if event.amount is None else signed(event.type, event.amount, gross=gross)


def summed_types(types: Sequence[str]) -> Sequence[str]:
    """Return the types whose amounts belong to a sum over these types: for checkouts, also those of their differences.

    An empty list stands for all types, and stays empty.
    """
    return (*types, *sorted(CHECKOUT_DIFFERENCES)) if CHECKOUT in types else types


def has_sign(event_type: str) -> bool:
    """Return whether amounts of the type add to sums or subtract from them."""
    return NET_SIGNS.get(event_type) != 0


def is_subtracted(event_type: str) -> bool:
    """Return whether amounts of the type subtract from net sums."""
    return NET_SIGNS.get(event_type) == -1
