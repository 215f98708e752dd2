"""No workspace delays the others: rounds serve workspaces in turn, and expensive definitions cost their own workspace."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from pymongo.errors import BulkWriteError, DocumentTooLarge

from app.commands.passes.passes import update_pass
from app.commands.segments import create_segment, update_segment
from app.domain.errors import Code, Refused
from app.flow import SLOT_RANGES, bounds_of
from tests.backlogs import OtherBulkWrite
from tests.business import Business, create_business, purchases
from tests.processor_time import spending_at_most
from workers.stages import shares
from workers.stages.backfill import backfill_once
from workers.stages.fold import fold_once
from workers.stages.shares import choose_by_history


def costly_criteria(conditions: int, leaves: int) -> dict[str, object]:
    """Return criteria that hold for no event and compare much."""
    metadata = [{"path": "list", "operator": "NE", "value": f"a{n}"} for n in range(conditions)]
    return {
        "any": [
            {"event": {"types": ["visit"], "operator": "GTE", "value": 1000 + n, "metadata": metadata}}
            for n in range(leaves)
        ]
    }


async def count_pending(business: Business) -> int:
    query = {"workspace": business.ctx.workspace.id, "pend": {"$gte": 0}}
    return await business.ctx.resources.db["events"].count_documents(query)


@pytest.mark.parametrize("seed", range(3))
async def test_event_behind_a_long_backlog_of_another_workspace_is_counted_within_a_round(
    business: Business, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("workers.stages.fold.FOLD_BATCH_SIZE", 8)
    other = await create_business(business.ctx.resources, business.clock, "Other")
    names = [f"p{random.Random(seed).random()}-{n}" for n in range(120)]
    await business.record(*({"amount": 1, "pass_external_id": name} for name in names))
    await other.record(*({"amount": 1, "pass_external_id": name} for name in names[:4]))
    for key in SLOT_RANGES:
        await fold_once(business.worker, key)
    assert await count_pending(other) == 0
    assert await count_pending(business) > 40
    await business.run_worker()
    assert await count_pending(business) == 0


async def test_workspaces_take_turns_in_a_slot_range_with_a_long_backlog(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.stages.fold.FOLD_BATCH_SIZE", 20)
    monkeypatch.setattr("workers.stages.turns.WORKSPACES_PER_ROUND", 2)
    others = [await create_business(business.ctx.resources, business.clock, f"Other {n}") for n in range(6)]
    await business.record(*({"amount": 1, "pass_external_id": f"p{n}"} for n in range(500)))
    for other in others:
        await other.record(*({"amount": 1, "pass_external_id": f"q{n}"} for n in range(8)))
    for _ in range(3):
        for key in SLOT_RANGES:
            await fold_once(business.worker, key)
    assert [await count_pending(other) for other in others] == [0] * 6
    assert await count_pending(business) > 100


async def test_pass_cut_in_its_turn_counts_all_its_events_at_their_instants(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.stages.fold.FOLD_BATCH_SIZE", 10)
    for module in ("fold", "turns"):
        monkeypatch.setattr(f"workers.stages.{module}.EVENTS_PER_TURN", 3)
    other = await create_business(business.ctx.resources, business.clock, "Other")
    segment = await other.create_segment("five", purchases(5))
    await business.record(*({"amount": 1, "pass_external_id": f"p{n}"} for n in range(200)))
    await other.record(*({"amount": 1, "external_id": str(n)} for n in range(7)))
    await business.run_worker()
    assert (await other.read_pass()).aggregates["purchase", "USD"].count == 7
    assert await other.read_members(segment) == ["ann"]


async def test_expensive_segments_take_a_slice_of_a_round_and_delay_no_other_workspace(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "SLICE_SECONDS", 1e-9)
    other = await create_business(business.ctx.resources, business.clock, "Other")
    await business.create_segment("costly", costly_criteria(5, 50))
    await business.record(*({"type": "visit", "pass_external_id": f"p{n}"} for n in range(40)))
    await other.record({"amount": 1})
    for key in SLOT_RANGES:
        await fold_once(business.worker, key)
    assert await count_pending(other) == 0
    assert await count_pending(business) == 40 - len(SLOT_RANGES)
    await business.run_worker()
    assert await count_pending(business) == 0


async def test_passes_beyond_the_slice_of_their_workspace_begin_the_next_round(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New events of the passes that were walked first do not delay the others in each round."""
    monkeypatch.setattr(shares, "SLICE_SECONDS", 1e-9)
    names = [f"p{number}" for number in range(40)]
    await business.record(*({"pass_external_id": name} for name in names))
    key = SLOT_RANGES[0]
    for _ in names:
        await fold_once(business.worker, key)
        counted = [name for name in names if (await business.read_pass(name)).event_count]
        await business.record(*({"pass_external_id": name} for name in counted))
    assert not await has_first_events(business, key)


