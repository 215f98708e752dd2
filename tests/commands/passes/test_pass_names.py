"""Names of passes: each external id belongs to one pass, although creations race, crash or are slow."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from unittest.mock import patch

import pytest

from app.commands.events.pass_lookup import insert_missing, new_pass
from app.commands.passes.merges import merge_passes
from app.commands.passes.passes import create_passes
from app.commands.passes.removals import erase_pass
from app.domain.errors import Unavailable
from app.domain.events.receipts import RecordStatus
from app.domain.ids import pass_name_id
from app.domain.passes.inputs import PassInput
from app.domain.passes.passes import Profile
from app.resources import Resources
from app.store.operations.pass_names import NotNamed, forget_names, name_passes, require_names
from app.store.workspace.pass_names import PassName, PassNameQueries
from app.store.workspace.passes import PassQueries
from tests.business import Business
from tests.crashes import Crash


@pytest.fixture(autouse=True)
def _caches_expire_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.stages.erase.CACHE_EXPIRY_SECONDS", 0.0)
    monkeypatch.setattr("app.store.cache.EPOCH_TTL_SECONDS", 0.0)


async def crash_between_name_and_pass(business: Business, external_id: str = "ann") -> str:
    """Let a creation crash after it has stored the name, and return the id that the name holds."""
    with patch.object(PassQueries, "insert", side_effect=Crash), contextlib.suppress(Crash):
        await business.create_passes(external_id)
    return (await names_of(business).find([external_id]))[external_id].pass_id


def names_of(business: Business) -> PassNameQueries:
    resources = business.ctx.resources
    return PassNameQueries(resources.db, business.ctx.workspace.id, resources.in_chunk)


async def test_of_creations_at_once_one_creates_the_pass(business: Business) -> None:
    inputs = [PassInput("ann", {"name": f"Ann {number}"}) for number in range(4)]
    results = await asyncio.gather(*(create_passes(business.ctx, [each]) for each in inputs))
    statuses = sorted(result.status for [result] in results)
    assert statuses == [RecordStatus.CONFLICT] * 3 + [RecordStatus.CREATED]
    assert len({result.card.id for [result] in results if result.card is not None}) == 1
    assert await business.ctx.workspace.passes.count() == 1


async def test_pass_whose_creation_crashed_does_not_exist(business: Business) -> None:
    reserved = await crash_between_name_and_pass(business)
    passes = business.ctx.workspace.passes
    assert (await passes.by_external_id("ann"), await passes.get(reserved)) == (None, None)
    outcome = await business.record({}, create_missing_passes=False)
    assert [each.status for each in outcome.results] == [RecordStatus.REJECTED]


@pytest.mark.parametrize("atomic", [False, True])
async def test_creation_that_crashed_is_completed_under_its_id(business: Business, atomic: bool) -> None:
    reserved = await crash_between_name_and_pass(business)
    outcome = await business.record({"external_id": "1", "amount": 1}, atomic=atomic)
    assert [each.status for each in outcome.results] == [RecordStatus.CREATED]
    await business.run_worker()
    card = await business.read_pass()
    assert (card.id, card.aggregates["purchase", "USD"].count) == (reserved, 1)
    other = await crash_between_name_and_pass(business, "bob")
    [bob] = await business.create_passes("bob")
    assert bob.id == other


async def test_slow_creation_does_not_bring_an_erased_pass_back(business: Business) -> None:
    passes = business.ctx.workspace.passes
    slow = new_pass(business.ctx, "ann", Profile(), None, await business.ctx.now())
    [reserved] = await passes.reserve([slow])
    [created] = await business.create_passes("ann")
    assert created.id == reserved.id
    await erase_pass(business.ctx, pass_id=created.id)
    await business.run_worker()
    assert await passes.insert([reserved]) == {0}
    assert await passes.count() == 0
    [again] = await business.create_passes("ann")
    assert again.id != created.id


@pytest.mark.parametrize("creates", ["createPass", "createMissingPasses"])
async def test_name_that_a_slow_creation_stores_after_the_erasure_is_freed(business: Business, creates: str) -> None:
    """Three creations: one crashes after the name, a slow one reads that name, the third one completes the pass."""
    passes = business.ctx.workspace.passes
    reserved = await crash_between_name_and_pass(business)
    card = new_pass(business.ctx, "ann", Profile(), None, await business.ctx.now())
    slow = replace(card, id=(await passes.find_by_names(["ann"])).reserved["ann"])
    [created] = await business.create_passes("ann")
    assert created.id == slow.id == reserved
    await erase_pass(business.ctx, pass_id=created.id)
    await business.run_worker()
    with pytest.raises(Unavailable):
        await insert_missing(business.ctx, [slow])
    # Without that call, a creation meets the name: a migration may have stored it, too.
    await passes.reserve([slow])
    create = business.create_passes("ann") if creates == "createPass" else business.record({})
    with pytest.raises(Unavailable):
        await create
    [again] = await business.create_passes("ann")
    assert again.id != created.id


async def test_erasure_frees_the_name_and_keeps_nothing_that_follows_from_it(business: Business) -> None:
    [card] = await business.create_passes("ann@example.com")
    await business.record({"pass_external_id": "ann@example.com"})
    await erase_pass(business.ctx, pass_id=card.id)
    assert (await names_of(business).find(["ann@example.com"]))["ann@example.com"] == PassName(card.id, is_ready=False)
    await business.run_worker()
    name_id = pass_name_id(business.ctx.workspace.id, "ann@example.com")
    assert await business.ctx.resources.db["pass_names"].find_one({"_id": name_id}) is None
    await names_of(business).free("ann@example.com", card.id)
    [again] = await business.create_passes("ann@example.com")
    await names_of(business).free("ann@example.com", card.id)
    assert await business.ctx.workspace.passes.ids_of(["ann@example.com"]) == {"ann@example.com": again.id}


async def test_name_of_a_merged_pass_leads_to_the_survivor_and_is_never_ready_again(business: Business) -> None:
    await business.create_passes("ann", "bob")
    passes = business.ctx.workspace.passes
    ids = await passes.ids_of(["ann", "bob"])
    assert {each.is_ready for each in (await names_of(business).find(["ann", "bob"])).values()} == {True}
    await merge_passes(business.ctx, ids["ann"], ids["bob"])
    await names_of(business).confirm({"bob": ids["bob"]})
    assert not (await names_of(business).find(["bob"]))["bob"].is_ready
    await business.run_worker()
    assert await passes.ids_of(["bob"]) == {"bob": ids["ann"]}


@pytest.mark.unused_database
async def test_passes_of_earlier_versions_get_their_names_before_a_process_starts(resources: Resources) -> None:
    await require_names(resources.db)
    docs = [{"_id": f"pass_{n:04d}", "workspace": "ws", "external_id": f"p{n}"} for n in range(2_050)]
    await resources.db["passes"].insert_many(docs)
    with pytest.raises(NotNamed, match="punchcard migrate"):
        await require_names(resources.db)
    reports: list[int] = []
    await name_passes(resources.db, reports.append)
    await require_names(resources.db)
    assert reports == [1_000, 2_000, 2_050]
    assert await resources.db["pass_names"].count_documents({}) == 2_050
    name = await resources.db["pass_names"].find_one({"_id": pass_name_id("ws", "p7")})
    assert name == {"_id": pass_name_id("ws", "p7"), "workspace": "ws", "pass": "pass_0007"}
    await resources.db["pass_names"].delete_one({"_id": name["_id"]})
    await forget_names(resources.db)
    await asyncio.gather(*(name_passes(resources.db) for _ in range(2)))
    assert await resources.db["pass_names"].count_documents({}) == 2_050


@pytest.mark.unused_database
async def test_name_that_leads_to_no_pass_is_given_to_the_pass_without_name(resources: Resources) -> None:
    """Version 0.1.0 has created `ann` after the migration. The unique index refuses the pass for which the name stands."""
    db, ids = resources.db, {each: pass_name_id("ws", each) for each in ("ann", "bob")}
    await db["passes"].insert_many(
        {"_id": f"pass_{each}", "workspace": "ws", "external_id": each} for each in ("ann", "bob")
    )
    held = {"ann": "pass_refused", "bob": "pass_ann"}
    await db["pass_names"].insert_many({"_id": ids[each], "workspace": "ws", "pass": held[each]} for each in ids)
    await name_passes(db)
    stored = {doc["_id"]: doc["pass"] async for doc in db["pass_names"].find({})}
    assert stored == {ids["ann"]: "pass_ann", ids["bob"]: "pass_ann"}, "`punchcard check` shows the other one"
