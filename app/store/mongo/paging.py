"""Keyset paging: a page is asked for by the key of the item before it, never by an offset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from app.domain.values.instants import from_ms

from .queries import Collection, Doc

T = TypeVar("T")
MILLISECOND = timedelta(milliseconds=1)
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list: at most `limit` items strictly between the keys; from the end where `backward`."""

    limit: int = 50
    after: Key | None = None
    before: Key | None = None
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items in the order of the list, and whether there are more in the direction of paging."""

    items: list[T]
    has_more: bool


def by_instant(span: PageRequest) -> PageRequest:
    """The span of a list ordered by an instant: keys begin with its milliseconds, documents hold it as a date."""

    def stored(key: Key | None) -> Key | None:
        return None if key is None else (from_ms(int(key[0])), *key[1:])

    return PageRequest(span.limit, stored(span.after), stored(span.before), span.backward)


def page_among(items: Sequence[T], key: Callable[[T], Key], ascending: bool, span: PageRequest) -> Page[T]:
    """One page of a list that was read whole, in order of its keys."""

    def follows(item: T, other: Key) -> bool:
        return key(item) > other if ascending else key(item) < other

    ordered = sorted(items, key=key, reverse=not ascending)
    part = [item for item in ordered if span.after is None or follows(item, span.after)]
    if span.before is not None:
        part = [item for item in part if key(item) != span.before and not follows(item, span.before)]
    kept = part[-span.limit :] if span.backward else part[: span.limit]
    return Page(kept, len(part) > span.limit)


Order = Sequence[tuple[str, int]]


def keyset_filter(order: Order, key: Key, *, forward: bool) -> Doc:
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
    span: PageRequest,
    from_doc: Callable[[Doc], T],
    projection: Doc | None = None,
    by: Sequence[str] = ("workspace",),
) -> Page[T]:
    """One page of a list ordered by `order`, served by the index {*by, *order}; the query has an equality for each of `by`.

    What the index holds is asked first, everything else of what that leaves: for a condition that its index does not
    hold, the embedded server reads the whole collection. (MongoDB takes the two as one.)
    """
    first = order[0][0]
    narrow, rest = _parts(query, by, first)
    for key, forward in ((span.after, True), (span.before, False)):
        if key is not None:
            keyed = keyset_filter(order, key, forward=forward)
            rest += [{name: condition} for name, condition in keyed.items() if name != first]
            bounds = narrow.setdefault(first, {})
            for operator, value in keyed[first].items():
                if operator in bounds:
                    rest.append({first: {operator: value}})
                else:
                    bounds[operator] = value
    asked = [(name, -direction if span.backward else direction) for name, direction in order]
    if rest:
        stages = [*_matching(narrow, rest), {"$sort": dict(asked)}, {"$limit": span.limit + 1}]
        if projection is not None:
            stages.append({"$project": projection})
        docs = await collection.aggregate(stages).to_list(None)
    else:
        docs = await collection.find(narrow, projection).sort(asked).limit(span.limit + 1).to_list(None)
    more = len(docs) > span.limit
    docs = docs[: span.limit]
    if span.backward:
        docs.reverse()
    return Page([from_doc(doc) for doc in docs], more)


async def count_of(collection: Collection, query: Doc, by: Sequence[str], first: str) -> int:
    """How many documents match, served by the index {*by, first, …} in the way of `page_of`."""
    docs = await collection.aggregate([*matching(query, by, first), {"$count": "n"}]).to_list(None)
    return int(docs[0]["n"]) if docs else 0


def matching(query: Doc, by: Sequence[str], first: str) -> list[Doc]:
    """The stages that find what matches, served by the index {*by, first, …} in the way of `page_of`."""
    return _matching(*_parts(query, by, first))


def _parts(query: Doc, by: Sequence[str], first: str) -> tuple[Doc, list[Doc]]:
    """What the index {*by, first, …} holds of a query, and everything else."""
    narrow = {name: query[name] for name in by}
    if first in query:
        narrow[first] = dict(query[first])
    return narrow, [{name: condition} for name, condition in query.items() if name not in narrow]


def _matching(narrow: Doc, rest: list[Doc]) -> list[Doc]:
    return [{"$match": narrow}, *([{"$match": {"$and": rest}}] if rest else [])]
