"""Databases of tests: created with their indexes once, then emptied for another test."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pymongo import IndexModel
from pymongo.errors import OperationFailure

from app.store.mongo.queries import Database, Doc
from app.store.operations import indexes

MAX_DELETED_DOCUMENTS = 50
"""Documents in a large collection up to which deleting them is faster than a new database."""

_created: dict[tuple[str | None, str], Sequence[Doc]] = {}
"""The databases that this process created, by address of the server and name.

The value is what `constants` contained then: processes refuse a database in which it is missing.
"""


async def create_database(uri: str | None, db: Database, *, is_lean: bool = False) -> None:
    """Create the collections, indexes and constants of a database, unless this process did so before.

    A lean database has only the indexes that refuse or expire documents. The embedded store reads the definitions of all
    indexes of a collection several times for each command, which is half of its CPU time in tests.
    """
    if (uri, db.name) in _created:
        return
    with pytest.MonkeyPatch.context() as patch:
        if is_lean:
            # Creating an index also creates the collection, which `empty_database` expects.
            for name in indexes.INDEXES.keys() - await db.list_collection_names():
                await db.create_collection(name)
            kept = {name: [index for index in models if _has_effect(index)] for name, models in indexes.INDEXES.items()}
            patch.setattr(indexes, "INDEXES", {name: models for name, models in kept.items() if models})
        await indexes.ensure_indexes(db)
    _created[uri, db.name] = await _constants(db)


def _has_effect(index: IndexModel) -> bool:
    """Return whether an index refuses or deletes documents. All others only make queries faster."""
    return bool(index.document.get("unique")) or "expireAfterSeconds" in index.document


async def empty_database(uri: str | None, db: Database) -> bool:
    """Bring a database to the state in which `create_database` left it, and return True.

    Return False if dropping it is faster, or if it was not created by `create_database` or lacks a collection since.
    """
    created = _created.get((uri, db.name))
    if created is None:
        return False
    for large in ("events", "passes", "activities"):
        if await db[large].estimated_document_count() > MAX_DELETED_DOCUMENTS:
            return False
    names = set(await db.list_collection_names())
    if not names.issuperset(indexes.INDEXES):
        return False
    for name in await _with_documents(db, sorted(names - {"constants"})):
        await db[name].delete_many({})
    if await _constants(db) != created:
        await db["constants"].delete_many({})
        await db["constants"].insert_many(created)
    return True


async def drop_database(uri: str | None, db: Database) -> None:
    """Drop a database, so that `create_database` would create it again."""
    _created.pop((uri, db.name), None)
    await db.client.drop_database(db.name)


async def _constants(db: Database) -> list[Doc]:
    return await db["constants"].find().sort("_id", 1).to_list(None)


async def _with_documents(db: Database, names: Sequence[str]) -> list[str]:
    """Return the collections that have documents. One command asks all, which takes a tenth of the time of deleting."""
    first, *others = names
    named: dict[str, list[Doc]] = {
        name: [{"$limit": 1}, {"$project": {"_id": 0, "name": {"$literal": name}}}] for name in names
    }
    unions = [{"$unionWith": {"coll": name, "pipeline": named[name]}} for name in others]
    try:
        found = await db[first].aggregate([*named[first], *unions]).to_list(None)
    except OperationFailure:  # mongo-java-server has no $unionWith
        return list(names)
    return [doc["name"] for doc in found]
