"""Keyset paging: a page is asked for by the key of the item before it, never by an offset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from .collection import Collection, Doc

T = TypeVar("T")
MILLISECOND = timedelta(milliseconds=1)
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of a list: at most `limit` items strictly between the keys; from the end where `backward`."""

    limit: int = 50
    after: Key | None = None
    before: Key | None = None
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items in the order of the list, and whether there are more in the direction of paging."""

    items: list[T]
    more: bool


Order = Sequence[tuple[str, int]]


def beyond(order: Order, key: Key, *, forward: bool) -> Doc:
    """The condition "after this key" (or before it) in the given order: over one field, or over an instant and another."""

    def side(direction: int) -> str:
        return "$gt" if (direction > 0) == forward else "$lt"

    (name, direction), *rest = order
    if not rest:
        return {name: {side(direction): key[0]}}
    last, last_direction = rest[0]
    # The bound on the first field alone lets the index seek; $or alone would read from the start. It is an instant, and
    # its end is the next millisecond: by $lte the embedded server loses what equals it, where its index goes on after it.
    bound = {"$gte": key[0]} if side(direction) == "$gt" else {"$lt": key[0] + MILLISECOND}
    return {
        name: bound,
        "$or": [{name: {side(direction): key[0]}}, {name: key[0], last: {side(last_direction): key[1]}}],
    }


async def page_of(
    collection: Collection,
    query: Doc,
    order: Order,
    span: Span,
    from_doc: Callable[[Doc], T],
    projection: Doc | None = None,
    by: Sequence[str] = ("workspace",),
) -> Page[T]:
    """One page of a list ordered by `order`, served by the index {*by, *order}; the query has an equality for each of `by`.

    What the index holds is asked first, everything else of what that leaves: for a condition that its index does not
    hold, the embedded server reads the whole collection. (MongoDB takes the two as one.)
    """
    first = order[0][0]
    bounds: Doc = dict(query.get(first, {}))
    rest = [{name: condition} for name, condition in query.items() if name not in by and name != first]
    for key, forward in ((span.after, True), (span.before, False)):
        if key is not None:
            keyed = beyond(order, key, forward=forward)
            rest += [{name: condition} for name, condition in keyed.items() if name != first]
            for operator, value in keyed[first].items():
                if operator in bounds:
                    rest.append({first: {operator: value}})
                else:
                    bounds[operator] = value
    narrow = {name: query[name] for name in by} | ({first: bounds} if bounds else {})
    asked = [(name, -direction if span.backward else direction) for name, direction in order]
    if rest:
        stages: list[Doc] = [{"$match": narrow}, {"$match": {"$and": rest}}, {"$sort": dict(asked)}]
        stages += [{"$limit": span.limit + 1}, *([] if projection is None else [{"$project": projection}])]
        docs = await collection.aggregate(stages).to_list(None)
    else:
        docs = await collection.find(narrow, projection).sort(asked).limit(span.limit + 1).to_list(None)
    more = len(docs) > span.limit
    docs = docs[: span.limit]
    if span.backward:
        docs.reverse()
    return Page([from_doc(doc) for doc in docs], more)
