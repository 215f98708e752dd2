"""Reads with a limit get all their documents in the first answer of the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from app.clock import FixedClock
from app.domain.events.event_queries import EventQuery
from app.domain.ids import SLOTS
from app.domain.values.conditions import Condition, Operator
from app.resources import Resources
from app.store.mongo.paging import PageRequest
from tests.business import Business, open_business
from tests.commands.test_round_trips import CommandCounter

COUNT = 250
"""More than the 101 documents that an answer has if nothing is said."""
READS: dict[str, Callable[[Business], Awaitable[Any]]] = {
    "page by an index": lambda business: business.ctx.workspace.events.page(EventQuery(), PageRequest(COUNT)),
    "page with a condition outside the index": lambda business: business.ctx.workspace.events.page(
        EventQuery(metadata=(Condition("odd", Operator.EQ, 1),)), PageRequest(COUNT)
    ),
    "positions of the log": lambda business: business.ctx.workspace.activities.after(0, COUNT),
    "pending events": lambda business: business.worker.fold_queries.pending(0, SLOTS - 1, None, COUNT),
}


@pytest.mark.parametrize("name", READS)
async def test_read_with_a_limit_asks_for_no_second_batch(resources: Resources, clock: FixedClock, name: str) -> None:
    commands, settings = CommandCounter(), resources.settings
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
        settings.mongodb_uri, tz_aware=True, tzinfo=UTC, event_listeners=[commands]
    )
    business = await open_business(dataclasses.replace(resources, db=client[settings.database]), clock)
    await business.record(*({"metadata": {"odd": 1}} for _ in range(COUNT)))
    if name == "positions of the log":
        await business.run_worker()
    commands.sent.clear()
    found = await READS[name](business)
    assert len(getattr(found, "items", found)) == COUNT
    assert not [each for each in commands.sent if each.startswith("getMore")]
    client.close()
