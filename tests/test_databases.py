"""The databases of tests: a test finds the same in a database that another test used as in a new one."""

from __future__ import annotations

from app.clock import FixedClock
from app.resources import Resources
from app.store.mongo.queries import Database, Doc
from app.store.operations.indexes import INDEXES
from app.store.operations.pass_names import require_names
from tests.business import Business, open_business
from tests.databases import MAX_DELETED_DOCUMENTS, create_database, drop_database, empty_database


async def read_all(db: Database) -> dict[str, list[Doc]]:
    """Return all documents of a database by collection, without the empty ones."""
    found = {name: await db[name].find().sort("_id", 1).to_list(None) for name in await db.list_collection_names()}
    return {name: docs for name, docs in found.items() if docs}


async def test_emptied_database_contains_what_a_new_one_contains(business: Business) -> None:
    resources = business.ctx.resources
    uri, used = resources.settings.mongodb_uri, resources.db
    new = used.client[f"{used.name}-new"]
    await create_database(uri, new)
    await business.record({"amount": 1})
    await business.run_worker()
    await used["constants"].delete_one({"_id": "pass_names"})
    await used["constants"].update_one({"_id": "epoch"}, {"$set": {"value": 3}}, upsert=True)
    assert await empty_database(uri, used)
    assert await read_all(used) == await read_all(new)
    await drop_database(uri, new)


async def test_lean_database_has_all_collections_but_only_indexes_that_refuse_or_expire(resources: Resources) -> None:
    # The database of the fixture can have collections without indexes that an earlier test created.
    uri, client = resources.settings.mongodb_uri, resources.db.client
    db, lean = client[f"{resources.db.name}-full"], client[f"{resources.db.name}-lean"]
    await create_database(uri, db)
    await create_database(uri, lean, is_lean=True)
    assert set(await lean.list_collection_names()) == set(await db.list_collection_names())
    kept: dict[str, set[str]] = {}
    for name in INDEXES:
        complete, found = await db[name].index_information(), await lean[name].index_information()
        kept[name] = found.keys() - {"_id_"}
        assert kept[name] == {key for key, index in complete.items() if index.keys() & {"unique", "expireAfterSeconds"}}
    assert kept["activities"] == {"workspace_1_pos_1"}
    assert kept["passes"] == set()
    assert await read_all(lean) == await read_all(db)
    for used in (db, lean):
        await drop_database(uri, used)


async def test_processes_accept_passes_in_the_database_of_a_test(resources: Resources, clock: FixedClock) -> None:
    await empty_database(resources.settings.mongodb_uri, resources.db)
    business = await open_business(resources, clock)
    await business.create_passes("ann")
    await require_names(resources.db)


async def test_database_that_lacks_a_collection_or_is_large_is_not_used_again(resources: Resources) -> None:
    uri, db = resources.settings.mongodb_uri, resources.db
    await db["activities"].insert_many([{"pos": n} for n in range(MAX_DELETED_DOCUMENTS + 1)])
    assert not await empty_database(uri, db)
    await db["activities"].delete_many({})
    assert await empty_database(uri, db)
    await db.drop_collection("receipts")
    assert not await empty_database(uri, db)
