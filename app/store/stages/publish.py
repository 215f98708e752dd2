"""Reads and writes of the publish stage: the outboxes of passes. Only `workers` may import them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import UpdateOne

from app.clock import system_ms
from app.domain.activities import Entry
from app.domain.events.events import Event
from app.store.codecs.events import made_to_doc
from app.store.codecs.pass_parts import entry_from_doc
from app.store.mongo.queries import Database, Doc, ErrorTranslating, equal_to, insert_new

LOOK_SIZE = 500
"""Unpublished passes that one look for workspaces reads."""
_MAX_GROWTH = 64


@dataclass(frozen=True, slots=True)
class Horizon:
    """End of a read of unpublished passes, so that the read examines few more passes than it returns.

    The read covers the passes that have waited since before `until_ms` (time of the machine), or all if it is None. The
    range grows by `width_ms` at a time. The embedded server reads all documents of a range, whatever the limit is.
    """

    until_ms: int | None = None
    width_ms: int = 1

    def after(self, since_ms: Sequence[int], limit: int) -> Horizon:
        """Return the horizon that follows a read, which found passes that have waited since these instants."""
        if len(since_ms) == limit:
            span_ms = since_ms[-1] - since_ms[0] + 1
            return Horizon(since_ms[-1] + span_ms, span_ms)
        if self.until_ms is None:
            return self
        width_ms = self.width_ms * min(_MAX_GROWTH, limit // max(1, len(since_ms)))
        until_ms = self.until_ms + width_ms
        return Horizon(until_ms, width_ms) if until_ms <= system_ms() else Horizon()


class PublishQueries(ErrorTranslating):
    """Named queries of the publish stage. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database) -> None:
        self._passes, self._events = db["passes"], db["events"]
        self._look_from_ms = 0
        self._look_horizon = self._first_horizon = Horizon()

    async def waiting_workspaces(self) -> set[str]:
        """Return workspaces with unpublished passes. Index: {pub, workspace}.

        A call looks at about LOOK_SIZE passes. It continues after the passes of the last call, and begins again after
        the last pass. So a long backlog of one workspace hides the others for some calls only.
        """
        from_ms, fields = self._look_from_ms, {"workspace": 1, "pub": 1, "_id": 0}
        docs, horizon = await self._read({}, fields, from_ms, self._look_horizon, LOOK_SIZE)
        following = horizon.after([doc["pub"] for doc in docs], LOOK_SIZE)
        if from_ms == 0:
            self._first_horizon = following
        if len(docs) == LOOK_SIZE:
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
        return next(((pass_id, entries[0].number if entries else 0) for pass_id, entries in waiting.items()), None)

    async def waiting(
        self, workspace_id: str, horizon: Horizon, limit: int, each: int
    ) -> tuple[dict[str, list[Entry]], Horizon]:
        """Return the first `each` outbox entries, in order of number, of up to `limit` passes that wait longest.

        Also return the horizon for the next call. Pass `Horizon()` to the first call: it examines all that wait. Index:
        {workspace, pub}.
        """
        fields = {"n": 1, "pub": 1, "out": {"$slice": each}}
        docs, horizon = await self._read({"workspace": workspace_id}, fields, 0, horizon, limit)
        entries = {doc["_id"]: [entry_from_doc(entry) for entry in doc["out"][:each]] for doc in docs}
        return entries, horizon.after([doc["pub"] for doc in docs], limit)

    async def _read(
        self, where: Doc, fields: Doc, from_ms: int, horizon: Horizon, limit: int
    ) -> tuple[list[Doc], Horizon]:
        """Return up to `limit` unpublished passes, those that wait longest first, and the horizon of the last read.

        The horizon moves until the read finds at least half of `limit`, or reads to the end.
        """
        while True:
            bounds = {"$gte": from_ms} if horizon.until_ms is None else {"$gte": from_ms, "$lt": horizon.until_ms}
            found = self._passes.find({**where, "pub": bounds}, fields, batch_size=limit + 1).sort("pub", 1)
            docs: list[dict[str, Any]] = await found.limit(limit).to_list(None)
            if 2 * len(docs) >= limit or horizon.until_ms is None:
                return docs, horizon
            horizon = horizon.after([doc["pub"] for doc in docs], limit)

    async def insert_made(self, workspace_id: str, made: Sequence[Event]) -> None:
        """Insert events that outboxes carry, or leave those that exist. Safe to repeat. Index: _id.

        The stub of an erased pass's event has the event's id, so that a late insert is refused.
        """
        if made:
            await insert_new(self._events, [{**made_to_doc(event), "workspace": workspace_id} for event in made])

    async def published(self, up_to: Mapping[str, int]) -> None:
        """Remove published entries, up to a number, from each pass's outbox.

        Version and write id stay. Safe to repeat. Index: _id.
        """
        if not up_to:
            return
        operations = [
            _pull_operation(pass_id, n, {"n": equal_to(n)}, {"$unset": {"pub": ""}}) for pass_id, n in up_to.items()
        ]
        result = await self._passes.bulk_write(operations, ordered=False)
        if result.matched_count < len(operations):
            # Some passes have newer entries. Remove only the published ones, and keep these passes unpublished.
            await self._passes.bulk_write(
                [_pull_operation(pass_id, n, {}, {}) for pass_id, n in up_to.items()], ordered=False
            )


def _pull_operation(pass_id: str, n: int, condition: Doc, change: Doc) -> UpdateOne:
    return UpdateOne({"_id": pass_id, **condition}, {"$pull": {"out": {"n": {"$lte": n}}}, **change})


def entries_in_order(waiting: Mapping[str, Sequence[Entry]], each: int) -> list[tuple[str, Entry]]:
    """Return (pass id, entry) in order of recording; entries of one pass are always in order of number.

    A pass with `each` entries may have more. Entries recorded after the last one read of such a pass are left for the
    next round.
    """
    listed = []
    until_ms: float = math.inf
    for pass_id, entries in waiting.items():
        recorded_ms = 0
        for entry in entries:
            # A slow writer read the clock long before its write, so its entries may be newer than they state.
            recorded_ms = max(recorded_ms, entry.recorded_ms)
            listed.append((recorded_ms, pass_id, entry.number, entry))
        if len(entries) == each:
            until_ms = min(until_ms, recorded_ms)
    ordered = sorted(listed, key=lambda item: item[:3])
    return [(pass_id, entry) for recorded_ms, pass_id, _, entry in ordered if recorded_ms <= until_ms]
