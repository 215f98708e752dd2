"""Names for the passes that version 0.1.0 stored. `punchcard migrate` makes them, once for each database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from app.domain.errors import PunchcardError
from app.domain.ids import pass_name_id
from app.store.mongo.queries import EMBEDDED_CHUNK, Database, Doc, in_chunks, insert_new, translating_errors

from .all_passes import change_all_passes

NAMED = "pass_names"
"""The document in `constants` that says how far the passes have names."""


class NotNamed(PunchcardError):
    """A database whose passes have no names, so that this version must not start on it. `punchcard migrate` makes them."""


async def require_names(db: Database) -> None:
    """Raise NotNamed if passes of an earlier version have no names yet. Raises Unavailable; safe to repeat."""
    if await lacks_names(db):
        raise NotNamed(
            f"The passes of the database {db.name} have no names yet, which this version needs. Stop the processes of"
            " earlier versions, run `punchcard migrate` once and wait until it ends, then start again."
        )


async def lacks_names(db: Database) -> bool:
    """Return whether passes of an earlier version may have no names. Raises Unavailable; safe to repeat. Index: _id."""
    with translating_errors():
        progress = await db["constants"].find_one({"_id": NAMED}) or {}
        return not progress.get("done") and await db["passes"].find_one({}, {"_id": 1}) is not None


async def forget_names(db: Database) -> None:
    """Let the next call of `name_passes` look at all passes again. Raises Unavailable; safe to repeat."""
    with translating_errors():
        await db["constants"].delete_one({"_id": NAMED})


async def name_passes(db: Database, report: Callable[[int], None] = lambda _: None) -> None:
    """Store a name for each pass, unless that is done. `report` is called with the number of passes named so far.

    No process of an earlier version may create passes meanwhile. Safe to repeat, and to run from several processes at
    once: each continues where the last one stopped. Raises Unavailable. Index: _id.
    """
    fields = {"workspace": 1, "external_id": 1, "gone": 1, "erased": 1}
    await change_all_passes(db, NAMED, fields, partial(_name, db), report)


async def _name(db: Database, docs: Sequence[Doc]) -> None:
    """Store the names of passes. A name that exists is given to its pass if it leads to a pass that does not exist.

    A process of an earlier version may have created the pass after the migration. A creation in this version reserved the
    name then, and the unique index of the earlier version, where it still exists, refused its pass each time.
    """
    docs = [doc for doc in docs if "gone" not in doc]
    names = [name_of(doc) for doc in docs]
    existing = await insert_new(db["pass_names"], names)
    expected = {names[index]["_id"]: docs[index] for index in existing if "erased" not in docs[index]}

    async def find_chunk(collection: str, ids: Sequence[str]) -> list[Doc]:
        return await db[collection].find({"_id": {"$in": list(ids)}}, {"pass": 1}).to_list(None)

    found = await in_chunks(partial(find_chunk, "pass_names"), list(expected), EMBEDDED_CHUNK)
    others = [each for each in found if each["pass"] != expected[each["_id"]]["_id"]]
    passes = await in_chunks(partial(find_chunk, "passes"), [each["pass"] for each in others], EMBEDDED_CHUNK)
    stored_ids = {each["_id"] for each in passes}
    for each in (each for each in others if each["pass"] not in stored_ids):
        doc = expected[each["_id"]]
        as_read = {"_id": each["_id"], "workspace": doc["workspace"], "pass": each["pass"]}
        await db["pass_names"].update_one(as_read, {"$set": {"pass": doc["_id"]}})


def name_of(doc: Doc) -> Doc:
    """Return the name of a stored pass. Its first reader looks at the pass."""
    name_id = pass_name_id(doc["workspace"], doc["external_id"])
    return {"_id": name_id, "workspace": doc["workspace"], "pass": doc["_id"]}
