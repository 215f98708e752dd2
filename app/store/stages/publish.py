"""Reads and writes of the publish stage: the outboxes of passes. Only `workers` may import them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pymongo import UpdateOne

from app.clock import system_ms
from app.domain.activities import Entry
from app.domain.events.events import Event
from app.domain.snapshots import Customer
from app.store.codecs.events import made_to_doc
from app.store.codecs.pass_parts import entry_from_doc
from app.store.mongo.decimal128 import from_decimal128
from app.store.mongo.horizons import Horizon, read_soonest
from app.store.mongo.queries import Database, Doc, StageQueries, equal_to, insert_new

LOOK_SIZE = 500
"""Unpublished passes that one look for workspaces reads."""


_CUSTOMER_FIELDS = ("external_id", "profile.holder", "profile.status", "tier", "points")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Outbox entries of a pass that are not published yet, and its customer; None for a pass that ended."""

    entries: Sequence[Entry]
    customer: Customer | None


def _customer_from_doc(doc: Doc) -> Customer | None:
    profile, points = doc.get("profile"), doc.get("points")
    if not profile or points is None:
        return None
    return Customer(
        external_id=doc.get("external_id"),
        holder=profile["holder"],
        status=profile["status"],
        tier=doc.get("tier"),
        points=from_decimal128(points),
    )


class PublishQueries(StageQueries):
    """Named queries of the publish stage. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int = 1_000, *, is_sharded: bool = False) -> None:
        super().__init__(db, in_chunk, is_sharded=is_sharded)
        self._passes, self._events = db["passes"], db["events"]
        self._look_from_ms = self._lap_until_ms = 0
        self._look_horizon = self._first_horizon = Horizon()

    async def waiting_workspaces(self) -> set[str]:
        """Return workspaces with unpublished passes. Index: {pub, workspace}.

        A call looks at about LOOK_SIZE passes. It continues after the passes of the last call, and begins again after
        the last pass that waited when it began. So a long backlog of one workspace hides the others for some calls only,
        also if it grows faster than the calls continue.
        """
        from_ms, fields = self._look_from_ms, {"workspace": 1, "pub": 1, "_id": 0}
        docs, horizon = await read_soonest(
            self._passes, {}, "pub", fields, limit=LOOK_SIZE, horizon=self._look_horizon, from_ms=from_ms
        )
        following = horizon.after([doc["pub"] for doc in docs], LOOK_SIZE)
        if from_ms == 0:
            self._first_horizon, self._lap_until_ms = following, system_ms()
        if docs and docs[-1]["pub"] > self._lap_until_ms:
            self._look_from_ms, self._look_horizon = 0, self._first_horizon
        elif len(docs) == LOOK_SIZE:
            self._look_from_ms, self._look_horizon = max(docs[-1]["pub"], from_ms + 1), following
        elif horizon.until_ms is not None:
            self._look_from_ms, self._look_horizon = horizon.until_ms, following
        else:
            self._look_from_ms, self._look_horizon = 0, self._first_horizon
        return {doc["workspace"] for doc in docs}

    async def first_waiting(self, workspace_id: str) -> tuple[str, int] | None:
        """Return the pass of a workspace that waits longest and the number of its first outbox entry, or None.

        Index: {workspace, pub}.
        """
        waiting, _ = await self.waiting(workspace_id, Horizon(), 1, 1)
        found = ((pass_id, each.entries[0].number if each.entries else 0) for pass_id, each in waiting.items())
        return next(found, None)

    async def waiting(
        self, workspace_id: str, horizon: Horizon, limit: int, each: int
    ) -> tuple[dict[str, Waiting], Horizon]:
        """Return the first `each` outbox entries, in order of number, of up to `limit` passes that wait longest.

        Also return the horizon for the next call. Pass `Horizon()` to the first call: it examines all that wait. Index:
        {workspace, pub}.
        """
        fields = {"n": 1, "pub": 1, "out": {"$slice": each}, **dict.fromkeys(_CUSTOMER_FIELDS, 1)}
        where = {"workspace": workspace_id}
        docs, horizon = await read_soonest(self._passes, where, "pub", fields, limit=limit, horizon=horizon)
        found = {
            doc["_id"]: Waiting([entry_from_doc(entry) for entry in doc["out"][:each]], _customer_from_doc(doc))
            for doc in docs
        }
        return found, horizon.after([doc["pub"] for doc in docs], limit)

    async def insert_made(self, workspace_id: str, made: Sequence[Event]) -> None:
        """Insert events that outboxes carry, or leave those that exist. Safe to repeat. Index: _id.

        The stub of an erased pass's event has the event's id, so that a late insert is refused.
        """
        for start in range(0, len(made), self._in_chunk):
            chunk = made[start : start + self._in_chunk]
            await insert_new(self._events, [{**made_to_doc(event), "workspace": workspace_id} for event in chunk])

    async def published(self, up_to: Mapping[str, int], *, workspace_id: str | None = None) -> None:
        """Remove published entries, up to a number, from the outbox of each of these passes of a workspace.

        Version and write id stay. Safe to repeat. Index: _id.
        """
        numbers = list(up_to.items())
        # Write in batches, so that a slow server answers each one well within the driver's timeout of 20 s.
        for start in range(0, len(numbers), self._in_chunk):
            await self._remove_published(dict(numbers[start : start + self._in_chunk]), workspace_id)

    async def _remove_published(self, up_to: Mapping[str, int], workspace_id: str | None) -> None:
        operations = [
            _pull_operation(
                self._by_id(pass_id, workspace_id, n=equal_to(n)), n, {"$unset": {"pub": "", "made_at": ""}}
            )
            for pass_id, n in up_to.items()
        ]
        result = await self._passes.bulk_write(operations, ordered=False)
        if result.matched_count == len(operations):
            return
        # Some passes have newer entries. Remove only the published ones, and keep these passes unpublished. Under a steady
        # load, most rounds meet some, and a read of a pass costs a store less than an update. Erased passes have no number.
        workspace_ids = {} if workspace_id is None else dict.fromkeys(up_to, workspace_id)
        docs = await self._find_by_ids(self._passes, up_to, workspace_ids, {"n": 1})
        changed = [doc["_id"] for doc in docs if doc.get("n") != up_to[doc["_id"]]]
        if changed:
            await self._passes.bulk_write(
                [_pull_operation(self._by_id(pass_id, workspace_id), up_to[pass_id], {}) for pass_id in changed],
                ordered=False,
            )


def _pull_operation(where: Doc, n: int, change: Doc) -> UpdateOne:
    return UpdateOne(where, {"$pull": {"out": {"n": {"$lte": n}}}, **change})


def entries_in_order(waiting: Mapping[str, Waiting], each: int) -> list[tuple[str, Entry]]:
    """Return (pass id, entry) in order of recording; entries of one pass are always in order of number.

    A pass with `each` entries may have more. Entries recorded after the last one read of such a pass are left for the
    next round.
    """
    listed = []
    until_ms: float = math.inf
    for pass_id, found in waiting.items():
        entries, recorded_ms = found.entries, 0
        for entry in entries:
            # A slow writer read the clock long before its write, so its entries may be newer than they state.
            recorded_ms = max(recorded_ms, entry.recorded_ms)
            listed.append((recorded_ms, pass_id, entry.number, entry))
        if len(entries) == each:
            until_ms = min(until_ms, recorded_ms)
    ordered = sorted(listed, key=lambda item: item[:3])
    return [(pass_id, entry) for recorded_ms, pass_id, _, entry in ordered if recorded_ms <= until_ms]
