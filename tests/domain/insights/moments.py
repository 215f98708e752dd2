"""Random moments for the tests of questions about customers."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from random import Random

from app.domain.events.events import Category
from app.domain.insights.moments import Moment
from app.domain.values.instants import DAY_MS, to_ms

START_MS = to_ms(datetime(2025, 1, 1, tzinfo=UTC))
TYPES = {
    "purchase": Category.TRANSACTION,
    "refund": Category.TRANSACTION,
    "visit": Category.ACTIVITY,
    "point_add": Category.CUSTOM,
    "checkout_increased": Category.TRANSACTION,
}
MADE = {"point_add", "checkout_increased"}


def moment(pass_id: str, at_ms: int, kind: str = "purchase", amount: str | None = None, number: int = 0) -> Moment:
    """Return the moment of an event in EUR."""
    return Moment(
        pass_id,
        at_ms,
        0,
        id=f"event_{number}",
        type=kind,
        category=TYPES[kind],
        currency=None if amount is None else "EUR",
        amount=None if amount is None else Decimal(amount),
        made=kind in MADE,
    )


def random_moments(random: Random, count: int, days: int, customers: int = 8) -> list[Moment]:
    """Return moments of several customers in no order, some at the same instant and some in another currency."""
    found = []
    for number in range(count):
        kind = random.choice(list(TYPES))
        at_ms = START_MS + random.randrange(days * 24) * DAY_MS // 24
        amount = str(random.randrange(1, 500)) if TYPES[kind] is Category.TRANSACTION else None
        event = moment(f"pass_{random.randrange(customers)}", at_ms, kind, amount, number=number)
        found.append(event._replace(currency="USD") if amount is not None and random.random() < 0.2 else event)
    return found
