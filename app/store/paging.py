"""Keyset paging: a page is asked for by the key of the item before it, never by an offset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .collection import Collection, Doc

T = TypeVar("T")
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
    """The condition "after this key" (or before it) in the given order, over one or two fields."""

    def side(direction: int) -> str:
        return "$gt" if (direction > 0) == forward else "$lt"

    (name, direction), *rest = order
    if not rest:
        return {name: {side(direction): key[0]}}
    last, last_direction = rest[0]
    # The bound on the first field alone lets the index seek; $or alone would read from the start.
    return {
        name: {side(direction) + "e": key[0]},
        "$or": [{name: {side(direction): key[0]}}, {name: key[0], last: {side(last_direction): key[1]}}],
    }


async def page_of(
    collection: Collection,
    query: Doc,
    order: Order,
    span: Span,
    from_doc: Callable[[Doc], T],
    projection: Doc | None = None,
) -> Page[T]:
    """One page of a list ordered by `order` (an index must serve query and order)."""
    conditions = [query]
    if span.after is not None:
        conditions.append(beyond(order, span.after, forward=True))
    if span.before is not None:
        conditions.append(beyond(order, span.before, forward=False))
    asked = [(name, -direction if span.backward else direction) for name, direction in order]
    cursor = collection.find(_together(conditions), projection).sort(asked).limit(span.limit + 1)
    docs = await cursor.to_list(None)
    more = len(docs) > span.limit
    docs = docs[: span.limit]
    if span.backward:
        docs.reverse()
    return Page([from_doc(doc) for doc in docs], more)


def _together(conditions: Sequence[Doc]) -> Doc:
    merged: Doc = {}
    for condition in conditions:
        if merged.keys() & condition.keys():
            return {"$and": list(conditions)}
        merged.update(condition)
    return merged
