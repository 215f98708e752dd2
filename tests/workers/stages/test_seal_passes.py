"""Sealed months and years of passes equal the sums of the events that count, whatever happens (section "Per pass")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from unittest.mock import patch

from app.commands.passes.merges import merge_passes
from app.commands.passes.removals import erase_pass, remove_events
from app.domain.events.event_queries import EventQuery
from app.domain.passes.passes import Pass
from app.domain.rollups.periods import (
    ALL_MONTHS,
    COUNT,
    LAST_MONTH,
    SPEND,
    PassPeriod,
    earlier_month,
    is_month,
    sum_months,
    sum_years,
)
from app.domain.rollups.twelve_months import sum_twelve_months
from app.flow import SLOT_RANGES
from app.store.codecs.pass_periods import periods_of_pass
from app.store.mongo.paging import PageRequest
from app.store.operations.pass_months import lacks_marks, mark_passes
from app.store.stages import pass_periods
from app.store.stages.pass_periods import PassPeriodQueries, SealedPass, Sealing, valid_sums
from app.store.workspace.pass_periods import LAST_MONTHS_MARKED, MARKED
from tests.business import Business
from workers.stages.fold import fold
from workers.stages.publish import publish_once
from workers.stages.seal_passes import DOUBT_SECONDS, delete_doubted, seal_passes_once

NAMES = ("ann", "bob", "cas", "dan")
DAY_MS = 86_400_000


async def read_sealed(business: Business, card: Pass) -> dict[int, PassPeriod]:
    """Return the sums that a pass names, by month and year. No month of it is marked."""
    db = business.ctx.resources.db
    doc = await db["passes"].find_one({"_id": card.id})
    assert doc is not None
    assert "dirty_months" not in doc
    assert "dirty_from" not in doc
    tokens = {int(period): token for period, token in doc.get("months", {}).items()}
    docs = await db["pass_periods"].find({"pass": card.id}).to_list(None)
    sums = valid_sums(SealedPass(card, tokens), docs)
    assert sums.keys() == tokens.keys()
    active = sorted(period for period, each in sums.items() if each.count)
    assert doc.get("active", []) == active
    assert doc.get("first_active") == next((each for each in active if each > 9_999), None)
    values = {month: each.values() for month, each in sums.items() if is_month(month)}
    twelve = sum_twelve_months(values)
    assert periods_of_pass(doc, docs).twelve == ({max(values): twelve} if twelve else {})
    return sums


async def compute(business: Business, card: Pass) -> dict[int, PassPeriod]:
    """Return the same sums, computed from all events of the pass that are stored."""
    page = await business.ctx.workspace.events.page(EventQuery(pass_id=card.id), PageRequest(5_000), oldest_first=True)
    months = sum_months(event for event in page.items if not event.outcome.is_declined)
    return months | sum_years(months)


def comparable(sums: Mapping[int, PassPeriod]) -> object:
    return {
        period: (each.count, each.values(), each.spent, sorted(each.aggregates), sorted(each.made), each.is_empty)
        for period, each in sums.items()
    }


async def check_all(business: Business) -> int:
    """Seal all passes, compare each with its events, and return the number of sealed months and years."""
    await seal_passes_once(business.worker, business.ctx.workspace.id)
    number = 0
    for card in await read_cards(business):
        sealed = await read_sealed(business, card)
        assert comparable(sealed) == comparable(await compute(business, card)), card.external_id
        number += len(sealed)
    return number


async def read_cards(business: Business) -> list[Pass]:
    docs = await business.ctx.resources.db["passes"].find({}, {"_id": 1}).to_list(None)
    cards = await business.worker.fold_queries.passes([doc["_id"] for doc in docs])
    return [card for card in cards.values() if card.erased is None and card.alias_of is None]


def random_sale(random: Random, number: int) -> dict[str, object]:
    kind = random.choice(("purchase", "purchase", "refund", "visit", "checkout", "point_sub"))
    has_amount = kind in ("purchase", "refund", "checkout")
    return {
        "external_id": f"e{number}",
        "pass_external_id": random.choice(NAMES),
        "type": kind,
        "amount": f"{random.randrange(1, 99)}.{random.randrange(10)}" if has_amount else None,
        "currency": random.choice(("EUR", "USD")) if has_amount else None,
        "points": random.choice((None, 5)) if kind != "point_sub" else 1,
        "occurred_at": datetime(2024, 11, 1, tzinfo=UTC) + timedelta(hours=random.randrange(24 * 200)),
    }


async def test_sealed_months_equal_the_events_after_random_histories(business: Business) -> None:
    random = Random(16)
    workspace, number = business.ctx.workspace, 0
    await business.create_passes(*NAMES)
    for step in range(8):
        await business.record(*(random_sale(random, number + index) for index in range(30)))
        number += 30
        events = (await workspace.events.page(EventQuery(), PageRequest(1_000))).items
        await remove_events(business.ctx, [(event.pass_id, event.id) for event in random.sample(events, 3)])
        if step == 3:
            found = await workspace.passes.ids_of(["ann", "bob"])
            await merge_passes(business.ctx, found["ann"], found["bob"])
        if step == 5:
            await erase_pass(business.ctx, external_id="cas")
        await business.run_worker()
        assert await check_all(business) > 10
    left = {doc["pass"] for doc in await business.ctx.resources.db["pass_periods"].find({}).to_list(None)}
    assert left <= {card.id for card in await read_cards(business)}, "sums of an ended pass are left"


async def test_a_pass_that_changes_while_it_is_sealed_keeps_its_mark(business: Business) -> None:
    """Between the read of the pass and the write that names the sums, a fold counts an event of the same month."""
    at = datetime(2025, 3, 5, tzinfo=UTC)
    await business.record({"amount": 10, "currency": "EUR", "occurred_at": at})
    await business.run_worker()
    insert = PassPeriodQueries.insert

    async def count_one_more(self: PassPeriodQueries, sealings: list[Sealing], system_ms: int) -> None:
        await business.record({"amount": 5, "currency": "EUR", "occurred_at": at})
        for key in SLOT_RANGES:
            await fold(business.worker, key)
        await insert(self, sealings, system_ms)

    with patch.object(PassPeriodQueries, "insert", count_one_more):
        await seal_passes_once(business.worker, business.ctx.workspace.id)
    card = await business.read_pass()
    assert card.dirty_months == {202503}
    assert await check_all(business) == 2
    sums = (await read_sealed(business, card))[202503]
    assert sums.values() == {COUNT: 2, SPEND + "EUR": 15}


async def test_made_events_count_before_and_after_they_are_published(business: Business) -> None:
    at = datetime(2025, 3, 5, tzinfo=UTC)
    await business.record({"type": "checkout", "external_id": "c", "amount": 10, "currency": "EUR", "occurred_at": at})
    await business.run_worker()
    outcome = await business.ctx.workspace.events.page(EventQuery(types=("checkout",)), PageRequest(1))
    await business.record(
        {
            "type": "checkout_update",
            "amount": 25,
            "currency": "EUR",
            "correction_of": outcome.items[0].id,
            "occurred_at": at,
        }
    )
    for key in SLOT_RANGES:
        await fold(business.worker, key)
    for _ in range(2):
        await seal_passes_once(business.worker, business.ctx.workspace.id)
        sealed = await read_sealed(business, await business.read_pass())
        assert sum(sums.values()[SPEND + "EUR"] for period, sums in sealed.items() if is_month(period)) == 25
        while await publish_once(business.worker, business.ctx.workspace.id):
            pass
    assert await check_all(business) == len(sealed)


async def test_passes_of_an_earlier_version_are_sealed_whole(business: Business) -> None:
    db = business.ctx.resources.db
    for month in (1, 2, 3):
        await business.record({"amount": 1, "currency": "EUR", "occurred_at": datetime(2025, month, 1, tzinfo=UTC)})
    await business.run_worker()
    await check_all(business)
    await db["passes"].update_many({}, {"$unset": {"months": "", "active": "", "first_active": ""}})
    await db["constants"].delete_one({"_id": MARKED})
    await mark_passes(db)
    assert (await business.read_pass()).dirty_months == {ALL_MONTHS}
    # A mark of a month comes to that of all.
    await business.record({"amount": 1, "currency": "EUR", "occurred_at": datetime(2024, 1, 1, tzinfo=UTC)})
    await business.run_worker()
    assert (await business.read_pass()).dirty_months == {ALL_MONTHS, 202401}
    assert await check_all(business) == 6
    # What is sealed and has no event any more is taken out.
    change = {"$set": {"dirty_months": [ALL_MONTHS], "dirty_from": ALL_MONTHS, "months.201901": 7}}
    await db["passes"].update_many({}, change)
    assert await check_all(business) == 6


async def test_last_months_of_an_earlier_version_get_sums_without_reading_events(
    business: Business,
) -> None:
    """The pass keeps all other sums, and no question takes it for one that changed."""
    db, store = business.ctx.resources.db, business.ctx.workspace.pass_periods
    for month in (202402, 202411, 202501):
        at = datetime(month // 100, month % 100, 3, tzinfo=UTC)
        await business.record({"amount": 1, "currency": "EUR", "occurred_at": at})
    await business.run_worker()
    await check_all(business)
    assert await store.have_twelve_months()
    fields = dict.fromkeys(("twelve", "twelve_before", "twelve_later", "last_year"), "")
    await db["pass_periods"].update_many({}, {"$unset": fields})
    await db["constants"].delete_one({"_id": LAST_MONTHS_MARKED})
    assert not await store.have_twelve_months()
    assert await lacks_marks(db)
    await mark_passes(db)
    assert not await lacks_marks(db)
    assert (await business.read_pass()).dirty_months == {LAST_MONTH}
    assert not await store.have_twelve_months()
    assert await store.dirty(999_912) == {}
    before = {doc["_id"] for doc in await db["pass_periods"].find({"period": {"$ne": 202501}}).to_list(None)}
    with patch.object(PassPeriodQueries, "sums", side_effect=AssertionError("events are read")):
        assert await check_all(business) == 5
    assert await store.have_twelve_months()
    after = {doc["_id"] for doc in await db["pass_periods"].find({"period": {"$ne": 202501}}).to_list(None)}
    assert after == before
    # A new month is marked beside.
    await db["passes"].update_many({}, {"$set": {"dirty_months": [LAST_MONTH], "dirty_from": LAST_MONTH}})
    await business.record({"amount": 1, "currency": "EUR", "occurred_at": datetime(2025, 3, 1, tzinfo=UTC)})
    await business.run_worker()
    assert (await business.read_pass()).dirty_months == {202503, LAST_MONTH}
    assert await check_all(business) == 6


async def test_event_that_is_older_than_thirteen_months_leaves_the_last_month_as_it_is(business: Business) -> None:
    periods = business.ctx.resources.db["pass_periods"]

    async def record_before(months: int) -> set[str]:
        """Record an event so many months before the last one, and return the contents of the last month."""
        year, month = divmod(earlier_month(202506, months), 100)
        at = datetime(year, month, 3, tzinfo=UTC)
        await business.record({"amount": 1, "currency": "EUR", "occurred_at": at})
        await business.run_worker()
        await check_all(business)
        docs = await periods.find({"period": 202506, "doubt": {"$exists": False}}).to_list(None)
        return {doc["_id"] for doc in docs}

    before = await record_before(0)
    assert await record_before(13) == before
    assert await record_before(12) != before


async def test_sums_that_no_pass_names_are_deleted_after_a_day(business: Business) -> None:
    periods = business.ctx.resources.db["pass_periods"]
    at = datetime(2025, 3, 5, tzinfo=UTC)
    for _ in range(2):
        await business.record({"amount": 10, "currency": "EUR", "occurred_at": at})
        await business.run_worker()
        await check_all(business)
    [doc, *_] = docs = await periods.find({"doubt": {"$gte": 0}}).to_list(None)
    assert len(docs) == 4
    # A worker crashed after a pass had named its sums, and before it took the doubt from them.
    valid = await periods.find_one({"doubt": {"$exists": False}})
    assert valid is not None
    await periods.update_one({"_id": valid["_id"]}, {"$set": {"doubt": doc["doubt"]}})
    await delete_doubted(business.worker, doc["doubt"] + DAY_MS)
    assert await periods.count_documents({}) == 8
    await delete_doubted(business.worker, doc["doubt"] + 1_000 * DOUBT_SECONDS + 1_000)
    assert await periods.count_documents({"doubt": {"$gte": 0}}) == 0
    assert await check_all(business) == 2


def test_sums_of_a_year_are_those_of_its_months() -> None:
    total = sum_years({202501: PassPeriod(), 202502: PassPeriod()})[2025]
    assert total == PassPeriod()
    assert replace(total) + total == total


async def test_one_look_deletes_all_sums_in_doubt(business: Business) -> None:
    """A shop leaves millions of them a day. A look that deleted some would never catch up."""
    periods = business.ctx.resources.db["pass_periods"]
    card = (await business.create_passes("ann"))[0]
    doc = {"workspace": card.workspace_id, "pass": card.id, "period": 202501, "token": 1, "measure": COUNT, "doubt": 1}
    with patch.object(pass_periods, "MAX_DOUBTED_READ", 2):
        await periods.insert_many([{"_id": f"old-{number}", **doc} for number in range(5)])
        await delete_doubted(business.worker, 2 + 1_000 * DOUBT_SECONDS)
    assert await periods.count_documents({}) == 0