async def has_first_events(business: Business, key: str) -> bool:
    """Return whether an event of a range is pending in a pass that has counted none."""
    low, high = bounds_of(key)
    pending = await business.worker.fold_queries.pending(low, high, None, 1_000)
    cards = await business.worker.fold_queries.passes({item.event.pass_id for item in pending})
    return any(not card.event_count for card in cards.values())


async def test_events_of_a_workspace_with_the_most_comparisons_cost_little_time(business: Business) -> None:
    """Criteria read a list of metadata once, not once for each of 4,800 comparisons."""
    for number in range(6):
        await business.create_segment(f"costly{number}", costly_criteria(15, 50))
    await business.record(*({"type": "visit", "metadata": {"list": list(range(5_000))}} for _ in range(5)))
    with spending_at_most(4):
        await business.run_worker()
    assert (await business.read_pass()).aggregates["visit", None].count == 5


async def test_searches_through_long_texts_count_as_many_comparisons(business: Business) -> None:
    """A workspace has few of them, so that an event with the longest text costs about as much as other events."""
    texts = [f"aaaa{n:03d}aaaa" for n in range(250)]
    conditions = [{"path": "k", "operator": "CONTAINS", "value": text} for text in texts]
    leaves = [
        {"event": {"types": ["visit"], "operator": "GTE", "value": 1_000, "metadata": conditions[first : first + 40]}}
        for first in range(0, 240, 40)
    ]
    await business.create_segment("searching", {"any": leaves})
    with pytest.raises(Refused) as refused:
        await business.create_segment("more", {"any": [{**leaves[0], "event": {**leaves[0]["event"], "value": 2_000}}]})
    assert [(p.code, p.field) for p in refused.value.problems] == [(Code.LIMIT, ("criteria",))]
    longest = "a" * 29_000 + "".join(texts)
    await business.record(*({"type": "visit", "metadata": {"k": longest}} for _ in range(20)))
    with spending_at_most(4):
        await business.run_worker()
    assert (await business.read_pass()).aggregates["visit", None].count == 20


