"""Tokens, sort key and last event of the passes that earlier versions stored. `punchcard migrate` writes them.

The next fold of a pass writes them as well, but a pass may have no further event, and a search must find it all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from pymongo import UpdateOne

from app.store.codecs.pass_search import find_part_to_doc
from app.store.codecs.passes import from_doc
from app.store.mongo.queries import EMBEDDED_CHUNK, Database, Doc, equal_to

from .all_passes import change_all_passes

FINDABLE = "findable_passes"
"""The document in `constants` that says how far the passes are findable."""


async def make_passes_findable(db: Database, report: Callable[[int], None] = lambda _: None) -> None:
    """Store in each pass what lists find it by, unless that is done. `report` gets the number of passes so far.

    A pass that another process writes meanwhile gets it by that write. Safe to repeat, and to run from several processes
    at once. Raises Unavailable. Index: _id.
    """
    omitted: Doc = {"state": 0, "lots": 0, "decided": 0, "out": 0}
    await change_all_passes(db, FINDABLE, omitted, partial(_complete, db), report)


async def _complete(db: Database, docs: Sequence[Doc]) -> None:
    # Stubs and aliases have no instant of creation, and no list finds them.
    lacking = [doc for doc in docs if "created_at" in doc and "searched" not in doc]
    updates = [
        UpdateOne(
            {"_id": doc["_id"], "v": equal_to(doc["v"]), "fid": equal_to(doc["fid"])},
            {"$set": find_part_to_doc(replace(from_doc(doc), searchable=()))},
        )
        for doc in lacking
    ]
    for start in range(0, len(updates), EMBEDDED_CHUNK):
        await db["passes"].bulk_write(updates[start : start + EMBEDDED_CHUNK], ordered=False)
