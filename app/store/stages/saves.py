"""The bulk write of passes by compare-and-set, in which a document that the store refuses fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.errors import BulkWriteError

from app.clock import system_ms
from app.domain.passes.passes import Pass
from app.store.codecs.pass_writes import update_pass_operation
from app.store.mongo.failures import DRIVER_ERRORS, describe_code, find_bad_document, is_transient_code
from app.store.mongo.queries import Collection, Doc, group_by_workspace

PassWrite = tuple[Pass, Pass, Sequence[Any], str]
"""A pass as read, the pass to store, its new outbox entries, and the random id of the write."""


async def save_passes(
    passes: Collection,
    writes: Sequence[PassWrite],
    in_chunk: int,
    *,
    recounts: Mapping[str, Doc],
    is_sharded: bool = False,
) -> tuple[set[str], dict[str, str]]:
    """Write passes. Return the ids of those whose write is stored, and by id why the store refused others.

    `recounts` has by id the field `recount` of passes that end.
    """
    if not writes:
        return set(), {}
    write_ids = {before.id: write_id for before, _, _, write_id in writes}
    matched, refused = 0, dict[str, str]()
    # Write in batches, so that a slow server answers each one well within the driver's timeout of 20 s.
    for start in range(0, len(writes), in_chunk):
        batch = writes[start : start + in_chunk]
        matched += await _write_batch(passes, batch, refused, recounts=recounts, is_sharded=is_sharded)
    if matched == len(writes):
        return set(write_ids), refused

    async def find(where: Doc) -> list[Doc]:
        return await passes.find(where, {"fid": 1}).to_list(None)

    groups: list[Doc] = [
        {"_id": {"$in": ids}, **({"workspace": {"$in": workspaces}} if is_sharded else {})}
        for workspaces, ids in group_by_workspace({card.id: card.workspace_id for card, _, _, _ in writes}, in_chunk)
    ]
    docs = [doc for found in await asyncio.gather(*map(find, groups)) for doc in found]
    return {doc["_id"] for doc in docs if doc["fid"] == write_ids[doc["_id"]]}, refused


async def _write_batch(
    passes: Collection,
    batch: Sequence[PassWrite],
    refused: dict[str, str],
    *,
    recounts: Mapping[str, Doc],
    is_sharded: bool,
) -> int:
    """Write passes and return how many matched. A write that cannot succeed fails alone, and is put into `refused`."""
    now_ms = system_ms()
    try:
        operations = [
            update_pass_operation(
                *write, system_ms=now_ms, recount=recounts.get(write[0].id, {}), names_shard=is_sharded
            )
            for write in batch
        ]
        return (await passes.bulk_write(operations, ordered=False)).matched_count
    except BulkWriteError as error:
        details = error.details or {}
        if details.get("writeConcernErrors"):
            raise
        for each in details.get("writeErrors", ()):
            if not is_transient_code(each.get("code")):
                refused[batch[each["index"]][0].id] = describe_code(each.get("code"))
        return int(details.get("nMatched", 0))
    except (*DRIVER_ERRORS, OverflowError) as error:
        # The driver, or the store, refuses one document and the other writes of the batch with it.
        reason = find_bad_document(error)
        if reason is None:
            raise
        if len(batch) == 1:
            refused[batch[0][0].id] = reason
            return 0
        return sum(
            [await _write_batch(passes, [write], refused, recounts=recounts, is_sharded=is_sharded) for write in batch]
        )
