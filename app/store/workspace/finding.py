"""Named queries that find passes of one workspace by filters, in any order.

A filter and an order may be combined at will, so no index serves every combination. A page is read in one of these ways:

- the passes that the filter names by their ids;
- all passes of one condition that an index holds, such as a word of the search, if they are at most 20,000;
- the passes in the order of the list, until the page is full or 20,000 are examined. In the order of creation, these
  may be the passes of one word of the search.

(Source: docs/decisions/0121-three-ways-to-read-a-page-of-passes.md and 0158-passes-of-a-word-in-order-of-creation.md.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial

from app.domain.errors import Code, InvalidInput
from app.domain.passes.pass_queries import PassOrder, PassOrderField, PassQuery, sort_key
from app.domain.passes.passes import Pass
from app.domain.values.instants import HOUR_MS
from app.store.codecs.passes import from_doc
from app.store.mongo.id_ranges import PASS_IDS
from app.store.mongo.paging import Key, Page, PageRequest, count_matching, count_results, cut_page, read_page
from app.store.mongo.queries import Doc
from app.store.mongo.time_ranges import MAX_EXAMINED, RangeScan, ScanPosition
from app.store.mongo.usage import charge

from .indexed_sets import IndexedSet, IndexedSetQueries, index_order
from .name_ranges import read_by_name
from .pass_filters import POINTS, TOKENS, conditions_of, indexed_parts
from .pass_orders import INSTANTS, ORDERED, key_from_stored, keyset_filters, order_of, sort_of, to_stored
from .passes import CREATED, LIST_PROJECTION

SMALL_SET = 1_000
"""Passes of an indexed condition up to which a page reads them all, whatever its order."""
SORTED_SET = MAX_EXAMINED
"""The same for the orders NAME and POINTS, in which the embedded servers read and sort all passes of the workspace."""
FIRST_LOOK = 1_000
"""Passes that a page in the order of an instant examines before it counts the passes of frequent conditions."""
MAX_COUNTED_PASSES = 1_000_000
"""Passes that counting a list may examine, if its filter has conditions outside the index."""
FIRST_RANGE_MS = HOUR_MS
"""Width of the first range of time that a page reads. Ranges grow until they hold the page."""


class FindQueries(IndexedSetQueries):
    """Lists of passes by filters. Errors: Unavailable, safe to repeat."""

    max_examined = MAX_EXAMINED
    """Passes that one page examines."""

    async def page(self, query: PassQuery, span: PageRequest, order: PassOrder, newest_ms: int) -> Page[Pass]:
        """Return the passes that match, in an order; key as `sort_key`. None is expected after `newest_ms`: now.

        Index: _id with ids. Else one that selects few passes: {workspace, tokens, created_at, _id}, {workspace,
        memberships.s, _id} or that of a range. Else that of the order: {workspace, f, _id} with f created_at, last_event,
        name_key or points. Raises InvalidInput, with advice, if 20,000 passes were examined and too few of them match. With
        the limit 0, such a page states that passes may follow.
        """
        where = self._where(query)
        if query.ids is not None:
            return cut_page(await self._find_named(query.ids, where), partial(_key, order), order.ascending, span)
        if order.field in INSTANTS:
            page = await self._page_by_instant(query, where, span, order, newest_ms=newest_ms)
        else:
            page = await self._page_by_value(query, where, span, order)
        if page is None and not span.limit:
            page = Page([], has_more=True)
        if page is None:
            raise _too_many(f"{self.max_examined // 2:,} or more passes were examined, and too few match", query)
        return page

    async def _page_by_instant(
        self, query: PassQuery, where: Doc, span: PageRequest, order: PassOrder, *, newest_ms: int
    ) -> Page[Pass] | None:
        """Return a page in the order of an instant, or None if too few of the passes that were examined match."""
        scan = partial(self._scan, self._in_order(query, where, order), span, order, newest_ms=newest_ms)
        if not query.search.has_rare_word:
            # The embedded servers take 1 ms to count 100 passes of a condition. The newest ones often fill the page sooner.
            page = await scan(most=min(FIRST_LOOK, self.max_examined))
            if page is not None:
                return page
        small = await self._smallest_set(query, where, self.max_examined, enough=SMALL_SET)
        page = None
        if small is None or small.size > SMALL_SET:
            page = await scan(most=self.max_examined if small is None else min(small.size, self.max_examined))
        if page is None and small is not None and small.size <= self.max_examined:
            page = await self._read_set(query, small, span, order)
        return page

    async def _page_by_value(
        self, query: PassQuery, where: Doc, span: PageRequest, order: PassOrder
    ) -> Page[Pass] | None:
        """Return a page in the order of names or points, or None if too few of the passes that were examined match."""
        first, every = ORDERED[order.field]
        in_order = {**where, first: {**every, **where.get(first, {})}}
        is_filtered = in_order.keys() > {"workspace", first}
        indexed, is_by_name = indexed_parts(query, where), order.field is PassOrderField.NAME
        # Few passes of a frequent word, or without a condition that an index holds, fill the page.
        if is_by_name and (not indexed or (query.search.terms and not query.search.has_rare_word)):
            most = min(FIRST_LOOK, self.max_examined) if is_filtered else self.max_examined
            docs = await read_by_name(
                self._collection, in_order, span, LIST_PROJECTION, ascending=order.ascending, most=most
            )
            if docs is not None:
                return _page_of(docs, span)
        if not is_filtered:
            by, keys = order_of(order), to_stored(span)
            return await read_page(self._collection, in_order, by, keys, from_doc, LIST_PROJECTION)
        if len(indexed) == 1 and self._is_bounded_by_key(query, indexed[0], order):
            page = await self._read_by_keys(query, indexed[0], span, order)
            if page is not None:
                return page
        small = await self._smallest_set(query, where, self.max_examined, enough=SORTED_SET)
        if small is None or small.size > SORTED_SET:
            most = self.max_examined if small is None else min(small.size, self.max_examined)
            docs = await self._read_first(in_order, to_stored(span), order, most=most)
            if docs is not None:
                return _page_of(docs, span)
        if small is None or small.size > self.max_examined:
            return None
        if self._is_bounded_by_key(query, small.parts, order):
            return await self._read_by_keys(query, small.parts, span, order)
        return await self._read_set(query, small, span, order)

    async def count(self, query: PassQuery) -> int:
        """Return the number of passes that match. Indexes as for `page`.

        Raises InvalidInput, with advice, if more than 1,000,000 passes would be examined.
        """
        where = self._where(query)
        if query.ids is not None:
            return len(await self._find_named(query.ids, where))
        if where.keys() == {"workspace"}:
            where["created_at"] = CREATED
        for first, _ in ORDERED.values():
            if where.keys() == {"workspace", first}:
                return await count_matching(self._collection, where, ("workspace",), first)
        small = await self._smallest_set(query, where, MAX_COUNTED_PASSES, enough=SMALL_SET)
        if small is None:
            all_passes: Doc = {"created_at": CREATED}
            small = IndexedSet((all_passes,), await self._count_set(MAX_COUNTED_PASSES + 1, all_passes))
        if small.size > MAX_COUNTED_PASSES:
            raise _too_many(f"Counting these would examine more than {MAX_COUNTED_PASSES:,} passes", query)
        await charge(small.size)
        counted = list[Awaitable[int]]()
        for number, part in enumerate(small.parts):
            head, *rest = self._set_stages(query, small, number)
            counted.append(count_results(self._collection, [head, *index_order(part), *rest]))
        return sum(await asyncio.gather(*counted))

    async def _find_named(self, ids: Sequence[str], where: Doc) -> list[Pass]:
        """Return the passes that match among the ids. Index: _id."""
        stages = [{"$match": self._by_id({"$in": list(ids)})}, {"$match": where}, {"$project": LIST_PROJECTION}]
        return [from_doc(doc) for doc in await self._collection.aggregate(stages).to_list(None)]

    def _in_order(self, query: PassQuery, where: Doc, order: PassOrder) -> Doc:
        """Return the filter by which a scan reads passes in the order of the list.

        In the order of creation, it reads the passes of a word of the search, if an index holds the word.
        """
        first, every = ORDERED[order.field]
        if order.field is PassOrderField.CREATED:
            for part, *others in indexed_parts(query, where):
                if TOKENS in part and not others:
                    where = {**self._where(query, part), **part}
                    break
        return {**where, first: {**every, **where.get(first, {})}}

    async def _scan(
        self, where: Doc, span: PageRequest, order: PassOrder, *, most: int, newest_ms: int
    ) -> Page[Pass] | None:
        """Return a page in the order of an instant, or None if too few of the passes that were examined match."""
        ascending = order.ascending != span.backward
        begin, until = (span.before, span.after) if span.backward else (span.after, span.before)
        start = None if begin is None else ScanPosition(begin[0], begin[1], FIRST_RANGE_MS)
        by = ("workspace", TOKENS) if TOKENS in where else ("workspace",)
        scan = RangeScan(
            collection=self._collection, where=where, by=by, first=ORDERED[order.field][0], ascending=ascending,
            start=start, until=until, newest_ms=newest_ms, width_ms=FIRST_RANGE_MS, max_examined=most, ids=PASS_IDS,
        )  # fmt: skip
        docs = await scan.read(span.limit + 1)
        if len(docs) <= span.limit and not scan.is_over:
            return None
        return _page_of(docs, span)

    async def _read_first(self, where: Doc, span: PageRequest, order: PassOrder, *, most: int) -> list[Doc] | None:
        """Return the first passes of a page and one more, or None if too few of the passes that were examined match."""
        by = order_of(order)
        first, _ = by[0]
        keyed = keyset_filters(span, by)
        indexed = self._in_workspace(**{first: where[first]})
        bounds = [{first: each[first]} for each in keyed]
        head: list[Doc] = [{"$match": indexed}, *({"$match": each} for each in bounds)]
        following = await count_results(self._collection, [*head, {"$limit": most + 1}])
        await charge(min(most, following))
        others = [{name: value} for name, value in where.items() if name not in indexed]
        exact = [{"$match": {"$and": keyed}}] if keyed else []
        stages = [*head, *exact, {"$sort": sort_of(by, span)}, {"$limit": most}, {"$match": {"$and": others}}]
        docs = await self._collection.aggregate([*stages, *_first_of(span)]).to_list(None)
        return None if len(docs) <= span.limit and following > most else docs

    def _is_bounded_by_key(self, query: PassQuery, parts: Sequence[Doc], order: PassOrder) -> bool:
        """Return whether the passes of the parts match whose names or points are within the bounds of the query."""
        first = ORDERED[order.field][0]
        bounds = replace(query, points_min=None, points_max=None) if first == POINTS else query
        return all(not conditions_of(bounds, part).keys() - part.keys() for part in parts)

    async def _read_by_keys(
        self, query: PassQuery, parts: Sequence[Doc], span: PageRequest, order: PassOrder
    ) -> Page[Pass] | None:
        """Return a page of the passes of some parts, by their names or points; None if they are too many.

        It reads the keys of all these passes. To sort passes in an aggregation, the embedded servers take twice as long. To
        return them without an order, they take ten times as long.
        """
        first = ORDERED[order.field][0]
        most = self.max_examined + 1
        reads = [
            self._collection.find(self._in_workspace(**part), {first: 1}, batch_size=most + 1)
            .sort([(first, 1), ("_id", 1)])
            .limit(most)
            .to_list(None)
            for part in parts
        ]
        found = {doc["_id"]: doc[first] for docs in await asyncio.gather(*reads) for doc in docs if first in doc}
        if len(found) >= most:
            return None
        await charge(len(found))

        def cut() -> Page[Key]:
            keys = [(key_from_stored(value), pass_id) for pass_id, value in found.items()]
            return cut_page([key for key in keys if _is_within(query, key[0])], tuple, order.ascending, span)

        # 20,000 keys would hold up the loop for 50 ms.
        page = await asyncio.to_thread(cut) if len(found) > SMALL_SET else cut()
        docs = {doc["_id"]: doc for doc in await self._by_ids([pass_id for _, pass_id in page.items], LIST_PROJECTION)}
        cards = [from_doc(docs[pass_id]) for _, pass_id in page.items if first in docs.get(pass_id, ())]
        return Page(cards, page.has_more)

    async def _read_set(self, query: PassQuery, small: IndexedSet, span: PageRequest, order: PassOrder) -> Page[Pass]:
        """Return a page of the passes of a set: of each part as many as the page has, and of them the first."""
        await charge(small.size)
        by = order_of(order)
        keyed = keyset_filters(to_stored(span), by)
        rest = [{"$sort": sort_of(by, span)}, *_first_of(span)]
        reads = [[*self._set_stages(query, small, number, keyed), *rest] for number in range(len(small.parts))]
        answers = await asyncio.gather(*(self._collection.aggregate(stages).to_list(None) for stages in reads))
        cards = [from_doc(doc) for docs in answers for doc in docs]
        whole = PageRequest(limit=span.limit, backward=span.backward)
        return cut_page(cards, partial(_key, order), order.ascending, whole)


def _page_of(docs: Sequence[Doc], span: PageRequest) -> Page[Pass]:
    """Return the page of the documents that were read in its direction, one more than it holds if more follow."""
    cards = [from_doc(doc) for doc in docs[: span.limit]]
    return Page(cards[::-1] if span.backward else cards, len(docs) > span.limit)


def _is_within(query: PassQuery, value: str | Decimal) -> bool:
    """Return whether the key of a pass is within the bounds of the query. Names have none."""
    if isinstance(value, str):
        return True
    return (query.points_min is None or value >= query.points_min) and (
        query.points_max is None or value <= query.points_max
    )


def _key(order: PassOrder, card: Pass) -> Key:
    return sort_key(card, order.field)


def _first_of(span: PageRequest) -> list[Doc]:
    return [{"$limit": span.limit + 1}, {"$project": LIST_PROJECTION}]


def _too_many(what: str, query: PassQuery) -> InvalidInput:
    """Return the error, with advice, for a list that would examine too many passes."""
    advice = ["a longer word in search"] if query.search.terms else ["a search"]
    advice += [] if query.segment_ids else ["segmentIds"]
    advice.append("a shorter range of creation, last event or points")
    message = f"{what}. Narrow the filter: give {', '.join(advice[:-1])} or {advice[-1]}."
    return InvalidInput(Code.TOO_MANY, message, "filter")
