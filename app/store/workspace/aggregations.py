"""Aggregations computed by the store: events that match are grouped there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128

from app.domain.events.event_queries import EventQuery
from app.domain.events.events import (
    Category,
    Event,
)
from app.domain.events.spend import GROSS_SIGNS, NET_SIGNS, SPEND_CATEGORY
from app.domain.passes.passes import Pass
from app.domain.state.aggregates import Aggregate, AggregateKey, Aggregates, merge_aggregates
from app.domain.state.aggregations import (
    AMOUNT,
    CLOCK,
    COUNTS,
    METADATA,
    PERIODS,
    Aggregation,
    Function,
    Group,
    GroupBy,
    Key,
)
from app.domain.state.earned import PointTotals, total_points
from app.domain.state.local_clock import clock_coordinate
from app.domain.state.ranking import GroupOrder, Ranking
from app.domain.values.decimals import ZERO, average
from app.domain.values.instants import EARLIEST, LATEST, from_ms, to_ms
from app.domain.values.zones import days_of
from app.store.codecs.counting import COUNTED, DECIDED, IS_MADE, NOT_MADE, counting_in
from app.store.codecs.events import from_doc
from app.store.mongo.decimal128 import from_decimal128, to_decimal128
from app.store.mongo.paging import build_match_stages
from app.store.mongo.queries import Doc

from .events import OCCURRED, EventQueries, indexed_by
from .local_periods import local_period_start, local_time

_FIELDS = {
    GroupBy.PASS: "pass",
    GroupBy.TYPE: "type",
    GroupBy.CATEGORY: "category",
    GroupBy.SOURCE: "source",
    GroupBy.CURRENCY: "currency",
}
_OPERATORS = {Function.SUM: "$sum", Function.AVG: "$sum", Function.MIN: "$min", Function.MAX: "$max"}
EVENTS_PER_PART = 2_000
"""Events of one part of a read. The API answers other clients between two parts."""
_BY_KEY = Ranking()


class AggregationQueries(EventQueries):
    """Aggregations over the events of one workspace. Errors: Unavailable, safe to repeat.

    Events that wait for a decision count once it is made, and those of parked passes once these are released.
    """

    async def groups(
        self, query: EventQuery, aggregation: Aggregation, limit: int, ranking: Ranking = _BY_KEY
    ) -> list[Group]:
        """Return at most `limit` groups of the events that match, in their order and within their bounds.

        Not for values of the metadata. Without dimensions, the result is one group, or none if no event counts. The store
        computes no averages, so averages are neither bounded nor ordered. Index as for `page`.
        """
        query = replace(query, types=aggregation.types_of(query.types))
        await self._charge(query)
        stages = [*self._counted_stages(query, aggregation)]
        dimensions: Doc = {
            f"d{number}": _dimension(query, aggregation, by) for number, by in enumerate(aggregation.group_by)
        }
        if aggregation.function is Function.COUNT_PASSES:
            stages.append({"$group": {"_id": {**dimensions, "pass": "$pass"}, "n": {"$sum": 1}}})
            dimensions = {name: f"$_id.{name}" for name in dimensions}
            stages.append({"$group": {"_id": dimensions or None, "n": {"$sum": "$n"}, "v": {"$sum": 1}}})
        else:
            group: Doc = {"_id": dimensions or None, "n": {"$sum": 1}}
            if aggregation.function not in COUNTS:
                group["v"] = {_OPERATORS[aggregation.function]: _operand(aggregation)}
            stages.append({"$group": group})
        value = "n" if aggregation.function is Function.COUNT else "v"
        order: Doc = {f"_id.{name}": 1 for name in dimensions}
        is_ranked = aggregation.function is not Function.AVG
        bounds = {"$gte": ranking.at_least, "$lte": ranking.at_most} if is_ranked else {}
        given = {name: to_decimal128(bound) for name, bound in bounds.items() if bound is not None}
        if given:
            stages.append({"$match": {value: given}})
        if dimensions:
            direction = {GroupOrder.VALUE: {value: -1}, GroupOrder.VALUE_ASC: {value: 1}}.get(ranking.order, {})
            stages.append({"$sort": {**direction, **order} if is_ranked else order})
        docs = await self._collection.aggregate([*stages, {"$limit": limit}]).to_list(None)
        return [_group_from_doc(aggregation, doc, value) for doc in docs]

    async def read_counted(
        self, query: EventQuery, aggregation: Aggregation, limit: int, take: Callable[[Sequence[Event]], None]
    ) -> None:
        """Give `take` at most `limit` events that may count in an aggregation over values of the metadata.

        It gets them in parts and in no order. If it raises, the rest is not read. Index as for `page`.
        """
        query = replace(query, types=aggregation.types_of(query.types))
        await self._charge(query)
        stages = [*self._counted_stages(query, aggregation), {"$limit": limit}]
        cursor = self._collection.aggregate(stages, batchSize=EVENTS_PER_PART)
        try:
            while docs := await cursor.to_list(EVENTS_PER_PART):
                take([from_doc(doc) for doc in docs])
        finally:
            await cursor.close()

    async def points_of(self, card: Pass) -> PointTotals:
        """Return the totals of points of a pass, whole as read a moment ago. Events count exactly as in its balance.

        Index: {workspace, pass, occurred_at, _id}.
        """
        await self._charge(EventQuery(pass_id=card.id))
        as_counting = counting_in(card)
        stages: list[Doc] = [
            {"$match": self._in_workspace(**{"pass": card.id, OCCURRED: {"$gte": EARLIEST}})},
            {"$match": {"points": {"$exists": True}}},
        ]
        docs = self._collection.aggregate(stages)
        stored = [event async for doc in docs if (event := as_counting(doc)) is not None]
        pending = (each.points for each in card.pending_points.values())
        return total_points(card.points, pending, [*stored, *card.made_events])

    async def of_pass(self, pass_id: str, after: datetime, before: datetime) -> tuple[Aggregates, Aggregates]:
        """Return the aggregates of the events of a pass that occurred in [after, before), pending ones included.

        The second ones are those of events that rules made.
        The store groups the events, so the answer is small. Index: {workspace, pass, occurred_at, _id}.
        """
        query = EventQuery(pass_id=pass_id, occurred_after=after, occurred_before=before)
        await self._charge(query)
        group: Doc = {
            "_id": {
                "type": "$type",
                "currency": {"$ifNull": ["$currency", None]},
                "category": "$category",
                "made": IS_MADE,
            },
            "count": {"$sum": 1},
            "sum": {"$sum": "$amount"},
            "min": {"$min": "$amount"},
            "max": {"$max": "$amount"},
            "first": {"$min": "$occurred_at"},
            "last": {"$max": "$occurred_at"},
        }
        stages = [
            *build_match_stages(self._where(query), indexed_by(query), OCCURRED),
            {"$match": {"$and": [*COUNTED, DECIDED]}},
            {"$group": group},
        ]
        docs = await self._collection.aggregate(stages).to_list(None)
        found: tuple[dict[AggregateKey, Aggregate], dict[AggregateKey, Aggregate]] = ({}, {})
        for doc in sorted(docs, key=lambda doc: str(doc["_id"]["category"])):
            rows = found[bool(doc["_id"]["made"])]
            key, row = (doc["_id"]["type"], doc["_id"].get("currency")), _aggregate_from_doc(doc)
            rows[key] = merge_aggregates(rows[key], row) if key in rows else row
        return found

    def _counted_stages(self, query: EventQuery, aggregation: Aggregation) -> list[Doc]:
        """Return the stages that find the events that count and have the field of the aggregation.

        Internal events and declined ones are left out, and those that wait for a decision or are parked.
        """
        conditions = [*COUNTED, DECIDED]
        if aggregation.field is not None:
            conditions.append({aggregation.field: {"$exists": True}})
        if not aggregation.counts_made(query.types):
            conditions += NOT_MADE
        return [
            *build_match_stages(self._where(query), indexed_by(query), "occurred_at"),
            {"$match": {"$and": conditions}},
        ]


def _dimension(query: EventQuery, aggregation: Aggregation, by: GroupBy) -> Any:
    if by in _FIELDS:
        # Events without a currency form a group with the key null. A missing field would leave out the key.
        return {"$ifNull": [f"${_FIELDS[by]}", None]}
    low_ms, high_ms = to_ms(query.occurred_after or EARLIEST), to_ms(query.occurred_before or LATEST)
    if by in CLOCK:
        # Weekdays have the numbers 1 to 7 from Monday on. Both together are the hour of the week.
        local = local_time(aggregation.zone, low_ms, high_ms)
        weekday, hour = {"$subtract": [{"$isoDayOfWeek": local}, 1]}, {"$hour": local}
        both = {"$add": [{"$multiply": [weekday, 24]}, hour]}
        return {GroupBy.WEEKDAY: weekday, GroupBy.HOUR: hour}.get(by, both)
    return local_period_start(PERIODS[by], aggregation.zone, low_ms, high_ms, aggregation.week_start)


def _operand(aggregation: Aggregation) -> Any:
    assert aggregation.field is not None
    assert not aggregation.field.startswith(METADATA)
    number = f"${aggregation.field}"
    if aggregation.field != AMOUNT or aggregation.function is not Function.SUM:
        return number
    signs = GROSS_SIGNS if aggregation.gross else NET_SIGNS
    zero, negated = Decimal128("0"), {"$multiply": [number, Decimal128("-1")]}
    without = {"$cond": [{"$in": ["$type", [kind for kind, sign in signs.items() if sign == 0]]}, zero, number]}
    return {"$cond": [{"$in": ["$type", [kind for kind, sign in signs.items() if sign == -1]]}, negated, without]}


def _aggregate_from_doc(doc: Doc) -> Aggregate:
    category, total = Category.of_stored(doc["_id"]["category"]), exact_number(doc["sum"])
    return Aggregate(
        category=category,
        count=int(doc["count"]),
        sum=total,
        min=None if doc["min"] is None else exact_number(doc["min"]),
        max=None if doc["max"] is None else exact_number(doc["max"]),
        first_ms=to_ms(doc["first"]),
        last_ms=to_ms(doc["last"]),
        spent=total if category is SPEND_CATEGORY else ZERO,
    )


def exact_number(stored: Any) -> Decimal:
    """Return a sum or an extreme that the store computed."""
    return from_decimal128(stored) if isinstance(stored, Decimal128) else Decimal(stored)


def _group_from_doc(aggregation: Aggregation, doc: Doc, value: str) -> Group:
    count = int(doc["n"])
    exact = exact_number(doc[value])
    if aggregation.function is Function.AVG:
        exact = average(exact, count)
    return Group(_key_from_doc(aggregation, doc["_id"]), count, exact)


def _clock_of(by: GroupBy, stored: int) -> str:
    if by is GroupBy.WEEKDAY_AND_HOUR:
        return clock_coordinate(*divmod(stored, 24))
    return clock_coordinate(stored, None) if by is GroupBy.WEEKDAY else clock_coordinate(None, stored)


def _key_from_doc(aggregation: Aggregation, stored: Doc | None) -> Key:
    if stored is None:
        return ()
    days = days_of(aggregation.zone)
    key: list[str | datetime | None] = []
    for number, by in enumerate(aggregation.group_by):
        value = stored.get(f"d{number}")
        if by in CLOCK:
            key.append(_clock_of(by, stored[f"d{number}"]))
            continue
        # Of a period, the store computes the first day, as if the zone were UTC.
        key.append(from_ms(days.start_ms(value.date())) if isinstance(value, datetime) else value)
    return tuple(key)
