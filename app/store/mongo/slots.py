"""Moving the pending events of a pass between the slots of the backlog and those of parked passes."""

from __future__ import annotations

from .queries import Collection, Doc, update_by_ids


async def move_to_slot(events: Collection, where: Doc, slot: int, in_chunk: int, *, is_sharded: bool) -> None:
    """Move the events of one pass, which have one `pend`, to another one, until none is left. Safe to repeat.

    Each update names one event. A sharded MongoDB may leave out an update of many. Index: that of `where`.
    """
    while docs := await events.find(where, {"_id": 1}).limit(in_chunk).to_list(None):
        ids = [doc["_id"] for doc in docs]
        workspace_ids = dict.fromkeys(ids, str(where["workspace"])) if is_sharded else None
        change, as_read = {"$set": {"pend": slot}}, {"pend": where["pend"]}
        await update_by_ids(events, ids, change, where=as_read, in_chunk=in_chunk, workspace_ids=workspace_ids)
