"""Passes are made once and updated by events."""

from __future__ import annotations

from app.commands.passes.passes import create_passes, update_pass
from app.domain.passes.passes import PassInput
from tests.business import Business, nothing_for, purchases


async def test_a_pass_made_again_with_the_same_input_is_the_same_pass(business: Business) -> None:
    items = [
        PassInput("ann", {"name": "Ann"}),
        PassInput("ann", {"name": "Ann"}),
        PassInput("ann", {"name": "Eve"}),
        PassInput(7),
    ]
    first = await create_passes(business.ctx, items)
    again = await create_passes(business.ctx, items)
    assert [r.status.value for r in first] == ["CREATED", "DUPLICATE", "CONFLICT", "REJECTED"]
    assert [r.status.value for r in again] == ["DUPLICATE", "DUPLICATE", "CONFLICT", "REJECTED"]
    assert first[0].card is not None
    assert again[0].card is not None
    assert first[0].card.id == again[0].card.id


async def test_an_update_shows_at_once_and_is_folded_once(business: Business) -> None:
    gold = await business.segment("gold", {"pass": {"field": "fields.level", "operator": "EQ", "value": "gold"}})
    [card] = await business.join("ann")
    await business.settle()
    shown = await update_pass(business.ctx, card.id, fields={"level": "gold", "age": 7}, status="INACTIVE")
    assert shown.profile.fields == {"level": "gold", "age": 7}
    shown = await update_pass(business.ctx, card.id, fields={"age": None})
    assert shown.profile.fields == {"level": "gold"}
    await business.settle()
    stored = await business.card()
    assert (stored.profile.fields, stored.profile.status) == ({"level": "gold"}, "INACTIVE")
    assert await business.members(gold) == ["ann"]
    assert [a.type for a in await business.feed(pass_id=card.id)] == [
        "customer.created", "customer.updated", "customer.updated", "customer.segment.entered",
    ]  # fmt: skip


async def test_a_new_pass_is_in_segments_of_those_who_never_did_it_from_its_creation(business: Business) -> None:
    none = await business.segment("none", {"not": purchases(1)})
    away = await business.segment("away", nothing_for(60))
    await business.join("ann")
    await business.record({"amount": 1, "pass_external_id": "bob"})
    await business.settle()
    assert await business.members(none) == ["ann"]
    [entered] = await business.feed(segment_ids=[none.id])
    assert (entered.occurred_at, entered.cause["kind"]) == (await business.clock.now(), "PASS_CREATED")
    business.clock.set((await business.clock.now()).replace(month=4))
    await business.settle()
    assert await business.members(away) == ["ann", "bob"]


async def test_field_changes_set_and_add_exactly(business: Business) -> None:
    await business.record(
        {"type": "field_updated", "field_name": "level", "new_value": "gold"},
        {"type": "field_increment", "field_name": "stars", "new_value": "0.1"},
        {"type": "field_increment", "field_name": "stars", "new_value": "0.2"},
        {"type": "field_decrement", "field_name": "stars", "amount": "0.1"},
    )
    await business.settle()
    assert (await business.card()).profile.fields == {"level": "gold", "stars": "0.2"}
