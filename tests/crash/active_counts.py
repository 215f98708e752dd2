"""Stored numbers of active customers after a crash run: they must equal a count of the passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from app.domain.rollups.active_periods import first_month, with_years
from app.store.mongo.queries import Database, Doc

Numbers = Mapping[str, tuple[int, int]]
"""Numbers of active and of new passes, by the id of the document that stores them."""


async def check_active_counts(db: Database) -> list[str]:
    """Return how the stored numbers of months and years differ from the passes. Call it when no work is left.

    A number that is missing or was not counted is a problem, too: no worker will look at it.
    """
    cards = await db["passes"].find({"created_at": {"$exists": True}}, {"workspace": 1, "active": 1}).to_list(None)
    docs = await db["active_counts"].find({}).to_list(None)
    expected = _count(cards)
    stored = {doc["_id"]: None if "dirty" in doc else (doc["active"], doc["new"]) for doc in docs}
    return [
        f"active and new passes of {each}: {stored.get(each)} are stored, {expected.get(each, (0, 0))} are counted"
        for each in sorted({*stored, *expected})
        if stored.get(each) != expected.get(each, (0, 0))
    ]


def _count(cards: list[Doc]) -> Numbers:
    """Return the numbers by which passes say that they were active. Neither aliases nor erased passes count."""
    active, new = Counter[str](), Counter[str]()
    for card in cards:
        periods = card.get("active", ())
        active.update(f"{card['workspace']}|{each}" for each in periods)
        first = first_month(periods)
        new.update(f"{card['workspace']}|{each}" for each in with_years([] if first is None else [first]))
    return {each: (number, new[each]) for each, number in active.items()}
