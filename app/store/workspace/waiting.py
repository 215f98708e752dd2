"""What waits in one workspace: how much, since when, and on which parked passes."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from app.store.mongo.queries import Collection, Doc


class Waiting(NamedTuple):
    """Number of events or requests that are recorded and not in an answer yet, and the instant of the oldest.

    The instant is None without any.
    """

    number: int = 0
    oldest_at: datetime | None = None

    def __or__(self, other: Waiting) -> Waiting:
        """Return what waits in both, which must have nothing in common."""
        oldest = [each for each in (self.oldest_at, other.oldest_at) if each is not None]
        return Waiting(self.number + other.number, min(oldest, default=None))


async def find_parked(passes: Collection, in_workspace: Doc) -> list[str]:
    """Return the parked passes that a filter selects. Index: {parked}.

    The filter is a stage of its own: in the first one, it would make the embedded servers read all passes.
    """
    stages: list[Doc] = [{"$match": {"parked": {"$gte": 0}}}, {"$match": in_workspace}, {"$project": {"_id": 1}}]
    return [doc["_id"] for doc in await passes.aggregate(stages).to_list(None)]
