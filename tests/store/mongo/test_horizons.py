"""Reads of what comes first by an instant: they find all in order, and examine few more documents than they return."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from app.resources import Resources
from app.store.mongo.horizons import Horizon, read_soonest
from tests.backlogs import ExaminedCollection

LIMIT = 20


def instants(seed: int) -> list[int]:
    """Return 400 instants of a backlog: dense and sparse times, and many documents of one instant."""
    chance = Random(seed)
    found: list[int] = []
    at = 1_000
    while len(found) < 400:
        at += chance.choice((0, 1, 1, 5, 900, 40_000))
        found += [at] * chance.choice((1, 1, 1, 3))
    return found[:400]


@pytest.mark.parametrize("seed", range(4))
async def test_reads_empty_a_backlog_in_order_and_examine_all_of_it_once(resources: Resources, seed: int) -> None:
    collection, times = resources.db["waiting"], instants(seed)
    await collection.insert_many([{"_id": number, "due": at, "kind": 1} for number, at in enumerate(times)])
    examined: Any = ExaminedCollection(collection)
    horizon, read, end_ms = Horizon(), list[int](), times[-1]
    while True:
        docs, horizon = await read_soonest(
            examined,
            {"kind": 1},
            "due",
            {"due": 1},
            limit=LIMIT,
            horizon=horizon,
            end_ms=end_ms,
        )
        if not docs:
            break
        horizon = horizon.after([doc["due"] for doc in docs], LIMIT, end_ms)
        read += [doc["due"] for doc in docs]
        await collection.delete_many({"_id": {"$in": [doc["_id"] for doc in docs]}})
    assert read == times
    assert examined.examined[0] == 400
    assert sum(examined.examined[1:]) <= 4 * 400


async def test_read_ends_at_the_end_and_keeps_the_order_within_an_instant(resources: Resources) -> None:
    collection = resources.db["waiting"]
    await collection.insert_many([{"due": 5 + (number == 9), "pos": 9 - number} for number in range(10)])
    docs, horizon = await read_soonest(
        collection, {}, "due", None, limit=LIMIT, horizon=Horizon(), end_ms=5, then=("pos",)
    )  # fmt: skip
    assert [doc["pos"] for doc in docs] == list(range(1, 10))
    assert horizon.until_ms is None
