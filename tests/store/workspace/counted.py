"""Stored events of all kinds, near clock changes and on both sides of 1970, with those of them that count."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from app.domain.events.events import (
    CHECKOUT,
    CHECKOUT_DECREASED,
    CHECKOUT_INCREASED,
    PASS_UPDATED,
    RULE_CHANNEL,
    Category,
    Event,
    Origin,
)
from app.domain.events.guards import OutcomeStatus
from app.domain.values.decimals import ZERO
from app.store.codecs.events import to_doc
from tests.business import Business

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut",
    "Africa/Cairo", "America/St_Johns", "Asia/Kathmandu",
)  # fmt: skip
SHIFTS = (
    "2025-03-30T01:00",
    "2025-10-26T01:00",
    "2025-10-05T15:30",
    "2022-09-11T04:00",
    "1969-12-31T23:00",
    "2024-02-29T12:00",
)
"""Instants near clock changes in some of these zones, near the beginning of Unix time, and on a leap day."""
TYPES = (
    "purchase",
    "refund",
    "visit",
    "credit",
    CHECKOUT,
    CHECKOUT_INCREASED,
    CHECKOUT_DECREASED,
    PASS_UPDATED,
    "dues",
)
WITHOUT_AMOUNT = {"visit", PASS_UPDATED}


def random_event(random: Random, number: int) -> Event:
    """Return one event of any type; every tenth was made by a rule."""
    at = datetime.fromisoformat(random.choice(SHIFTS)).replace(tzinfo=UTC)
    at += timedelta(milliseconds=random.randrange(-3 * 86_400_000, 3 * 86_400_000))
    kind = random.choice(TYPES)
    amount = None if kind in WITHOUT_AMOUNT else Decimal(random.choice(("0.01", "12.30", "999999.999999", "3", "0")))
    return Event(
        f"event_{number:04}",
        f"pass_{number % 7}",
        random.choice((Category.TRANSACTION, Category.CUSTOM)),
        type=kind,
        amount=amount,
        currency=None if amount is None else random.choice(("EUR", "USD")),
        points=random.choice((ZERO, Decimal(5), Decimal("-2.5"))),
        source=random.choice(("till", "web")),
        external_id=None,
        metadata={},
        occurred_at=at,
        recorded_at=at,
        origin=Origin(RULE_CHANNEL if random.random() < 0.1 else "API"),
    )


async def store_events(business: Business, count: int, seed: int = 7) -> Sequence[Event]:
    """Store events, some of them pending and some declined, and return those that count."""
    random = Random(seed)
    counted, docs = [], []
    for number in range(count):
        event = random_event(random, number)
        doc = to_doc(event, business.ctx.workspace.id, b"", 1)
        if number % 3:
            del doc["pend"]
        if random.random() < 0.1:
            doc["outcome"] = {"status": OutcomeStatus.DECLINED.value}
        elif event.type != PASS_UPDATED:
            counted.append(event)
        docs.append(doc)
    await business.ctx.resources.db["events"].insert_many(docs)
    return counted
