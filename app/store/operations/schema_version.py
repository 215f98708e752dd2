"""Version of the stored documents: which code may write to a database.

`constants` has one document: the version that the database was migrated to, and the lowest version whose code may still
write. A process checks the second number at its start and every few seconds. So a process that was forgotten in a
rollout stops, before it damages documents that it does not understand.

A change of the stored form takes two versions of Punchcard. The first one reads both forms and writes the old one. The
second one writes the new form, and allows the first to write beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.errors import PunchcardError
from app.store.mongo.queries import Database, translating_errors

SCHEMA_VERSION = 6
"""Version of the documents that this code writes. Version 0.1.0 of Punchcard writes version 1, and stored no number.

Since version 3, each external id has a name, a document of each workspace decides merges, and rules and tier programs
stand among the definitions. Since version 4, stages mark the hours whose counted events they change.
Since version 5, heads with a mark have a flag, and passes name the periods whose active passes must be counted anew.
Since version 6, the last sealed month of a pass has sums of twelve months.
"""
LOWEST_WRITER = 6
"""Lowest version whose code may write beside this code. It is at most one below SCHEMA_VERSION in a rolling upgrade."""
FIRST_VERSION = 1
SCHEMA_ID = "schema"
"""Id of the document in `constants`."""


@dataclass(frozen=True, slots=True)
class StoredVersions:
    """The schema version that a database was migrated to, and the lowest version whose code may write."""

    version: int
    lowest_writer: int


class SchemaTooNew(PunchcardError):
    """A database whose documents this version of Punchcard must not write any more."""


def lowest_writer_of(stored: Mapping[str, Any]) -> int:
    """Return the lowest schema version that may write, of the document in `constants`."""
    return int(stored.get("lowest_writer", FIRST_VERSION))


def check_writable(lowest_writer: int, database: str) -> None:
    """Raise SchemaTooNew if this version is below the lowest one that may write to the database of this name."""
    if lowest_writer > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"The database {database} needs a newer version of Punchcard: processes that write it must have schema version"
            f" {lowest_writer}, this one has {SCHEMA_VERSION}. Start the version that ran `punchcard migrate` last."
        )


async def read_versions(db: Database) -> StoredVersions:
    """Return the versions that are stored, else those of Punchcard 0.1.0. Raises Unavailable. Index: _id."""
    with translating_errors():
        stored = await db["constants"].find_one({"_id": SCHEMA_ID}) or {}
    return StoredVersions(int(stored.get("version", FIRST_VERSION)), lowest_writer_of(stored))


async def require_writable(db: Database) -> None:
    """Raise SchemaTooNew if this version must not write to the database. Raises Unavailable; safe to repeat."""
    check_writable((await read_versions(db)).lowest_writer, db.name)


async def raise_schema(db: Database) -> None:
    """Store the version of this code, and the lowest version that may write. Numbers never fall.

    Raises SchemaTooNew if a newer version of Punchcard excludes this one. Raises Unavailable; safe to repeat.
    """
    await require_writable(db)
    change = {"$max": {"version": SCHEMA_VERSION, "lowest_writer": LOWEST_WRITER}}
    with translating_errors():
        await db["constants"].update_one({"_id": SCHEMA_ID}, change, upsert=True)
