"""Indexes: each start creates those that are missing."""

from __future__ import annotations

import asyncio

import pytest

from app.resources import Resources
from app.store.operations.indexes import INDEXES, ensure_indexes


@pytest.mark.unused_database
async def test_several_processes_create_the_indexes_at_once(resources: Resources) -> None:
    await asyncio.gather(*(ensure_indexes(resources.db) for _ in range(4)))
    required = {str(model.document["name"]) for model in INDEXES["events"]}
    assert set(await resources.db["events"].index_information()) == {"_id_", *required}
