"""Reads of the documents that come first by an instant, without reading all that wait.

The embedded servers read all documents of a query before they apply its limit. So a read of a long backlog ends at a
horizon, which follows from what the read before it found. Only the first read of a process examines all that waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.clock import system_ms

from .queries import Collection, Doc

_MAX_GROWTH = 64


@dataclass(frozen=True, slots=True)
class Horizon:
    """End of a read, so that the read examines few more documents than it returns.

    The read covers the instants before `until_ms`, or all if it is None. The range grows by `width_ms` at a time.
    """

    until_ms: int | None = None
    width_ms: int = 1

    def after(self, found_ms: Sequence[int], limit: int, end_ms: int | None = None) -> Horizon:
        """Return the horizon that follows a read, which found these instants. None lies after `end_ms`, which is now."""
        if len(found_ms) == limit:
            span_ms = found_ms[-1] - found_ms[0] + 1
            return Horizon(found_ms[-1] + span_ms, span_ms)
        if self.until_ms is None:
            return self
        width_ms = self.width_ms * min(_MAX_GROWTH, limit // max(1, len(found_ms)))
        until_ms = self.until_ms + width_ms
        return Horizon(until_ms, width_ms) if until_ms <= (system_ms() if end_ms is None else end_ms) else Horizon()


async def read_soonest(
    collection: Collection,
    where: Doc,
    name: str,
    fields: Doc | None,
    *,
    limit: int,
    horizon: Horizon,
    from_ms: int = 0,
    end_ms: int | None = None,
    then: Sequence[str] = (),
) -> tuple[list[dict[str, Any]], Horizon]:
    """Return up to `limit` documents whose instant `name` comes first, and the horizon of the last read.

    Documents of one instant come in the order of the fields `then`. The horizon moves until the read finds at least half of
    `limit`, or reads to the end. Index: {*where, name, *then}.
    """
    order = [(field, 1) for field in (name, *then)]
    while True:
        bounds = {"$gte": from_ms}
        if horizon.until_ms is not None:
            bounds["$lt"] = horizon.until_ms
        if end_ms is not None:
            bounds["$lte"] = end_ms
        found = collection.find({**where, name: bounds}, fields, batch_size=limit + 1).sort(order)
        docs: list[dict[str, Any]] = await found.limit(limit).to_list(None)
        if 2 * len(docs) >= limit or horizon.until_ms is None:
            return docs, horizon
        horizon = horizon.after([doc[name] for doc in docs], limit, end_ms)
