"""Which passes were active in a time: distinct passes of events, counted by the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from app.domain.state.aggregations import Aggregation, Function
from app.domain.values.instants import EARLIEST
from app.store.codecs.counting import IS_ACTIVITY
from app.store.mongo.queries import Doc, in_chunks, match_by_index
from app.store.mongo.time_ranges import count_examined
from app.store.mongo.usage import charge_counted, current_usage

from .aggregations import AggregationQueries
from .events import OCCURRED, indexed_by

MAX_EVENTS_OF_CUSTOMERS = 200_000
"""Events that one question about distinct passes examines."""


class CustomerQueries(AggregationQueries):
    """Passes of one workspace by their activity. Errors: Unavailable, safe to repeat."""

    async def active(self, query: EventQuery) -> set[str]:
        """Return the passes of the events that match and count. Made events count only if their type is named.

        Raises InvalidInput with the code LIMIT and advice if the index has more than `MAX_EVENTS_OF_CUSTOMERS` events.
        Index as for `page`.
        """
        where, by = self._where(query), indexed_by(query)
        examined = await count_examined(self._collection, where, by, OCCURRED, MAX_EVENTS_OF_CUSTOMERS + 1)
        if examined > MAX_EVENTS_OF_CUSTOMERS:
            raise InvalidInput(
                Code.LIMIT,
                f"More than {MAX_EVENTS_OF_CUSTOMERS:,} events would be read to tell the customers apart. Ask for whole "
                "months or years, or for a shorter time.",
                "input",
            )
        await self._charge(query)
        return {doc["_id"] for doc in await self._distinct(self._counted_stages(query, _COUNT))}

    async def active_among(self, pass_ids: Collection[str], after: datetime, before: datetime) -> set[str]:
        """Return those of the passes that have an event in [after, before) that counts and that no walk made.

        Raises OperationTooLarge if reading costs the running operation too much. Index: {workspace, pass, occurred_at, _id}.
        """
        active = {"$max": {"$cond": [IS_ACTIVITY, 1, 0]}}
        group: Doc = {"$group": {"_id": "$pass", "n": {"$sum": 1}, "active": active}}

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            indexed = self._in_workspace(**{"pass": {"$in": list(chunk)}, OCCURRED: {"$gte": after, "$lt": before}})
            usage = current_usage()
            # One read counts the events and finds the active passes. It ends where the operation cannot pay for more.
            bound: list[Doc] = [] if usage is None else [{"$limit": usage.affordable()}]
            stages = [*match_by_index(indexed), *bound, group]
            docs: list[Doc] = await self._collection.aggregate(stages, batchSize=len(chunk) + 1).to_list(None)
            charge_counted(sum(doc["n"] for doc in docs), examined=True)
            return docs

        found = await in_chunks(find_chunk, sorted(pass_ids), self._in_chunk)
        return {doc["_id"] for doc in found if doc["active"]}

    async def active_before(self, pass_ids: Collection[str], before: datetime) -> set[str]:
        """Return those of the passes that have an event before an instant. Index: {workspace, pass, occurred_at, _id}."""
        return await self.active_among(pass_ids, EARLIEST, before)

    async def _distinct(self, stages: Sequence[Doc]) -> list[Doc]:
        docs: list[Doc] = await self._collection.aggregate([*stages, {"$group": {"_id": "$pass"}}]).to_list(None)
        return docs


_COUNT = Aggregation(Function.COUNT)
