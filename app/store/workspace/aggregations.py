"""Aggregations computed by the store: events that match are grouped there."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128

from app.domain.events.events import INTERNAL_TYPES, SUBTRACTED_TYPES, Event, EventQuery
from app.domain.state.aggregations import AMOUNT, COUNTS, METADATA, PERIODS, Aggregation, Function, Group, GroupBy, Key
from app.domain.state.statistics import Period
from app.domain.values.decimals import average
from app.store.codecs.events import from_doc
from app.store.mongo.decimal128 import from_decimal128
from app.store.mongo.paging import build_match_stages
from app.store.mongo.queries import Doc

from .events import EventQueries, indexed_by

_FIELDS = {
    GroupBy.PASS: "pass",
    GroupBy.TYPE: "type",
    GroupBy.CATEGORY: "category",
    GroupBy.SOURCE: "source",
    GroupBy.CURRENCY: "currency",
}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_OPERATORS = {Function.SUM: "$sum", Function.AVG: "$sum", Function.MIN: "$min", Function.MAX: "$max"}


class AggregationQueries(EventQueries):
    """Aggregations over the events of one workspace. Errors: Unavailable, safe to repeat."""

    async def groups(
        self, query: EventQuery, aggregation: Aggregation, limit: int, *, greatest_first: bool = False
    ) -> list[Group]:
        """Return at most `limit` groups of the events that match, by keys ascending, or by values descending.

        Not for fields of the metadata. Without dimensions, the result is one group, or none if no event counts. Index
        as for `page`.
        """
        stages = [*self._counted_stages(query, aggregation)]
        dimensions: Doc = {f"d{number}": _dimension(aggregation, by) for number, by in enumerate(aggregation.group_by)}
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
        if dimensions:
            # The store computes exact sums and no averages, so groups of averages are sorted by key only.
            stages.append({"$sort": {value: -1, **order} if greatest_first else order})
        docs = await self._collection.aggregate([*stages, {"$limit": limit}]).to_list(None)
        return [_group_from_doc(aggregation, doc, value) for doc in docs]

    async def read_counted(self, query: EventQuery, aggregation: Aggregation, limit: int) -> list[Event]:
        """Return at most `limit` events that may count in an aggregation over a field of the metadata, in no order.

        Index as for `page`.
        """
        docs = await self._collection.aggregate([*self._counted_stages(query, aggregation), {"$limit": limit}]).to_list(
            None
        )
        return [from_doc(doc) for doc in docs]

    def _counted_stages(self, query: EventQuery, aggregation: Aggregation) -> list[Doc]:
        """Return the stages that find the events that count: no internal types, and only events that have the field."""
        conditions: list[Doc] = [{"type": {"$nin": sorted(INTERNAL_TYPES)}}]
        if aggregation.field is not None:
            conditions.append({aggregation.field: {"$exists": True}})
        return [
            *build_match_stages(self._where(query), indexed_by(query), "occurred_at"),
            {"$match": {"$and": conditions}},
        ]


def _dimension(aggregation: Aggregation, by: GroupBy) -> Any:
    if by not in PERIODS:
        # Events without a currency form a group with the key null. A missing field would leave out the key.
        return {"$ifNull": [f"${_FIELDS[by]}", None]}
    period = PERIODS[by]
    cut: Doc = {"date": "$occurred_at", "unit": period.value.lower(), "timezone": aggregation.zone.key}
    if period is Period.WEEK:
        cut["startOfWeek"] = _WEEKDAYS[aggregation.week_start]
    return {"$dateTrunc": cut}


def _operand(aggregation: Aggregation) -> Any:
    assert aggregation.field is not None
    assert not aggregation.field.startswith(METADATA)
    number = f"${aggregation.field}"
    if aggregation.field != AMOUNT or aggregation.function is not Function.SUM or aggregation.gross:
        return number
    negated = {"$multiply": [number, Decimal128("-1")]}
    return {"$cond": [{"$in": ["$type", sorted(SUBTRACTED_TYPES)]}, negated, number]}


def _group_from_doc(aggregation: Aggregation, doc: Doc, value: str) -> Group:
    count = int(doc["n"])
    stored = doc[value]
    exact = from_decimal128(stored) if isinstance(stored, Decimal128) else Decimal(stored)
    if aggregation.function is Function.AVG:
        exact = average(exact, count)
    return Group(_key_from_doc(doc["_id"], len(aggregation.group_by)), count, exact)


def _key_from_doc(stored: Doc | None, dimensions: int) -> Key:
    if stored is None:
        return ()
    key: list[str | datetime | None] = [stored.get(f"d{number}") for number in range(dimensions)]
    return tuple(key)
