"""Passes of earlier versions are found after the migration, or after their next fold."""

from __future__ import annotations

import pytest

from app.commands.passes.passes import create_passes
from app.domain.passes.inputs import PassInput
from app.domain.passes.pass_queries import PassOrder, PassOrderField, PassQuery
from app.domain.passes.search_tokens import parse_search
from app.store.mongo.paging import PageRequest
from app.store.operations.findable_passes import FINDABLE, make_passes_findable
from tests.business import Business

WRITTEN = ("tokens", "name_key", "searched", "last_event", "split")


@pytest.fixture
async def earlier(business: Business) -> Business:
    """Return a business whose passes lack what this version adds to them."""
    names = {"ann": "Ann Smith", "bob": "Bob Smith"}
    await create_passes(business.ctx, [PassInput(key, holder={"name": name}) for key, name in names.items()])
    await business.record({})
    await business.run_worker()
    await business.ctx.resources.db["passes"].update_many({}, {"$unset": dict.fromkeys(WRITTEN, "")})
    await business.ctx.resources.db["constants"].delete_one({"_id": FINDABLE})
    return business


async def find(business: Business, search: str) -> list[str]:
    query, order = PassQuery(search=parse_search(search)), PassOrder(PassOrderField.LAST_EVENT)
    page = await business.ctx.workspace.finding.page(query, PageRequest(9), order, 2**40)
    return [card.external_id for card in page.items]


async def test_migration_makes_all_passes_findable_and_changes_them_once(earlier: Business) -> None:
    assert await find(earlier, "smith") == []
    db, reports = earlier.ctx.resources.db, list[int]()
    await make_passes_findable(db, reports.append)
    assert (await find(earlier, "smith"), reports) == (["ann", "bob"], [2])
    await db["passes"].update_many({}, {"$unset": {"tokens": ""}})
    await make_passes_findable(db, reports.append)
    assert (await find(earlier, "smith"), reports) == ([], [2]), "a repeat changes nothing"


async def test_fold_makes_its_pass_findable_without_the_migration(earlier: Business) -> None:
    await earlier.record({"pass_external_id": "bob"})
    await earlier.run_worker()
    assert await find(earlier, "smith") == ["bob"]


async def test_last_event_and_tokens_follow_from_what_counts(business: Business) -> None:
    await business.record({"external_id": "1", "occurred_at": "2025-06-01T00:00:00Z"})
    await business.run_worker()
    card = await business.read_pass("ann")
    stored = await business.ctx.resources.db["passes"].find_one({"_id": card.id})
    assert stored is not None
    assert stored["last_event"].isoformat() == "2025-06-01T00:00:00+00:00"
    assert stored["tokens"] == ["an", "ann"]
