"""Keyset paging: a page is requested by the key of the item before it, never by an offset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any, Generic, TypeVar

from bson import Decimal128

from app.domain.values.instants import from_ms

from .decimal128 import MAX_DIGITS
from .queries import Collection, Doc, match_by_index
from .usage import charge_counted, current_usage

T = TypeVar("T")
MILLISECOND = timedelta(milliseconds=1)
_STEPS: dict[type, Any] = {datetime: MILLISECOND, str: "\x01"}
"""What makes the next possible value of a key from a value of the type. No text of a key has control characters."""
_ROUNDING_UP = Context(prec=MAX_DIGITS, rounding=ROUND_CEILING)
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Part of a list: at most `limit` items strictly between the keys. The last items if `backward`, else the first.

    With the limit 0, the page has no items and only states whether the list has any.
    """

    limit: int = 50
    after: Key | None = None
    before: Key | None = None
    backward: bool = False

    def cut(self, items: list[T]) -> Page[T]:
        """Return the page of a list that holds the items between the keys, in the order of the list."""
        first = max(0, len(items) - self.limit) if self.backward else 0
        return Page(items[first : first + self.limit], len(items) > self.limit)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items in the order of the list, and whether more items may follow in the direction of paging.

    `resume` is the key after which the next page begins, if this one ended before it was full; None for the last item.
    """

    items: list[T]
    has_more: bool
    resume: Key | None = None


def to_stored_keys(span: PageRequest) -> PageRequest:
    """Return the request for a list ordered by an instant, with keys as documents store them.

    Keys of requests begin with milliseconds; documents store dates.
    """

    def with_date(key: Key | None) -> Key | None:
        return None if key is None else (from_ms(int(key[0])), *key[1:])

    return PageRequest(
        limit=span.limit, after=with_date(span.after), before=with_date(span.before), backward=span.backward
    )


def cut_page(items: Sequence[T], key: Callable[[T], Key], ascending: bool, span: PageRequest) -> Page[T]:
    """Return one page of a list that was read whole, in the order of its keys."""

    def follows(item: T, other: Key) -> bool:
        return key(item) > other if ascending else key(item) < other

    ordered = sorted(items, key=key, reverse=not ascending)
    between = [item for item in ordered if span.after is None or follows(item, span.after)]
    if span.before is not None:
        between = [item for item in between if key(item) != span.before and not follows(item, span.before)]
    return span.cut(between)


Order = Sequence[tuple[str, int]]


def build_keyset_filter(order: Order, key: Key, *, forward: bool) -> Doc:
    """Return the filter for documents after a key (before it unless `forward`) in the given order.

    The order has one field, or a field with an instant, a text or a Decimal128 and another field.
    """

    def operator(direction: int) -> str:
        return "$gt" if (direction > 0) == forward else "$lt"

    (name, direction), *others = order
    if not others:
        return {name: {operator(direction): key[0]}}
    last, last_direction = others[0]
    # The bound on the first field lets the index seek; with $or alone the server would read from the beginning.
    # The upper bound is a later value. With $lte instead, the embedded server omits documents equal to the bound if the
    # index has more fields.
    bound = {"$gte": key[0]} if operator(direction) == "$gt" else {"$lt": later_value(key[0])}
    return {
        name: bound,
        "$or": [{name: {operator(direction): key[0]}}, {name: key[0], last: {operator(last_direction): key[1]}}],
    }


def later_value(value: Any) -> Any:
    """Return a value after this one, and before or at every other later value of a key."""
    if isinstance(value, Decimal128):
        return Decimal128(_ROUNDING_UP.add(value.to_decimal(), Decimal(1)))
    return value + _STEPS[type(value)]


async def read_page(
    collection: Collection,
    query: Doc,
    order: Order,
    span: PageRequest,
    from_doc: Callable[[Doc], T],
    projection: Doc | None = None,
    by: Sequence[str] = ("workspace",),
) -> Page[T]:
    """Read one page of a list ordered by `order`. Index: {*by, *order}.

    The query has a value, or a list of values, for each field of `by`. A first stage matches the fields of the index, a
    second stage all other fields. With one stage, the embedded server reads the whole collection for a field outside the
    index. MongoDB merges the two stages.
    """
    first_field = order[0][0]
    indexed, unindexed = _split_by_index(query, by, first_field)
    for key, forward in ((span.after, True), (span.before, False)):
        if key is not None:
            keyed = build_keyset_filter(order, key, forward=forward)
            unindexed += [{name: condition} for name, condition in keyed.items() if name != first_field]
            bounds = indexed.setdefault(first_field, {})
            for operator, value in keyed[first_field].items():
                if operator in bounds:
                    unindexed.append({first_field: {operator: value}})
                else:
                    bounds[operator] = value
    sort = [(name, -direction if span.backward else direction) for name, direction in order]
    matching = _match_stages(indexed, unindexed)
    if len(matching) > 1:
        stages = [*matching, {"$sort": dict(sort)}, {"$limit": span.limit + 1}]
        if projection is not None:
            stages.append({"$project": projection})
        docs = await collection.aggregate(stages, batchSize=span.limit + 2).to_list(None)
    else:
        found = collection.find(indexed, projection, batch_size=span.limit + 2)
        docs = await found.sort(sort).limit(span.limit + 1).to_list(None)
    has_more = len(docs) > span.limit
    docs = docs[: span.limit]
    if span.backward:
        docs.reverse()
    return Page([from_doc(doc) for doc in docs], has_more)


async def count_matching(
    collection: Collection, query: Doc, by: Sequence[str], first: str, *, is_charged: bool = False
) -> int:
    """Return the number of documents that match. Index: {*by, first, …}, used as by `read_page`.

    With fields outside the index, the operation is charged for the documents of the index first, unless `is_charged`.
    """
    indexed, unindexed = _split_by_index(query, by, first)
    if unindexed and not is_charged:
        await charge_examined(collection, indexed)
    count = await count_results(collection, _match_stages(indexed, unindexed))
    if not unindexed:
        charge_counted(count)
    return count


async def count_results(collection: Collection, stages: Sequence[Doc]) -> int:
    """Return the number of documents that the stages of an aggregation give."""
    docs = await collection.aggregate([*stages, {"$count": "n"}]).to_list(None)
    return int(docs[0]["n"]) if docs else 0


async def charge_examined(collection: Collection, indexed: Doc) -> None:
    """Charge the running operation for the documents that an index holds for these conditions. One round trip.

    Call it before the store examines them. Raises OperationTooLarge or Throttled. Without an operation, nothing happens.
    """
    usage = current_usage()
    if usage is None:
        return
    stages = [*match_by_index(indexed), {"$limit": usage.affordable()}]
    await usage.charge(await count_results(collection, stages))


def build_match_stages(query: Doc, by: Sequence[str], first: str) -> list[Doc]:
    """Return the stages that match a query. Index: {*by, first, …}, used as by `read_page`."""
    return _match_stages(*_split_by_index(query, by, first))


def _split_by_index(query: Doc, by: Sequence[str], first: str) -> tuple[Doc, list[Doc]]:
    """Return the conditions on fields of the index {*by, first, …}, and all others."""
    indexed = {name: query[name] for name in by}
    if first in query:
        indexed[first] = dict(query[first])
    return indexed, [{name: condition} for name, condition in query.items() if name not in indexed]


def _match_stages(indexed: Doc, unindexed: list[Doc]) -> list[Doc]:
    return [*match_by_index(indexed), *([{"$match": {"$and": unindexed}}] if unindexed else [])]
