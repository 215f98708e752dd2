"""Indexes of a database are compared, built with their progress, and changed only where Punchcard made them."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.errors import OperationFailure

from app.resources import Resources
from app.store.operations import migration as module
from app.store.operations.indexes import FORMER_INDEXES, INDEXES
from app.store.operations.migration import (
    BuildProgress,
    Migration,
    MigrationFailed,
    NotMigrated,
    find_progress,
    require_indexes,
)

POS = "workspace_1_pos_1"
NUMBER_OF_INDEXES = sum(map(len, INDEXES.values()))


def ignore(progress: BuildProgress) -> None:
    """Take a report and do nothing."""


async def build_all(resources: Resources) -> Migration:
    """Build all indexes of the test's database."""
    migration = Migration(resources.db)
    for collection, models in INDEXES.items():
        await migration.build_indexes(collection, [str(model.document["name"]) for model in models], ignore)
    return migration


@pytest.mark.unused_database
async def test_missing_indexes_are_named_and_a_start_without_them_is_refused(resources: Resources) -> None:
    with pytest.raises(NotMigrated, match=f"lacks {NUMBER_OF_INDEXES} of the indexes.*punchcard migrate"):
        await require_indexes(resources.db)
    assert await resources.db.list_collection_names() == [], "a comparison changes nothing"
    migration = await build_all(resources)
    await require_indexes(resources.db)
    assert (await migration.compare_indexes()).lacking == ()
    await resources.db["activities"].drop_index(POS)
    assert (await migration.compare_indexes()).missing == [f"activities.{POS}"]
    with pytest.raises(NotMigrated, match=f"lacks 1 of the indexes that this version needs: activities.{POS}. "):
        await require_indexes(resources.db)


@pytest.mark.unused_database
async def test_index_with_other_options_or_another_name_is_a_conflict_with_advice(resources: Resources) -> None:
    migration = await build_all(resources)
    await resources.db["activities"].drop_index(POS)
    await resources.db["activities"].create_index([("workspace", 1), ("pos", 1)], name=POS)
    await resources.db["passes"].drop_index("due_1_slot_1")
    await resources.db["passes"].create_index(
        [("due", 1), ("slot", 1)], name="mine", partialFilterExpression={"due": {"$gte": 0}}
    )
    await resources.db["receipts"].drop_index("expires_at_1")
    await resources.db["receipts"].create_index("expires_at", expireAfterSeconds=60)
    compared = await migration.compare_indexes()
    advice = {f"{each.collection}.{each.name}": each.advice for each in compared.conflicts}
    assert set(advice) == {f"activities.{POS}", "passes.mine", "receipts.expires_at_1"}
    assert advice[f"activities.{POS}"].startswith(
        f"activities.{POS} differs from the index that this version needs in `unique`. Stop"
    )
    assert f'db.activities.dropIndex("{POS}")' in advice[f"activities.{POS}"]
    assert "`expireAfterSeconds`" in advice["receipts.expires_at_1"]
    assert "under another name than due_1_slot_1" in advice["passes.mine"]
    assert set(compared.lacking) == {f"activities.{POS}", "passes.due_1_slot_1", "receipts.expires_at_1"}
    with pytest.raises(MigrationFailed, match=r"The indexes workspace_1_pos_1 of activities.*\(86\)"):
        await migration.build_indexes("activities", [POS], ignore)


@pytest.mark.unused_database
async def test_only_indexes_of_earlier_versions_are_hidden_and_dropped(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration = await build_all(resources)
    for name in ("old", "mine"):
        await resources.db["events"].create_index(name, name=name)
    monkeypatch.setitem(FORMER_INDEXES, "events", frozenset({"old"}))
    compared = await migration.compare_indexes()
    assert (compared.former, compared.foreign) == (["events.old"], ["events.mine"])
    await migration.hide_index("events", "old")
    await migration.drop_index("events", "old")
    assert (await migration.compare_indexes()).former == []
    assert "mine" in await resources.db["events"].index_information()
    with pytest.raises(MigrationFailed, match=r"The index events\.old could not be changed"):
        await migration.drop_index("events", "old")


@pytest.mark.unused_database
async def test_documents_that_violate_an_index_are_not_quoted_in_the_message(resources: Resources) -> None:
    docs = [{"_id": n, "workspace": "ws_secret", "pos": 1} for n in range(2)]
    await resources.db["activities"].insert_many(docs)
    with pytest.raises(MigrationFailed, match=r"DuplicateKey|11000") as failed:
        await Migration(resources.db).build_indexes("activities", [POS], ignore)
    assert "ws_secret" not in str(failed.value)


@pytest.mark.unused_database
async def test_progress_of_a_build_is_reported_while_the_build_runs(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[BuildProgress] = []
    progress = BuildProgress("activities", "scanning collection", 5, 20)

    async def read_progress(_: Migration) -> list[BuildProgress]:
        return [progress]

    monkeypatch.setattr(module, "PROGRESS_INTERVAL_SECONDS", 0)
    monkeypatch.setattr(Migration, "_read_progress", read_progress)
    await Migration(resources.db).build_indexes("activities", [POS], seen.append)
    assert seen[0] == progress
    assert str(progress) == "activities: scanning collection 25 %"


def test_progress_is_that_of_the_threads_that_build_in_this_database() -> None:
    """The first operation is as the manual of MongoDB shows it; the command that waits for the build has no progress."""
    operations: list[dict[str, Any]] = [
        {
            "ns": "punchcard.events",
            "op": "none",
            "msg": "Index Build: inserting keys from external sorter into index",
            "progress": {"done": 30, "total": 120},
        },
        {"ns": "punchcard.events", "op": "command", "command": {"createIndexes": "events"}},
        {"ns": "other.events", "op": "none", "msg": "Index Build: scanning collection"},
        {"desc": "idle"},
    ]
    [found] = find_progress(operations, "punchcard")
    assert str(found) == "events: inserting keys from external sorter into index 25 %"


def test_index_that_is_being_built_is_lacking() -> None:
    model = next(model for model in INDEXES["activities"] if model.document["name"] == POS)
    spec = {**model.document, "key": dict(model.document["key"])}
    found = module._Found()
    module._compare_collection("activities", [{"spec": spec, "buildUUID": b""}], found)
    assert found.building == [f"activities.{POS}"]
    assert found.conflicts == []


async def test_error_names_the_missing_role() -> None:
    error = OperationFailure("not authorized on punchcard", 13, {"codeName": "Unauthorized"})
    assert "Give the database user the role `dbAdmin`" in module._explain(error, "The index a.b")
