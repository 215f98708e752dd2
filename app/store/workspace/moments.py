"""Reads of events for questions about customers: only the fields that these need, in parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from motor.motor_asyncio import AsyncIOMotorCommandCursor, AsyncIOMotorCursor

from app.domain.errors import Code, InvalidInput
from app.domain.events.event_queries import EventQuery
from app.domain.events.events import Category
from app.domain.events.spend import SPEND_CATEGORY
from app.domain.insights.moments import Moment
from app.domain.values.instants import EARLIEST, to_ms
from app.store.codecs.counting import COUNTED, NOT_MADE, WAITS, is_made, may_count, waits
from app.store.mongo.decimal128 import from_decimal128
from app.store.mongo.paging import build_match_stages, charge_examined
from app.store.mongo.queries import Doc, in_chunks, match_by_index
from app.store.mongo.usage import charge

from .counted_events import PASSES_PER_READ
from .events import OCCURRED, EventQueries, indexed_by
from .waiting import Waiting

MOMENTS_PER_READ = 2_000
"""Events of one part. The API answers other clients between two parts, and never holds all documents of a question."""
_FIELDS = (
    "pass", "occurred_at", "type", "category", "currency", "amount", "step", "outcome.status", "origin.channel",
    "pend", "moved.told", "guard", "correction_of", "recorded_at",
)  # fmt: skip
_PROJECTION = dict.fromkeys(_FIELDS, 1)


class MomentsRead(NamedTuple):
    """Number of events that matched, and those of them that were left out because they count nowhere yet."""

    number: int
    waiting: Waiting


class MomentQueries(EventQueries):
    """Events of one workspace, as questions about customers read them. Errors: Unavailable, safe to repeat."""

    async def read_moments(
        self,
        query: EventQuery,
        take: Callable[[Sequence[Moment]], None],
        max_events: int,
        *,
        spend_in: str | None = None,
    ) -> MomentsRead:
        """Give `take` the matching events that count, in parts and in no order, and return what matched.

        Events of parked passes, and those that wait for a decision, are left out.

        With `spend_in`, transactions in that currency match, too, whatever their types. Raises InvalidInput with the code
        LIMIT if more than `max_events` match. Index as for `page`: {workspace, type, occurred_at, _id} with one type, else
        {workspace, occurred_at, _id}.
        """
        where, by = self._where(query), indexed_by(query)
        if spend_in is not None and "type" in where:
            by = ("workspace",)
            where["$or"] = [{"type": where.pop("type")}, {"category": SPEND_CATEGORY.value, "currency": spend_in}]
        indexed = {name: where[name] for name in (*by, OCCURRED)}
        has_unindexed_filter = len(where) > len(indexed)
        # One cursor and no order: pages in order of time cost the embedded server 2.5 times as much.
        cursor: AsyncIOMotorCursor[Doc] | AsyncIOMotorCommandCursor[Doc]
        if has_unindexed_filter:
            await charge_examined(self._collection, indexed)
            stages = [*build_match_stages(where, by, OCCURRED), {"$limit": max_events + 1}, {"$project": _PROJECTION}]
            cursor = self._collection.aggregate(stages, batchSize=MOMENTS_PER_READ)
        else:
            cursor = self._collection.find(indexed, _PROJECTION, limit=max_events + 1, batch_size=MOMENTS_PER_READ)
        count, waiting = 0, Waiting()
        while docs := await cursor.to_list(MOMENTS_PER_READ):
            count += len(docs)
            if count > max_events:
                message = f"More than {max_events:,} events match. Ask for a shorter time, or for fewer types."
                raise InvalidInput(Code.LIMIT, message, "input", "from")
            if not has_unindexed_filter:
                await charge(len(docs))
            counted = list(filter(may_count, docs))
            for doc in filter(waits, counted):
                waiting |= Waiting(1, doc["recorded_at"])
            take([_moment_from_doc(doc) for doc in counted if not waits(doc)])
        return MomentsRead(count, waiting)

    async def acted_before(self, pass_ids: Collection[str], types: Sequence[str], before: datetime) -> set[str]:
        """Return those of the passes that acted before an instant: by an event of `types`, or by any that no walk made.

        Index: {workspace, pass, occurred_at, _id}.
        """
        acts = [{"type": {"$in": list(types)}}] if types else NOT_MADE

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            indexed = self._in_workspace(**{"pass": {"$in": list(chunk)}, OCCURRED: {"$gte": EARLIEST, "$lt": before}})
            await charge_examined(self._collection, indexed)
            stages = [
                *match_by_index(indexed),
                {"$match": {"$and": [*COUNTED, *acts]}},
                {"$group": {"_id": {"pass": "$pass", "waits": WAITS}}},
            ]
            return await self._collection.aggregate(stages).to_list(None)

        docs = await in_chunks(find_chunk, sorted(pass_ids), min(self._in_chunk, PASSES_PER_READ))
        return {doc["_id"]["pass"] for doc in docs if not doc["_id"]["waits"]}


def _moment_from_doc(doc: Doc) -> Moment:
    amount = doc.get("amount")
    return Moment(
        doc["pass"],
        to_ms(doc["occurred_at"]),
        doc.get("step", 0),
        id=doc["_id"],
        type=doc["type"],
        category=Category.of_stored(doc["category"]),
        currency=doc.get("currency"),
        amount=None if amount is None else from_decimal128(amount),
        made=is_made(doc),
    )
