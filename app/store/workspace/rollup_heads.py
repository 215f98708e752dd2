"""Marks on heads of rollups: a mark says that the content of a period may differ from its events.

Set a mark after the write that removes an event, and before the write that makes one count for readers. A seal compares the
mark with the one that it read before the events. So each mark has a new random value.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

from pymongo import UpdateOne

from app.domain.rollups.marks import HeadKey
from app.domain.values.instants import from_ms
from app.store.codecs.rollups import head_id
from app.store.mongo.queries import Collection, Database, Doc, insert_new

COLLECTION = "rollup_heads"
IS_DIRTY = "is_dirty"
"""Field that is 1 in each head with a mark, and absent from the others: the first one of the index that finds them."""
MARK_BITS = 53
"""Marks are integers from 1 up to 2 to this power, so that programs that read them as floating point numbers do no harm."""


async def mark_heads(db: Database, keys: Iterable[HeadKey], in_chunk: int, *, is_sharded: bool = False) -> None:
    """Give heads a new mark, and insert the heads that do not exist. Safe to repeat. Index: _id.

    One write for up to `in_chunk` heads that exist; a read and an insert more, if some do not. The heads of one write get
    the same mark. The caller translates errors of the driver.
    """
    unique = list(dict.fromkeys(keys))
    for start in range(0, len(unique), in_chunk):
        await _mark_chunk(db[COLLECTION], unique[start : start + in_chunk], is_sharded=is_sharded)


async def _mark_chunk(heads: Collection, keys: Sequence[HeadKey], *, is_sharded: bool) -> None:
    """Mark heads, at first as if all existed: for many heads, that takes the store a fraction of the time of upserts."""
    while keys:
        mark = new_mark()
        if await _update(heads, keys, mark, is_sharded=is_sharded) == len(keys):
            return
        # A head that another process has inserted since the update has no mark of this call.
        stored = await heads.find(_by_ids(keys, is_sharded=is_sharded), {"dirty": 1}, batch_size=len(keys) + 1).to_list(
            None
        )
        marked = {doc["_id"] for doc in stored if doc.get("dirty") == mark}
        unmarked = [key for key in keys if head_id(*key) not in marked]
        existing = await insert_new(heads, [_head_to_doc(key, mark) for key in unmarked])
        keys = [unmarked[index] for index in sorted(existing)]


async def _update(heads: Collection, keys: Sequence[HeadKey], mark: int, *, is_sharded: bool) -> int:
    """Mark those of the heads that exist, and return their number."""
    change = {"$set": _marked(mark)}
    if not is_sharded:
        return (await heads.update_many(_by_ids(keys, is_sharded=False), change)).matched_count
    # While documents move to another shard, the answer to an update of many does not tell how many it has changed.
    updates = [UpdateOne({"_id": head_id(*key), "workspace": key.workspace_id}, change) for key in keys]
    return (await heads.bulk_write(updates, ordered=False)).matched_count


def _by_ids(keys: Sequence[HeadKey], *, is_sharded: bool) -> Doc:
    where: Doc = {"_id": {"$in": [head_id(*key) for key in keys]}}
    # The workspace leads a sharded store to some shards. With it, the embedded server reads whole workspaces.
    return {**where, "workspace": {"$in": sorted({key.workspace_id for key in keys})}} if is_sharded else where


def _head_to_doc(key: HeadKey, mark: int) -> Doc:
    start = from_ms(key.start_ms)
    return {
        "_id": head_id(*key),
        "workspace": key.workspace_id,
        "level": key.level.value,
        "start": start,
        **_marked(mark),
    }


def _marked(mark: int) -> Doc:
    # The embedded servers use no more than one range of an index, and a filter on marks is one. So `is_dirty` has one value.
    return {"dirty": mark, IS_DIRTY: 1}


def new_mark() -> int:
    """Return a random mark."""
    random_bits = int(secrets.token_hex(8), base=16)
    return 1 + random_bits % (int(2**MARK_BITS) - 1)
