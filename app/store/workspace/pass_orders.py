"""Orders of lists of passes as the store reads them: their fields, and keys of pages in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from bson import Decimal128

from app.domain.passes.pass_queries import PassOrder, PassOrderField
from app.domain.values.instants import from_ms
from app.store.codecs.pass_search import NO_EVENT
from app.store.mongo.decimal128 import from_decimal128, to_decimal128
from app.store.mongo.paging import Key, PageRequest, build_keyset_filter
from app.store.mongo.queries import Doc

from .pass_filters import EVERY_POINTS, LAST_EVENT, NAME, POINTS
from .passes import CREATED

ORDERED: Mapping[PassOrderField, tuple[str, Doc]] = {
    PassOrderField.CREATED: ("created_at", CREATED),
    PassOrderField.LAST_EVENT: (LAST_EVENT, {"$gte": NO_EVENT}),
    PassOrderField.NAME: (NAME, {"$gte": ""}),
    PassOrderField.POINTS: (POINTS, EVERY_POINTS),
}
"""Field of each order, and the condition that every pass meets in it. Stubs and aliases have none of these fields."""
INSTANTS = frozenset({PassOrderField.CREATED, PassOrderField.LAST_EVENT})


def order_of(order: PassOrder) -> Sequence[tuple[str, int]]:
    direction = 1 if order.ascending else -1
    return ((ORDERED[order.field][0], direction), ("_id", direction))


def sort_of(by: Sequence[tuple[str, int]], span: PageRequest) -> Doc:
    return {name: -direction if span.backward else direction for name, direction in by}


def keyset_filters(span: PageRequest, by: Sequence[tuple[str, int]]) -> list[Doc]:
    """Return the filters for passes between the keys of a page, as documents store them."""
    keys = ((span.after, True), (span.before, False))
    return [build_keyset_filter(by, key, forward=forward) for key, forward in keys if key is not None]


def to_stored(span: PageRequest) -> PageRequest:
    """Return the request with keys as documents store them: instants as dates, points as Decimal128."""

    def stored(key: Key | None) -> Key | None:
        if key is None:
            return None
        value, pass_id = key
        if isinstance(value, int):
            return from_ms(value), pass_id
        return to_decimal128(value) if isinstance(value, Decimal) else value, pass_id

    return PageRequest(limit=span.limit, after=stored(span.after), before=stored(span.before), backward=span.backward)


def key_from_stored(value: str | Decimal128) -> str | Decimal:
    """Return a name or points in the form that keys of pages have."""
    return from_decimal128(value) if isinstance(value, Decimal128) else value
