"""Aggregations worked out by the store: one pass over the events that match, grouped there."""

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
from app.store.mongo.paging import matching
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
        """At most `limit` groups of the events that match, by their keys ascending, or by their values descending.

        Not for fields of the metadata. Without dimensions one group, or none where nothing counts. Index as for `page`.
        """
        stages = [*self._counting(query, aggregation)]
        dimensions: Doc = {f"d{place}": _coordinate(aggregation, by) for place, by in enumerate(aggregation.by)}
        if aggregation.function is Function.COUNT_PASSES:
            stages.append({"$group": {"_id": {**dimensions, "pass": "$pass"}, "n": {"$sum": 1}}})
            dimensions = {name: f"$_id.{name}" for name in dimensions}
            stages.append({"$group": {"_id": dimensions or None, "n": {"$sum": "$n"}, "v": {"$sum": 1}}})
        else:
            summed: Doc = {"_id": dimensions or None, "n": {"$sum": 1}}
            if aggregation.function not in COUNTS:
                summed["v"] = {_OPERATORS[aggregation.function]: _number(aggregation)}
            stages.append({"$group": summed})
        value = "n" if aggregation.function is Function.COUNT else "v"
        order: Doc = {f"_id.{name}": 1 for name in dimensions}
        if dimensions:
            # An average is not known to the store, which holds exact sums: groups of averages come in order of keys.
            stages.append({"$sort": {value: -1, **order} if greatest_first else order})
        docs = await self._all.aggregate([*stages, {"$limit": limit}]).to_list(None)
        return [_group(aggregation, doc, value) for doc in docs]

    async def counted(self, query: EventQuery, aggregation: Aggregation, limit: int) -> list[Event]:
        """At most `limit` of the events that may count in an aggregation over a field of the metadata, in no order.

        Index as for `page`.
        """
        docs = await self._all.aggregate([*self._counting(query, aggregation), {"$limit": limit}]).to_list(None)
        return [from_doc(doc) for doc in docs]

    def _counting(self, query: EventQuery, aggregation: Aggregation) -> list[Doc]:
        """The stages that find what counts: never what Punchcard records itself, and only events that have the field."""
        has: list[Doc] = [{"type": {"$nin": sorted(INTERNAL_TYPES)}}]
        if aggregation.field is not None:
            has.append({aggregation.field: {"$exists": True}})
        return [*matching(self._where(query), indexed_by(query), "occurred_at"), {"$match": {"$and": has}}]


def _coordinate(aggregation: Aggregation, by: GroupBy) -> Any:
    if by not in PERIODS:
        # A group without a currency is one with null: a missing field would be no key at all.
        return {"$ifNull": [f"${_FIELDS[by]}", None]}
    period = PERIODS[by]
    cut: Doc = {"date": "$occurred_at", "unit": period.value.lower(), "timezone": aggregation.zone.key}
    if period is Period.WEEK:
        cut["startOfWeek"] = _WEEKDAYS[aggregation.week_start]
    return {"$dateTrunc": cut}


def _number(aggregation: Aggregation) -> Any:
    assert aggregation.field is not None
    assert not aggregation.field.startswith(METADATA)
    number = f"${aggregation.field}"
    if aggregation.field != AMOUNT or aggregation.function is not Function.SUM or aggregation.gross:
        return number
    negated = {"$multiply": [number, Decimal128("-1")]}
    return {"$cond": [{"$in": ["$type", sorted(SUBTRACTED_TYPES)]}, negated, number]}


def _group(aggregation: Aggregation, doc: Doc, value: str) -> Group:
    count = int(doc["n"])
    found = doc[value]
    exact = from_decimal128(found) if isinstance(found, Decimal128) else Decimal(found)
    if aggregation.function is Function.AVG:
        exact = average(exact, count)
    return Group(_key(doc["_id"], len(aggregation.by)), count, exact)


def _key(found: Doc | None, dimensions: int) -> Key:
    if found is None:
        return ()
    key: list[str | datetime | None] = [found.get(f"d{place}") for place in range(dimensions)]
    return tuple(key)
