"""Marks on heads of rollups: a mark says that the content of a period may differ from its events.

Set a mark after the write that removes an event, and before the write that makes one count for readers. A seal compares the
mark with the one that it read before the events. So each mark has a new random value.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from app.domain.rollups.marks import HeadKey
from app.domain.values.instants import from_ms
from app.store.codecs.rollups import head_id
from app.store.mongo.failures import DUPLICATE
from app.store.mongo.queries import Collection, Database, Doc

COLLECTION = "rollup_heads"
MARK_BITS = 53
"""Marks are integers from 1 up to 2 to this power, so that programs that read them as floating point numbers do no harm."""


async def mark_heads(db: Database, keys: Iterable[HeadKey], in_chunk: int, *, is_sharded: bool = False) -> None:
    """Give each head a new mark, and insert the heads that do not exist. Safe to repeat. Index: _id.

    One bulk write for up to `in_chunk` heads. The caller translates errors of the driver.
    """
    unique = list(dict.fromkeys(keys))
    for start in range(0, len(unique), in_chunk):
        await _mark_chunk(db[COLLECTION], unique[start : start + in_chunk], is_sharded=is_sharded)


async def _mark_chunk(heads: Collection, keys: Sequence[HeadKey], *, is_sharded: bool) -> None:
    while keys:
        try:
            await heads.bulk_write([_mark_operation(key, is_sharded=is_sharded) for key in keys], ordered=False)
        except BulkWriteError as error:
            details = error.details or {}
            failures = details.get("writeErrors", [])
            if details.get("writeConcernErrors") or any(failure["code"] != DUPLICATE for failure in failures):
                raise
            # Another process has inserted these heads meanwhile. Its marks may be older than this call.
            keys = [keys[failure["index"]] for failure in failures]
        else:
            return


def new_mark() -> int:
    """Return a random mark."""
    random_bits = int(secrets.token_hex(8), base=16)
    return 1 + random_bits % (int(2**MARK_BITS) - 1)


def _mark_operation(key: HeadKey, *, is_sharded: bool) -> UpdateOne:
    where: Doc = {"_id": head_id(*key)}
    fields: Doc = {"level": key.level.value, "start": from_ms(key.start_ms)}
    # The workspace leads a sharded store to one shard. It is then stored from the filter.
    (where if is_sharded else fields)["workspace"] = key.workspace_id
    return UpdateOne(where, {"$set": {"dirty": new_mark()}, "$setOnInsert": fields}, upsert=True)
