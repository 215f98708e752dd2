"""Data of `punchcard demo`: the guests of three coffee bars, and their visits of four months.

One seed and the instant at which the visits end determine all data.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

SEED = 20
DAYS = 120

NAMES = """Ada Okafor|Ben Lindqvist|Carla Mendes|Dmitri Volkov|Elif Kaya|Farid Haddad|Greta Baumann|Hana Sato|Ivo Marić
Jana Nováková|Kofi Mensah|Lena Vogt|Mateo Ruiz|Nadia Rahman|Oskar Nilsson|Priya Nair|Quentin Dubois|Rosa Conti
Sven Eriksen|Tara Walsh|Umar Siddiqui|Vera Popescu|Wim de Boer|Xenia Papadaki|Yusuf Demir|Zoe Martin|Amara Diallo
Bruno Costa|Chloé Laurent|Daniel Weiss|Emma Fischer|Finn Jansen|Gloria Rossi|Hugo Silva|Ines Moreau|Jonas Keller
Karin Holm|Liam Byrne|Mira Shah|Noah Peters""".replace("\n", "|").split("|")
BARS = ("Harbour", "Market Hall", "Station")
MENU = {
    "espresso": "2.40", "flat white": "3.90", "filter": "3.20", "chai": "4.10", "cinnamon bun": "3.60",
    "banana bread": "3.80", "toastie": "6.50", "beans 250 g": "11.50",
}  # fmt: skip
HABITS = (("daily", 2.6, 0, 8), ("weekly", 7.0, 0, 16), ("lapsed", 5.0, 33, 10), ("new", 4.0, 0, 6))
"""Kinds of guests: name, mean days between visits, days since the last visits, and number of guests."""


@dataclass(frozen=True)
class Guest:
    """Guest with a habit of visiting: the mean days between visits, and the days since the last one."""

    external_id: str
    name: str
    habit: str
    every_days: float
    stopped_days: int


def generate_guests() -> Iterator[Guest]:
    """Yield the guests, always the same ones."""
    names = iter(enumerate(NAMES, 1))
    for habit, every_days, stopped_days, count in HABITS:
        for _ in range(count):
            number, name = next(names)
            yield Guest(
                external_id=f"guest-{number:03}",
                name=name,
                habit=habit,
                every_days=every_days,
                stopped_days=stopped_days,
            )


def generate_events(guests: Sequence[Guest], until: datetime) -> Iterator[dict[str, Any]]:
    """Yield the events of every guest up to an instant.

    Most are purchases, some are check-ins. After ten purchases a guest redeems a free coffee.
    """
    for guest in guests:
        chance = random.Random(f"{SEED}:{guest.external_id}")
        bar = chance.choice(BARS)
        started_days = 21 if guest.habit == "new" else DAYS
        at = until - timedelta(days=started_days - chance.random() * 3)
        number = purchases = 0
        while at <= until - timedelta(days=guest.stopped_days):
            number += 1
            visited_bar = bar if chance.random() < 0.8 else chance.choice(BARS)
            event: dict[str, Any] = {
                "passExternalId": guest.external_id,
                "externalId": f"{guest.external_id}-{number:04}",
                "source": "demo",
                "occurredAt": at.isoformat(timespec="milliseconds"),
                "metadata": {"bar": visited_bar},
            }
            if purchases and purchases % 10 == 0:
                purchases = 0
                yield {
                    **event,
                    # Not `redemption`: an event of that type would occur when it is recorded, not in the past.
                    "externalId": f"{event['externalId']}-coffee",
                    "type": "coffee_redeemed",
                    "points": "-10",
                }
            elif chance.random() < 0.15:
                yield {**event, "type": "check_in"}
            else:
                purchases += 1
                yield {**event, "type": "purchase", **_generate_purchase(chance, visited_bar)}
            at += timedelta(days=max(0.3, chance.expovariate(1 / guest.every_days)))
            at = at.replace(minute=chance.randrange(60)) if at.replace(minute=59) < until else at


def _generate_purchase(chance: random.Random, bar: str) -> dict[str, Any]:
    items = chance.sample(list(MENU), chance.choice((1, 1, 2, 2, 3)))
    total = sum((Decimal(MENU[item]) for item in items), Decimal(0))
    return {"amount": str(total), "points": "1", "metadata": {"bar": bar, "items": ", ".join(items)}}
