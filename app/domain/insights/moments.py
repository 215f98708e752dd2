"""Moments: what the questions about customers need of an event. They come in any order and in parts.

A moment is an activity of the customer if its type is asked for, or if no types are asked for and no walk made the event.
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import NamedTuple

from app.domain.events.events import Category
from app.domain.events.spend import SPEND_CATEGORY, signed
from app.domain.values.decimals import ZERO

MAX_MOMENTS = 200_000
"""Events that one question about customers reads."""


class Moment(NamedTuple):
    """Event that counts, of one customer. `made` says whether a walk made it; `amount` is as recorded."""

    pass_id: str
    at_ms: int
    step: int
    id: str
    type: str
    category: Category
    currency: str | None
    amount: Decimal | None
    made: bool

    @property
    def order(self) -> tuple[int, int, str]:
        """The key by which events follow each other, as the steps of a sequence do in criteria."""
        return self.at_ms, self.step, self.id

    def is_activity(self, types: Collection[str]) -> bool:
        """Return whether the event is an activity of the customer, among those of `types`; empty means all types."""
        return self.type in types if types else not self.made

    def spend_in(self, currency: str) -> Decimal:
        """Return what the event adds to the spend in a currency: negative for refunds, 0 for other events."""
        if self.category is not SPEND_CATEGORY or self.currency != currency or self.amount is None:
            return ZERO
        return signed(self.type, self.amount)