async def test_walk_stops_after_a_number_of_comparisons_and_goes_on_in_the_next_round(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.domain.fold.walk.MAX_WALK_COMPARISONS", 3)
    monkeypatch.setattr("app.domain.definitions.MAX_WALK_COMPARISONS", 3)
    segments = [await business.create_segment(f"s{n}", purchases(n)) for n in range(2, 5)]
    await business.record(*({"amount": 1, "occurred_at": f"2025-12-01T00:00:0{n}Z"} for n in range(4)))
    await business.run_worker()
    assert [await business.read_members(segment) for segment in segments] == [["ann"]] * 3
    assert (await business.read_pass()).aggregates["purchase", "USD"].count == 4


async def test_comparisons_of_all_segments_are_bounded(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.domain.segments.limits.MAX_COMPARISONS", 10)
    values = [str(n) for n in range(6)]
    criteria = {"pass": {"field": "fields.x", "operator": "IN", "value": values}}
    first = await create_segment(business.ctx, "first", "First", criteria)
    with pytest.raises(Refused) as refused:
        await create_segment(business.ctx, "second", "Second", criteria)
    assert [(p.code, p.field) for p in refused.value.problems] == [(Code.LIMIT, ("criteria",))]
    wider = {"pass": {"field": "fields.x", "operator": "IN", "value": [*values, "a", "b", "c", "d"]}}
    await update_segment(business.ctx, first.id, criteria=wider)
    with pytest.raises(Refused):
        await update_segment(business.ctx, first.id, criteria={"any": [wider, purchases(1)]})


async def test_criteria_of_more_than_64_kb_are_refused(business: Business) -> None:
    values = [f"{n}" * 300 for n in range(100, 180)]
    criteria = {"pass": {"field": "fields.x", "operator": "IN", "value": values}}
    with pytest.raises(Refused) as refused:
        await create_segment(business.ctx, "large", "Large", criteria)
    assert [(p.code, p.field) for p in refused.value.problems] == [(Code.TOO_LONG, ("criteria",))]


async def test_changes_of_definitions_are_bounded_within_a_day(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.domain.segments.limits.MAX_VERSIONS_A_DAY", 3)
    segment = await create_segment(business.ctx, "loyal", "Loyal", purchases(1))
    for count in (2, 3):
        await update_segment(business.ctx, segment.id, criteria=purchases(count))
    with pytest.raises(Refused) as refused:
        await update_segment(business.ctx, segment.id, criteria=purchases(4))
    assert refused.value.problems[0].code is Code.LIMIT
    business.clock.set((await business.clock.now()).replace(month=6))
    await update_segment(business.ctx, segment.id, criteria=purchases(4))


async def test_unneeded_versions_leave_memory_and_a_day_later_the_store(
    business: Business,
) -> None:
    await business.record({"amount": 1})
    segment = await business.create_segment("loyal", purchases(1))
    for count in range(2, 8):
        await update_segment(business.ctx, segment.id, criteria=purchases(count))
    await business.run_worker()
    workspace = business.ctx.workspace
    assert len(business.worker.definitions[workspace.id].versions) == 1
    assert len(await workspace.definitions.versions()) == 7
    business.clock.set((await business.clock.now()).replace(month=6))
    await update_segment(business.ctx, segment.id, criteria=purchases(1))
    await business.run_worker()
    assert [version.version for version in await workspace.definitions.versions()] == [7, 8]
    assert await business.read_members(segment) == ["ann"]


async def test_parked_pass_keeps_the_versions_that_it_was_evaluated_under(business: Business) -> None:
    segment = await business.create_segment("loyal", purchases(1))
    await business.record({"amount": 1})
    await business.run_worker()
    card = await business.read_pass()
    for _ in range(5):
        await business.worker.fold_queries.count_failure(card, "Boom", 5)
    business.clock.set((await business.clock.now()).replace(month=6))
    await update_segment(business.ctx, segment.id, criteria=purchases(2))
    business.clock.set((await business.clock.now()).replace(month=8))
    await update_segment(business.ctx, segment.id, criteria=purchases(3))
    await business.run_worker()
    assert len(await business.ctx.workspace.definitions.versions()) == 3
    compacted = business.worker.definitions[business.ctx.workspace.id]
    assert not compacted.serve(card)
    # Two stages may find at the same time that versions are missing.
    read = business.worker.definitions.read
    for found in await asyncio.gather(*(read([card.workspace_id], [card]) for _ in range(2))):
        assert found[card.workspace_id].serve(card)
        assert len(found[card.workspace_id].versions) == 3


async def test_backfill_round_ends_with_the_slice_of_its_workspace(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    await business.record(*({"amount": 1, "pass_external_id": f"p{n}"} for n in range(10)))
    await business.run_worker()
    segment = await create_segment(business.ctx, "loyal", "Loyal", purchases(1))
    with monkeypatch.context() as patch:
        patch.setattr(shares, "SLICE_SECONDS", 1e-9)
        assert await backfill_once(business.worker, business.ctx.workspace.id)
    assert (await business.ctx.workspace.segments.evaluated_counts([segment.revision]))[segment.revision] == (10, 1)
    await business.run_worker()
    assert len(await business.read_members(segment)) == 10


def test_histories_are_read_for_each_workspace_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "MAX_HISTORY_EVENTS", 100)
    monkeypatch.setattr(shares, "MAX_HISTORY_IN_ALL", 250)
    hostile = [(f"h{n}", "hostile", 60) for n in range(9)]
    assert choose_by_history([*hostile, ("a", "other", 60), ("b", "third", 0)]) == ["b", "h0", "a"]
    assert choose_by_history([("whole", "hostile", 900), ("next", "hostile", 1)]) == ["whole"]


async def test_refused_write_parks_its_pass_and_saves_the_others(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MongoDB refuses a document above 16 MB when it applies the write, and the driver before it sends the write."""
    await business.create_passes("ann", "bob", "eve")
    await business.run_worker()
    ids = {name: (await business.read_pass(name)).id for name in ("ann", "bob", "eve")}
    bulk_write = business.worker.fold_queries._passes.bulk_write

    async def write(operations: list[Any], ordered: bool) -> Any:
        names = [operation._filter["_id"] for operation in operations]
        if ids["bob"] in names:
            raise DocumentTooLarge("BSON document too large")
        kept = [operation for operation in operations if operation._filter["_id"] != ids["ann"]]
        result = await bulk_write(kept, ordered=ordered) if kept else None
        if len(kept) == len(operations):
            return result
        errors = [{"index": names.index(ids["ann"]), "code": 17419, "errmsg": "Resulting document is too large"}]
        raise BulkWriteError({"writeErrors": errors, "nMatched": 0 if result is None else result.matched_count})

    for round_number in range(5):
        with monkeypatch.context() as patch:
            patch.setattr(
                business.worker.fold_queries, "_passes", OtherBulkWrite(business.worker.fold_queries._passes, write)
            )
            await business.record(*({"amount": 1, "pass_external_id": name} for name in ids))
            for key in SLOT_RANGES:
                await fold_once(business.worker, key)
        assert (await business.read_pass("eve")).aggregates["purchase", "USD"].count == round_number + 1
    docs = await business.ctx.resources.db["passes"].find({"parked": {"$gte": 0}}).to_list(None)
    assert {doc["_id"] for doc in docs} == {ids["ann"], ids["bob"]}
    assert await count_pending(business) == 0


async def test_profile_of_more_than_256_kb_is_refused_in_every_way_to_write_it(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.domain.passes.passes.MAX_PROFILE_BYTES", 1_000)
    [card] = await business.create_passes("ann")
    await update_pass(business.ctx, card.id, fields={"a": "x" * 500})
    with pytest.raises(Refused) as refused:
        await update_pass(business.ctx, card.id, metadata={"b": "x" * 500})
    assert refused.value.problems[0].code is Code.TOO_LONG
    fields = ({"type": "field_updated", "field_name": f"f{n}", "new_value": "y" * 100} for n in range(20))
    await business.record(*fields)
    await business.run_worker()
    profile = (await business.read_pass()).profile
    assert profile.size <= 1_000
    assert sorted(profile.fields) == ["a", "f0", "f1", "f2", "f3"]
    assert set(profile.problems) == {f"f{n}" for n in range(4, 20)}
    await update_pass(business.ctx, card.id, fields={"a": None})
    await business.run_worker()
    assert "a" not in (await business.read_pass()).profile.fields


async def test_definition_that_cannot_be_read_delays_its_own_workspace_only(
    business: Business, caplog: pytest.LogCaptureFixture
) -> None:
    other = await create_business(business.ctx.resources, business.clock, "Other")
    newer = {"_id": "def_newer", "workspace": other.ctx.workspace.id, "rev": 1, "kind": "newer"}
    await business.ctx.resources.db["definitions"].insert_one(dict(newer))
    for each in (business, other):
        await each.record({"amount": 1})
    await business.run_worker()
    await business.run_worker()
    assert sum(row.count for row in (await business.read_pass()).aggregates.values()) == 1
    assert (await other.read_pass()).aggregates == {}
    lines = [record.getMessage() for record in caplog.records if "cannot be read" in record.getMessage()]
    assert [other.ctx.workspace.id in line for line in lines] == [True]
    await business.ctx.resources.db["definitions"].delete_one({"_id": "def_newer"})
    await business.run_worker()
    assert sum(row.count for row in (await other.read_pass()).aggregates.values()) == 1
