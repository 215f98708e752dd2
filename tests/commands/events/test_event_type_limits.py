"""Definitions of event types, and the values that they check, are bounded for each workspace and each call."""

from __future__ import annotations

import pytest

from app.commands.events.event_types import archive_event_type, define_event_type, update_event_type
from app.domain.errors import Code, Refused
from app.domain.events.receipts import RecordStatus
from tests.business import Business
from tests.processor_time import spending_at_most


def enum(name: str, size: int) -> dict[str, object]:
    return {"name": name, "type": "ENUM", "allowedValues": [f"{n:03}" + "x" * size for n in range(200)]}


async def test_archived_types_count_towards_the_limit(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.commands.events.event_types.MAX_DEFINED", 2)
    for key in ("one", "two"):
        await define_event_type(business.ctx, key, key)
        await archive_event_type(business.ctx, key)
    with pytest.raises(Refused) as refused:
        await define_event_type(business.ctx, "three", "three")
    assert [(p.code, p.field) for p in refused.value.problems] == [(Code.LIMIT, ("key",))]
    assert not (await define_event_type(business.ctx, "two", "two")).archived
    await update_event_type(business.ctx, "purchase", label="Sale")


async def test_definitions_are_bounded_one_by_one_and_together(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused):
        await define_event_type(business.ctx, "large", "Large", attributes=[enum("a", 200), enum("b", 200)])
    monkeypatch.setattr("app.domain.events.event_types.MAX_DEFINITIONS_BYTES", 50_000)
    await define_event_type(business.ctx, "one", "One", attributes=[enum("a", 200)])
    with pytest.raises(Refused) as refused:
        await define_event_type(business.ctx, "two", "Two", attributes=[enum("a", 200)])
    assert refused.value.problems[0].code is Code.LIMIT
    await archive_event_type(business.ctx, "one")


async def test_every_element_of_a_list_counts_towards_the_values_of_an_event(business: Business) -> None:
    await define_event_type(
        business.ctx, "tasting", "Tasting", attributes=[{"name": "wines", "type": "TEXT", "list": True}]
    )
    outcome = await business.record({"type": "tasting", "metadata": {"wines": ["x"] * 5_001}})
    [result] = outcome.results
    assert (result.status, [p.code for p in result.problems]) == (RecordStatus.REJECTED, [Code.LIMIT])


async def test_enums_with_many_values_are_checked_in_little_time(business: Business) -> None:
    await define_event_type(business.ctx, "tasting", "Tasting", attributes=[{**enum("wines", 3), "list": True}])
    last = "199xxx"
    items = [{"type": "tasting", "metadata": {"wines": [last] * 900}} for _ in range(20)]
    with spending_at_most(1):
        outcome = await business.record(*items, dry_run=True)
    assert {result.status for result in outcome.results} == {RecordStatus.CREATED}
