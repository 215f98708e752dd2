"""Passes: created once, and updated by internal events."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.commands.passes.passes import create_passes, update_pass
from app.domain.errors import Code
from app.domain.events.receipts import RecordStatus
from app.domain.passes.inputs import PassInput
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
    assert (await business.read_pass()).profile.fields == {"level": "gold", "stars": 0.2}


@pytest.mark.parametrize(
    ("start", "change", "expected"),
    [
        (72.1234567, {"amount": 1}, 73.1234567),
        ("72.1234567", {"amount": 1}, 73.1234567),
        (0.1, {"amount": "0.2"}, 0.3),
        (72.1234567, {"new_value": "0.0000001"}, 72.1234568),
        (None, {"amount": 5}, 5),
        ("007", {"amount": 1}, 8),
        (1, {"type": "field_decrement", "old_value": "2.5", "new_value": "0.25"}, -1.25),
        (2**53, {"amount": 1}, str(2**53 + 1)),
        (0.30000000000000004, {"amount": 100_000}, "100000.30000000000000004"),
        ("100000.30000000000000004", {"type": "field_decrement", "amount": 100_000}, 0.30000000000000004),
    ],
)
async def test_step_is_added_exactly(
    business: Business, start: object, change: dict[str, object], expected: object
) -> None:
    await create_passes(business.ctx, [PassInput("ann", fields={"w": start})])
    await business.record({"type": "field_increment", "field_name": "w", **change})
    await business.run_worker()
    profile = (await business.read_pass()).profile
    assert (profile.fields, profile.problems) == ({"w": expected}, {})
    assert type(profile.fields["w"]) is type(expected)


@pytest.mark.parametrize("start", ["gold", "1,5", "", "1 000", True, [1], {"n": 1}, "1e999"])
async def test_step_never_replaces_a_value_that_is_no_number(business: Business, start: object) -> None:
    await create_passes(business.ctx, [PassInput("ann", fields={"w": start})])
    step = {"type": "field_increment", "field_name": "w", "amount": 1}
    [recorded] = (await business.record(step)).results
    await business.run_worker()
    profile = (await business.read_pass()).profile
    assert recorded.event is not None
    assert (profile.fields, profile.problems) == ({"w": start}, {"w": recorded.event.id})
    for later in ({"type": "field_updated", "field_name": "w", "new_value": "2"}, {**step, "external_id": "b"}):
        business.clock.set(await business.clock.now() + timedelta(minutes=1))
        await business.record(later)
    await business.run_worker()
    profile = (await business.read_pass()).profile
    assert (profile.fields, profile.problems) == ({"w": 3}, {}), "setting the field ends the problem"


async def test_update_of_a_field_ends_its_problem(business: Business) -> None:
    await business.create_passes("ann")
    now = await business.clock.now()
    await business.record({"type": "field_updated", "field_name": "w", "new_value": "gold"})
    business.clock.set(now + timedelta(seconds=1))
    await business.record({"type": "field_increment", "field_name": "w", "amount": 1, "external_id": "step"})
    await business.run_worker()
    ann = await business.read_pass()
    assert list(ann.profile.problems) == ["w"]
    business.clock.set(now + timedelta(minutes=1))
    await update_pass(business.ctx, ann.id, holder=None, fields={"w": 5}, metadata=None, status=None)
    await business.run_worker()
    assert (await business.read_pass()).profile.problems == {}


@pytest.mark.parametrize(
    ("values", "field"),
    [({"new_value": "1,5"}, "amount"), ({"new_value": "5", "old_value": "gold"}, "oldValue"), ({}, "amount")],
)
async def test_step_that_is_no_number_is_rejected(business: Business, values: dict[str, object], field: str) -> None:
    [result] = (await business.record({"type": "field_increment", "field_name": "w", **values})).results
    assert [problem.field for problem in result.problems] == [(field,)]


@pytest.mark.parametrize(
    ("external_id", "character"),
    [
        ("uni\u200b", "U+200B"),
        ("\u202euni", "U+202E"),
        ("u\u00a0ni", "U+00A0"),
        ("u\u2060ni", "U+2060"),
        ("uni\ufeff", "U+FEFF"),
        ("uni\u00ad", "U+00AD"),
        ("uni\u3164", "U+3164"),
        ("uni\ufe0f", "U+FE0F"),
        ("uni\U000e0041", "U+E0041"),
        ("u\u0085ni", "U+0085"),
    ],
)
async def test_new_pass_with_an_invisible_character_in_its_id_is_rejected(
    business: Business, external_id: str, character: str
) -> None:
    """Such an id looks like that of another customer."""
    [result] = await create_passes(business.ctx, [PassInput(external_id)])
    [problem] = result.problems
    assert (result.status, problem.code, problem.field) == (RecordStatus.REJECTED, Code.INVALID, ("externalId",))
    assert character in problem.message
    [recorded] = (await business.record({"pass_external_id": external_id})).results
    [problem] = recorded.problems
    assert (recorded.status, problem.field) == (RecordStatus.REJECTED, ("passExternalId",))
    assert character in problem.message


@pytest.mark.parametrize("external_id", ["uni", "Zoë", "北京 7", "مينا", "a b", "😀", "ａ"])
async def test_new_pass_with_visible_characters_is_created(business: Business, external_id: str) -> None:
    [result] = await create_passes(business.ctx, [PassInput(external_id)])
    assert result.status is RecordStatus.CREATED


async def test_stored_pass_with_an_invisible_character_still_takes_events(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older versions of Punchcard created such passes."""
    with monkeypatch.context() as older:
        older.setattr("app.domain.passes.inputs.check_visible", lambda text, *_field: text)
        await create_passes(business.ctx, [PassInput("uni\u200b")])
    [recorded] = (await business.record({"pass_external_id": "uni\u200b"})).results
    assert recorded.status is RecordStatus.CREATED
