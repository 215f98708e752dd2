"""Passes of one workspace drawn at random, by the number that each pass stores for that."""

from __future__ import annotations

from app.domain.ids import MAX_DRAW
from app.store.mongo.queries import WorkspaceQueries

DRAW_MARGIN = 1.2
"""How many more passes a read of draws looks at than it wants."""


class PassDrawQueries(WorkspaceQueries):
    """Draws of passes. Errors: Unavailable, safe to repeat."""

    collection = "passes"

    async def ids(self, start: int, limit: int, total: int) -> list[str]:
        """Return the ids of about `limit` of the `total` passes: those whose draws follow `start`, which goes in a circle.

        Passes of an earlier version that have no draws yet are left out. Index: {workspace, draw}.
        """
        # The embedded servers sort all passes between the bounds.
        stop = start + min(MAX_DRAW, int(MAX_DRAW * limit * DRAW_MARGIN / total) + 1)
        ids: list[str] = []
        for low, high in ((start, min(stop, MAX_DRAW)), (0, stop - MAX_DRAW)):
            if low < high and len(ids) < limit:
                where = self._in_workspace(draw={"$gte": low, "$lt": high})
                found = self._collection.find(where, {"draw": 1}).sort("draw", 1).limit(limit - len(ids))
                ids += [doc["_id"] async for doc in found]
        return ids
