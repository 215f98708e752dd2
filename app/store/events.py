"""Named queries over the events of one workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import Decimal128

from app.domain.conditions import Condition, Operator, number_of
from app.domain.decimals import canonical
from app.domain.events import Category, Event
from app.domain.ids import slot_of
from app.domain.instants import EARLIEST

from .collection import Doc, WorkspaceQueries, insert_new, translated
from .event_docs import from_doc, to_doc
from .paging import Page, Span, by_instant, count_of, page_of


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which events to list; an empty part means any. "after" is inclusive, "before" exclusive."""

    pass_id: str | None = None
    categories: Sequence[Category] = ()
    types: Sequence[str] = ()
    sources: Sequence[str] = ()
    currency: str | None = None
    occurred_after: datetime | None = None
    occurred_before: datetime | None = None
    recorded_after: datetime | None = None
    recorded_before: datetime | None = None
    amount_min: Decimal | None = None
    amount_max: Decimal | None = None
    external_id: str | None = None
    metadata: Sequence[Condition] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of an id that was taken: its fingerprint, and the event (None for a stub)."""

    fingerprint: bytes | None
    event: Event | None


class EventQueries(WorkspaceQueries):
    """Events of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "events"

    async def get_many(self, event_ids: Iterable[str]) -> dict[str, Event]:
        """The events that exist among the ids. Index: _id."""
        return {doc["_id"]: from_doc(doc) for doc in await self._by_ids(event_ids) if "removed" not in doc}

    async def insert(self, events: Sequence[tuple[Event, bytes]]) -> set[int]:
        """Inserts each event with its fingerprint, pending; the positions of those whose id was taken.

        One round trip for up to 1,000. Raises Unavailable if any other write failed: some may be stored, and the same
        call with the same ids finishes the rest.
        """
        docs = [to_doc(event, self._workspace_id, ph, slot_of(event.pass_id)) for event, ph in events]
        return await insert_new(self._all, docs)

    async def stored(self, event_ids: Sequence[str]) -> dict[str, Stored]:
        """What is stored under ids that were taken. Index: _id."""
        docs = await self._by_ids(event_ids)
        return {d["_id"]: Stored(d.get("ph"), None if "removed" in d else from_doc(d)) for d in docs}

    async def unfolded(self, pass_id: str) -> list[Event]:
        """The events of a pass that the fold has not counted yet, oldest first. Index: {pend, pass, occurred_at, _id}."""
        where = {"pend": slot_of(pass_id), "pass": pass_id}
        docs = await self._all.find(where).sort([("occurred_at", 1), ("_id", 1)]).to_list(None)
        return [from_doc(doc) for doc in docs if doc["workspace"] == self._workspace_id]

    async def page(self, query: EventQuery, span: Span, oldest_first: bool = False) -> Page[Event]:
        """Events in order of occurrence; key (occurred ms, id).

        Index: {workspace, pass, occurred_at, _id} with a pass, else {workspace, occurred_at, _id}.
        """
        direction = 1 if oldest_first else -1
        order = (("occurred_at", direction), ("_id", direction))
        return await page_of(self._all, self._where(query), order, by_instant(span), from_doc, by=indexed_by(query))

    async def count(self, query: EventQuery) -> int:
        """How many events match. Indexes as for `page`."""
        return await count_of(self._all, self._where(query), indexed_by(query), "occurred_at")

    async def of_pass(self, pass_id: str, after: datetime, before: datetime) -> AsyncIterator[Event]:
        """A pass's events that occurred in [after, before), oldest first. Index: {workspace, pass, occurred_at, _id}."""
        where = self._where(EventQuery(pass_id=pass_id, occurred_after=after, occurred_before=before))
        with translated():
            async for doc in self._all.find(where).sort([("occurred_at", 1), ("_id", 1)]):
                yield from_doc(doc)

    def _where(self, query: EventQuery) -> Doc:
        where: Doc = self._mine()
        for name, given in (("category", query.categories), ("type", query.types), ("source", query.sources)):
            if given:
                where[name] = {"$in": [str(value) for value in given]}
        for name, value in (("pass", query.pass_id), ("currency", query.currency), ("external_id", query.external_id)):
            if value is not None:
                where[name] = value
        # What is left of a removed event has no instant: the bound leaves it out, and an index holds the bound.
        _bound(where, "occurred_at", query.occurred_after or EARLIEST, query.occurred_before)
        _bound(where, "recorded_at", query.recorded_after, query.recorded_before)
        low = None if query.amount_min is None else Decimal128(query.amount_min)
        high = None if query.amount_max is None else Decimal128(query.amount_max)
        if low is not None or high is not None:
            where["amount"] = {k: v for k, v in (("$gte", low), ("$lte", high)) if v is not None}
        if query.metadata:
            where["$and"] = [_metadata(condition) for condition in query.metadata]
        return where


def indexed_by(query: EventQuery) -> tuple[str, ...]:
    """The fields, before the instant of occurrence, of the index that serves a query."""
    return ("workspace",) if query.pass_id is None else ("workspace", "pass")


_ORDERED = {Operator.GT: "$gt", Operator.GTE: "$gte", Operator.LT: "$lt", Operator.LTE: "$lte"}


def _metadata(condition: Condition) -> Doc:
    path, operator = f"metadata.{condition.path}", condition.operator
    if operator in (Operator.EXISTS, Operator.NOT_EXISTS):
        return {path: {"$exists": operator is Operator.EXISTS}}
    if operator is Operator.CONTAINS:
        return {path: {"$regex": _escaped(str(condition.value))}}
    if operator in _ORDERED:
        # Compared with a number, Mongo looks at numbers only, as with a text at texts only.
        return {path: {_ORDERED[operator]: _spellings(condition.value)[0]}}
    listed = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    among = [spelling for value in listed for spelling in _spellings(value)]
    return {path: {"$in" if operator in (Operator.EQ, Operator.IN) else "$nin": among}}


def _spellings(value: object) -> list[Any]:
    """How JSON may have written a value: a number as a number or as text."""
    number = number_of(value)
    if number is None:
        return [value]
    return [int(number) if number == number.to_integral_value() else float(number), canonical(number)]


def _escaped(text: str) -> str:
    return "".join(c if c.isalnum() or c in " _" else f"\\{c}" for c in text)


def _bound(where: Doc, name: str, after: datetime | None, before: datetime | None) -> None:
    bounds = {k: v for k, v in (("$gte", after), ("$lt", before)) if v is not None}
    if bounds:
        where[name] = bounds
