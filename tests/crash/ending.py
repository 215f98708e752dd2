"""The end of a crash run: when no work is left, and which work was lost, so that no worker will ever look at it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from app.resources import Resources
from app.store.mongo.queries import Database
from tests.patience import PATIENCE_SECONDS

Progress = dict[str, int]
"""How many documents there are of each kind of work, and of what the work makes."""


async def wait_until_done(resources: Resources, say: Callable[[str], None]) -> None:
    """Return when no work is left. Raises AssertionError if nothing has changed for `PATIENCE_SECONDS`.

    A busy machine is slow. It does not make work late for ever, so the time of the whole work is not limited.
    """
    deadline, said, before = 0.0, "", Progress()
    while True:
        try:
            now_ms = int((await resources.clock.now()).timestamp() * 1000)
            left, progress = await find_pending_work(resources.db, now_ms)
        except Exception as error:  # noqa: BLE001  # the store may still be starting
            left, progress = repr(error), before
        if left is None:
            return
        if left != said:
            say(f"there are still {left}")
            said = left
        if progress != before or not deadline:
            deadline, before = time.monotonic() + PATIENCE_SECONDS, progress
        if time.monotonic() > deadline:
            raise AssertionError(f"for {PATIENCE_SECONDS:g} s there are {left}, and nothing changes")
        await asyncio.sleep(0.2)


async def find_pending_work(db: Database, now_ms: int) -> tuple[str | None, Progress]:
    """Return a description of work that is left to do, or None, and the progress that was read.

    The collections are read one after the other. Work may move meanwhile to one that was read before: the outcome of a
    message that was sent is an event to fold. So nothing is left if two looks find nothing, and nothing was made meanwhile.
    """
    made = await _count_made(db)
    for _ in range(2):
        work = {name: await db[collection].count_documents(where) for name, collection, where in _work(now_ms)}
        for name, count in work.items():
            if count:
                return f"{count} {name}", {**made, **work}
    return (None if await _count_made(db) == made else "events and activities that are being made"), made


async def find_lost_deliveries(db: Database) -> list[str]:
    """Return the endpoints that are idle or disabled before the end of the log, and messages that were given up.

    Call it when no work is left: a delivery that is only late still has a scheduled instant then.
    """
    last = await db["activities"].find_one({}, {"pos": 1}, sort=[("pos", -1)])
    end = 0 if last is None else last["pos"]
    found = []
    async for endpoint in db["webhook_lanes"].find({}):
        if (position := min(endpoint["next"])) <= end:
            state = "idle" if "on" in endpoint else "disabled"
            found.append(f"{endpoint['_id']} is {state} at position {position}, the log ends at {end}")
    left = await db["webhook_deliveries"].find({"status": {"$ne": "SUCCEEDED"}}).to_list(None)
    return found + [f"the delivery {each['_id']} is {each['status']}: {each['attempts'][-1:]}" for each in left]


def _work(now_ms: int) -> tuple[tuple[str, str, dict[str, Any]], ...]:
    return (
        ("events to fold", "events", {"pend": {"$gte": 0}}),
        ("passes due", "passes", {"due": {"$gte": 0, "$lte": now_ms}}),
        ("outboxes to publish", "passes", {"pub": {"$gte": 0}}),
        ("passes to merge", "passes", {"merging": {"$gte": 0}}),
        ("passes to erase", "passes", {"erasing": {"$gte": 0}}),
        ("jobs to run", "jobs", {"open": {"$gte": 0}}),
        ("workspaces to backfill", "workspaces", {"stale": {"$gte": 0}}),
        ("webhook endpoints to deliver to", "webhook_lanes", {"at": {"$gte": 0}}),
        ("effects outside passes to make", "react_lanes", {"at": {"$gte": 0}}),
        ("messages to send", "channel_lanes", {"at": {"$gte": 0}}),
        ("passes to seal", "passes", {"dirty_from": {"$gte": 0}}),
        ("rollups to seal", "rollup_heads", {"dirty": {"$gte": 0}}),
        ("passes that change numbers of active passes", "passes", {"recount.mark": {"$gte": 0}}),
        ("numbers of active passes to count", "active_counts", {"dirty": {"$gte": 0}}),
    )


async def _count_made(db: Database) -> Progress:
    """Return the number of events, stubs among them, activities, erasures, and outcomes of deliveries."""
    names = ("events", "activities", "erasures", "webhook_deliveries")
    made = {name: await db[name].count_documents({}) for name in names}
    return {**made, "removed": await db["events"].count_documents({"removed": {"$exists": True}})}
