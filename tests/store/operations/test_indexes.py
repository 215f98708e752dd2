"""Indexes: each start creates those that are missing, and drops those that a later version replaced."""

from __future__ import annotations

import asyncio

import pytest

from app.resources import Resources
from app.store.operations.indexes import FORMER_INDEXES, INDEXES, ensure_indexes

OLD_KEYS = (
    ("pend", "pass", "occurred_at", "_id"),
    ("workspace", "pend", "pass", "occurred_at", "_id"),
)


@pytest.mark.unused_database
async def test_several_processes_create_the_indexes_at_once(resources: Resources) -> None:
    await asyncio.gather(*(ensure_indexes(resources.db) for _ in range(4)))
    required = {str(model.document["name"]) for model in INDEXES["events"]}
    assert set(await resources.db["events"].index_information()) == {"_id_", *required}


@pytest.mark.unused_database
async def test_replaced_indexes_are_dropped_although_several_processes_start_at_once(resources: Resources) -> None:
    events = resources.db["events"]
    created = [
        await events.create_index([(name, 1) for name in names], partialFilterExpression={"pend": {"$gte": 0}})
        for names in OLD_KEYS
    ]
    ranked = {"merge": {"$gte": 0}}
    created.append(await events.create_index(["workspace", "merge"], unique=True, partialFilterExpression=ranked))
    assert set(created) == FORMER_INDEXES["events"]
    await asyncio.gather(*(ensure_indexes(resources.db) for _ in range(4)))
    await ensure_indexes(resources.db)
    required = {str(model.document["name"]) for model in INDEXES["events"]}
    assert set(await events.index_information()) == {"_id_", *required}
