"""Passes: created once, and updated by internal events."""

from __future__ import annotations

from app.commands.passes.passes import create_passes, update_pass
from app.domain.passes.passes import PassInput
from tests.business import Business, no_purchase_for, purchases


async def test_repeated_create_pass_with_the_same_input_returns_the_same_pass(business: Business) -> None:
    items = [
        PassInput("ann", {"name": "Ann"}),
        PassInput("ann", {"name": "Ann"}),
        PassInput("ann", {"name": "Eve"}),
        PassInput(7),
    ]
    first = await create_passes(business.ctx, items)
    second = await create_passes(business.ctx, items)
    assert [r.status.value for r in first] == ["CREATED", "DUPLICATE", "CONFLICT", "REJECTED"]
    assert [r.status.value for r in second] == ["DUPLICATE", "DUPLICATE", "CONFLICT", "REJECTED"]
    assert first[0].card is not None
    assert second[0].card is not None
    assert first[0].card.id == second[0].card.id


async def test_update_is_returned_at_once_and_counted_once_by_the_fold(business: Business) -> None:
    gold = await business.create_segment("gold", {"pass": {"field": "fields.level", "operator": "EQ", "value": "gold"}})
    [card] = await business.create_passes("ann")
    await business.run_worker()
    updated = await update_pass(business.ctx, card.id, fields={"level": "gold", "age": 7}, status="INACTIVE")
    assert updated.profile.fields == {"level": "gold", "age": 7}
    updated = await update_pass(business.ctx, card.id, fields={"age": None})
    assert updated.profile.fields == {"level": "gold"}
    await business.run_worker()
    stored = await business.read_pass()
    assert (stored.profile.fields, stored.profile.status) == ({"level": "gold"}, "INACTIVE")
    assert await business.read_members(gold) == ["ann"]
    assert [a.type for a in await business.read_log(pass_id=card.id)] == [
        "customer.created", "customer.updated", "customer.updated", "customer.segment.entered",
    ]  # fmt: skip


async def test_new_pass_is_in_segments_of_passes_without_events_from_its_creation(business: Business) -> None:
    none = await business.create_segment("none", {"not": purchases(1)})
    away = await business.create_segment("away", no_purchase_for(60))
    await business.create_passes("ann")
    await business.record({"amount": 1, "pass_external_id": "bob"})
    await business.run_worker()
    assert await business.read_members(none) == ["ann"]
    [entered] = await business.read_log(segment_ids=[none.id])
    assert (entered.occurred_at, entered.cause["kind"]) == (await business.clock.now(), "PASS_CREATED")
    business.clock.set((await business.clock.now()).replace(month=4))
    await business.run_worker()
    assert await business.read_members(away) == ["ann", "bob"]


async def test_field_changes_set_and_add_exactly(business: Business) -> None:
    await business.record(
        {"type": "field_updated", "field_name": "level", "new_value": "gold"},
        {"type": "field_increment", "field_name": "stars", "new_value": "0.1"},
        {"type": "field_increment", "field_name": "stars", "new_value": "0.2"},
        {"type": "field_decrement", "field_name": "stars", "amount": "0.1"},
    )
    await business.run_worker()
    assert (await business.read_pass()).profile.fields == {"level": "gold", "stars": "0.2"}
