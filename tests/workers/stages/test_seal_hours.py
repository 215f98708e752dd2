"""The content of an hour is the same whether its events are read, or the store adds them up in parts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from app.commands.events.event_types import update_event_type
from app.domain.rollups.building import Content
from app.domain.rollups.dimensions import Incomplete
from app.domain.values.instants import to_ms
from app.store.stages import hours
from tests.business import Business

START = datetime(2025, 3, 14, 12, tzinfo=UTC)
ATTRIBUTES: Mapping[str, object] = {"name": "city", "type": "TEXT", "dimension": True}


async def give_way() -> None:
    """Return at once."""


async def read_hour(business: Business, *, is_urgent: bool = False) -> tuple[Content, Incomplete] | None:
    """Return the content of the hour that begins at `START`."""
    queries, workspace_id = business.worker.seal_queries, business.ctx.workspace.id
    dimensions = await queries.dimensions(workspace_id)
    return await queries.read_hour(workspace_id, to_ms(START), None if is_urgent else give_way, dimensions)


@pytest.mark.parametrize("part_size", [3, 20])
async def test_content_of_a_large_hour_equals_that_of_its_events(
    business: Business, monkeypatch: pytest.MonkeyPatch, part_size: int
) -> None:
    random = Random(part_size)
    await update_event_type(business.ctx, "purchase", attributes=[ATTRIBUTES])

    def sale(number: int) -> dict[str, Any]:
        amounts = {"USD": ("0.01", "12.30", "999999.999999"), "JPY": ("3", "40")}
        currency, event_type = (
            random.choice(("USD", "JPY", "USD")),
            random.choice(("purchase", "purchase", "refund", "visit")),
        )
        city = random.choice(("Bonn", "Köln", None))
        # Some have one instant, and some lie outside of the hour.
        minutes = random.choice((7, 7, random.randrange(-10, 70)))
        spent = {"amount": random.choice(amounts[currency]), "currency": currency} if event_type != "visit" else {}
        return {
            "external_id": f"e{number}",
            "pass_external_id": f"p{number % 3}",
            "type": event_type,
            "points": random.choice((0, 3, -2)),
            "source": random.choice(("till", "web")),
            "occurred_at": START + timedelta(minutes=minutes),
            "metadata": {} if city is None else {"city": city},
            **spent,
        }

    outcome = await business.record(*map(sale, range(80)))
    assert {result.status.value for result in outcome.results} == {"CREATED"}
    await business.run_worker()
    db = business.ctx.resources.db
    names = {"external_id": {"$in": ["e1", "e2"]}}
    await db["events"].update_many(names, {"$set": {"pend": -3}})
    await db["events"].update_one({"external_id": "e3"}, {"$set": {"outcome": {"status": "DECLINED"}}})
    whole = await read_hour(business)
    assert whole is not None
    monkeypatch.setattr(hours, "SCAN_BATCH_SIZE", 2)
    monkeypatch.setattr(hours, "PART_SIZE", part_size)
    in_parts = await read_hour(business)
    assert in_parts is not None
    urgent = await read_hour(business, is_urgent=True)
    assert urgent is not None
    assert (urgent[0], urgent[1].kinds) == (whole[0], whole[1].kinds)
    assert (in_parts[0], in_parts[1].kinds) == (whole[0], whole[1].kinds)
    assert len(whole[0]) > 3, "there are rows of dimensions, too"
    # One event that is pending again, of each kind of type, keeps the hour from being sealed.
    inside = {"occurred_at": {"$gte": START, "$lt": START + timedelta(hours=1)}, "pend": {"$exists": False}}
    for event_type in ("purchase", "refund"):
        doc = await db["events"].find_one({**inside, "type": event_type})
        assert doc is not None
        await db["events"].update_one({"_id": doc["_id"]}, {"$set": {"pend": 5}})
        assert await read_hour(business) is None
        assert await read_hour(business, is_urgent=True) is None
        await db["events"].update_one({"_id": doc["_id"]}, {"$unset": {"pend": ""}})
    assert await read_hour(business) == in_parts
