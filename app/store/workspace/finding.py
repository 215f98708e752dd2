"""Named queries that find passes of one workspace by filters, in any order.

A filter and an order may be combined at will, so no index serves every combination. A page is read in one of these ways:

- the passes that the filter names by their ids;
- all passes of one condition that an index holds, such as a word of the search, if they are at most 20,000;
- the passes in the order of the list, until the page is full or 20,000 are examined.

(Source: docs/decisions/0121-three-ways-to-read-a-page-of-passes.md.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import partial

from bson import Decimal128

from app.domain.errors import Code, InvalidInput
from app.domain.passes.pass_queries import PassOrder, PassOrderField, PassQuery, sort_key
from app.domain.passes.passes import Pass
from app.domain.passes.search_tokens import INDEXED_LENGTHS, Alternative, indexed_beginning
from app.domain.values.conditions import Condition
from app.domain.values.instants import DAY_MS, EARLIEST, from_ms
from app.store.codecs.pass_search import NO_EVENT
from app.store.codecs.passes import from_doc
from app.store.mongo.conditions import between, condition_to_filter
from app.store.mongo.decimal128 import MAX_DIGITS, to_decimal128
from app.store.mongo.id_ranges import PASS_IDS
from app.store.mongo.paging import Key, Page, PageRequest, build_keyset_filter, count_matching, cut_page, read_page
from app.store.mongo.queries import Doc, WorkspaceQueries
from app.store.mongo.time_ranges import MAX_EXAMINED, RangeScan, ScanPosition
from app.store.mongo.usage import charge

from .activities import any_of
from .passes import CREATED, LIST_PROJECTION

SMALL_SET = 1_000
"""Passes of an indexed condition up to which a page reads them all, whatever its order."""
SORTED_SET = MAX_EXAMINED
"""The same for the orders NAME and POINTS, in which the embedded servers read and sort all passes of the workspace."""
FIRST_LOOK = 1_000
"""Passes that a page in the order of an instant examines before it counts the passes of frequent conditions."""
MAX_COUNTED_PASSES = 1_000_000
"""Passes that counting a list may examine, if its filter has conditions outside the index."""
MAX_TERMS_COUNTED = 3
"""Words of a search whose passes are counted, to find a rare one."""
LAST_EVENT, NAME, POINTS, TOKENS, SEGMENT = "last_event", "name_key", "points", "tokens", "memberships.s"
_ORDERED: Mapping[PassOrderField, tuple[str, Doc]] = {
    PassOrderField.CREATED: ("created_at", CREATED),
    PassOrderField.LAST_EVENT: (LAST_EVENT, {"$gte": NO_EVENT}),
    PassOrderField.NAME: (NAME, {"$gte": ""}),
    PassOrderField.POINTS: (POINTS, {"$gte": Decimal128("-" + MAX_DIGITS * "9")}),
}
"""Field of each order, and the condition that every pass meets in it. Stubs and aliases have none of these fields."""
_INSTANTS = frozenset({PassOrderField.CREATED, PassOrderField.LAST_EVENT})
_END_OF_TEXTS = "\U0010ffff"
"""Text that follows, after the same word, every other text that a token may have there."""
_DOUBLE = Context(prec=15, Emin=-20)
"""Digits that a double keeps: the embedded server compares decimals as doubles at the end of a range in an index."""
_SPLIT: Doc = {"split": {"$exists": True}}


@dataclass(frozen=True, slots=True)
class _IndexedSet:
    """Passes that indexed conditions select, each pass by the first of the parts that it meets, and how many they are.

    The number counts at most one more than a page may examine.
    """

    parts: tuple[Doc, ...]
    size: int


class FindQueries(WorkspaceQueries):
    """Lists of passes by filters. Errors: Unavailable, safe to repeat."""

    collection = "passes"
    max_examined = MAX_EXAMINED
    """Passes that one page examines."""

    async def page(self, query: PassQuery, span: PageRequest, order: PassOrder, newest_ms: int) -> Page[Pass]:
        """Return the passes that match, in an order; key as `sort_key`. None is expected after `newest_ms`: now.

        Index: _id with ids. Else one that selects few passes: {workspace, tokens}, {workspace, memberships.s, _id} or that
        of a range. Else that of the order: {workspace, f, _id} with f created_at, last_event, name_key or points. Raises
        InvalidInput, with advice, if 20,000 passes were examined and too few of them match. With the limit 0, such a page
        states that passes may follow.
        """
        where = self._where(query)
        if query.ids is not None:
            return cut_page(await self._find_named(query.ids, where), partial(_key, order), order.ascending, span)
        first, every = _ORDERED[order.field]
        in_order = {**where, first: {**every, **where.get(first, {})}}
        stored = _to_stored(span)
        if in_order.keys() <= {"workspace", first}:
            return await self._read_in_order(in_order, stored, order)
        by_instant = order.field in _INSTANTS
        if by_instant and not query.search.has_rare_word:
            # The embedded servers take 1 ms to count 100 passes of a condition. The newest ones often fill the page sooner.
            most = min(FIRST_LOOK, self.max_examined)
            page = await self._scan(in_order, span, order, most=most, newest_ms=newest_ms)
            if page is not None:
                return page
        enough = SMALL_SET if by_instant else SORTED_SET
        small = await self._smallest_set(query, where, self.max_examined, enough=enough)
        page = None
        if small is None or small.size > enough:
            most = self.max_examined if small is None else min(small.size, self.max_examined)
            if by_instant:
                page = await self._scan(in_order, span, order, most=most, newest_ms=newest_ms)
            else:
                page = await self._read_first(in_order, stored, order, most=most)
        if page is None and small is not None and small.size <= self.max_examined:
            page = await self._read_set(small, where, stored, order)
        if page is None and not span.limit:
            page = Page([], has_more=True)
        if page is None:
            raise _too_many(f"{self.max_examined // 2:,} or more passes were examined, and too few match", query)
        return page

    async def count(self, query: PassQuery) -> int:
        """Return the number of passes that match. Indexes as for `page`.

        Raises InvalidInput, with advice, if more than 1,000,000 passes would be examined.
        """
        where = self._where(query)
        if query.ids is not None:
            return len(await self._find_named(query.ids, where))
        if where.keys() == {"workspace"}:
            where["created_at"] = CREATED
        for first, _ in _ORDERED.values():
            if where.keys() == {"workspace", first}:
                return await count_matching(self._collection, where, ("workspace",), first)
        small = await self._smallest_set(query, where, MAX_COUNTED_PASSES, enough=SMALL_SET)
        if small is None:
            all_passes: Doc = {"created_at": CREATED}
            small = _IndexedSet((all_passes,), await self._count_set(MAX_COUNTED_PASSES + 1, all_passes))
        if small.size > MAX_COUNTED_PASSES:
            raise _too_many(f"Counting these would examine more than {MAX_COUNTED_PASSES:,} passes", query)
        await charge(small.size)
        counted = [[*self._set_stages(small, number, where), {"$count": "n"}] for number in range(len(small.parts))]
        answers = await asyncio.gather(*(self._collection.aggregate(stages).to_list(None) for stages in counted))
        return sum(int(docs[0]["n"]) for docs in answers if docs)

    async def _find_named(self, ids: Sequence[str], where: Doc) -> list[Pass]:
        """Return the passes that match among the ids. Index: _id."""
        stages = [{"$match": self._by_id({"$in": list(ids)})}, {"$match": where}, {"$project": LIST_PROJECTION}]
        return [from_doc(doc) for doc in await self._collection.aggregate(stages).to_list(None)]

    async def _read_in_order(self, where: Doc, span: PageRequest, order: PassOrder) -> Page[Pass]:
        return await read_page(self._collection, where, _order_of(order), span, from_doc, LIST_PROJECTION)

    async def _scan(
        self, where: Doc, span: PageRequest, order: PassOrder, *, most: int, newest_ms: int
    ) -> Page[Pass] | None:
        """Return a page in the order of an instant, or None if too few of the passes that were examined match."""
        ascending = order.ascending != span.backward
        begin, until = (span.before, span.after) if span.backward else (span.after, span.before)
        start = None if begin is None else ScanPosition(begin[0], begin[1], DAY_MS)
        scan = RangeScan(
            collection=self._collection, where=where, by=("workspace",), first=_ORDERED[order.field][0],
            ascending=ascending, start=start, until=until, newest_ms=newest_ms, max_examined=most, ids=PASS_IDS,
        )  # fmt: skip
        docs = await scan.read(span.limit + 1)
        if len(docs) <= span.limit and not scan.is_over:
            return None
        cards = [from_doc(doc) for doc in docs[: span.limit]]
        return Page(cards[::-1] if span.backward else cards, len(docs) > span.limit)

    async def _read_first(self, where: Doc, span: PageRequest, order: PassOrder, *, most: int) -> Page[Pass] | None:
        """Return a page of the first passes in an order, or None if too few of the passes that were examined match."""
        by = _order_of(order)
        first, _ = by[0]
        keyed = _keyset_filters(span, by)
        indexed = self._in_workspace(**{first: where[first]})
        bounds = [{first: each[first]} for each in keyed]
        head: list[Doc] = [{"$match": indexed}, *({"$match": each} for each in bounds)]
        docs = await self._collection.aggregate([*head, {"$limit": most + 1}, {"$count": "n"}]).to_list(None)
        following = int(docs[0]["n"]) if docs else 0
        await charge(min(most, following))
        others = [{name: value} for name, value in where.items() if name not in indexed]
        exact = [{"$match": {"$and": keyed}}] if keyed else []
        stages = [*head, *exact, {"$sort": _sort_of(by, span)}, {"$limit": most}, {"$match": {"$and": others}}]
        docs = await self._collection.aggregate([*stages, *_first_of(span)]).to_list(None)
        if len(docs) <= span.limit and following > most:
            return None
        cards = [from_doc(doc) for doc in docs[: span.limit]]
        return Page(cards[::-1] if span.backward else cards, len(docs) > span.limit)

    async def _read_set(self, small: _IndexedSet, where: Doc, span: PageRequest, order: PassOrder) -> Page[Pass]:
        """Return a page of the passes of a set: of each part as many as the page has, and of them the first."""
        await charge(small.size)
        by = _order_of(order)
        keyed = _keyset_filters(span, by)
        rest = [{"$sort": _sort_of(by, span)}, *_first_of(span)]
        reads = [[*self._set_stages(small, number, where, keyed), *rest] for number in range(len(small.parts))]
        answers = await asyncio.gather(*(self._collection.aggregate(stages).to_list(None) for stages in reads))
        cards = [from_doc(doc) for docs in answers for doc in docs]
        whole = PageRequest(limit=span.limit, backward=span.backward)
        return cut_page(cards, partial(_key, order), order.ascending, whole)

    def _set_stages(self, small: _IndexedSet, number: int, where: Doc, keyed: Sequence[Doc] = ()) -> list[Doc]:
        """Return the stages that find the matching passes of one part of a set, without those of the parts before."""
        part, earlier = small.parts[number], small.parts[:number]
        others = [{name: value} for name, value in where.items() if name not in part and name != "workspace"]
        others += [*({"$nor": [each]} for each in earlier), *keyed]
        return [{"$match": self._in_workspace(**part)}, *([{"$match": {"$and": others}}] if others else [])]

    async def _smallest_set(
        self, query: PassQuery, where: Doc, max_examined: int, *, enough: int
    ) -> _IndexedSet | None:
        """Return conditions of the filter that an index holds and that select few passes, or None.

        The most promising conditions are counted first, and no further ones as soon as a set has `enough` passes at
        most. The embedded servers count all passes of a frequent word, although the count has a limit.
        """
        best: _IndexedSet | None = None
        for parts in _indexed_parts(query, where):
            size = sum(await asyncio.gather(*(self._count_set(max_examined + 1, part) for part in parts)))
            if best is None or size < best.size:
                best = _IndexedSet(parts, size)
            if best.size <= enough:
                break
        return best

    async def _count_set(self, most: int, part: Doc) -> int:
        stages: list[Doc] = [{"$match": self._in_workspace(**part)}, {"$limit": most}, {"$count": "n"}]
        docs = await self._collection.aggregate(stages).to_list(None)
        return int(docs[0]["n"]) if docs else 0

    def _where(self, query: PassQuery) -> Doc:
        where: Doc = self._in_workspace()
        if query.created_after or query.created_before:
            where |= between("created_at", query.created_after or EARLIEST, query.created_before)
        if query.last_event_after or query.last_event_before:
            where |= between(LAST_EVENT, query.last_event_after or EARLIEST, query.last_event_before)
        bounds: Doc = {}
        if query.points_min is not None:
            bounds["$gte"] = to_decimal128(query.points_min)
        if query.points_max is not None:
            # With $lte, the embedded server omits passes with just this balance. What the range has too much goes below.
            bounds["$lt"] = Decimal128(_DOUBLE.next_plus(query.points_max))
        if bounds:
            where[POINTS] = {**_ORDERED[PassOrderField.POINTS][1], **bounds}
        if query.segment_ids is not None:
            where[SEGMENT] = any_of(query.segment_ids)
        for name, values in (("profile.status", query.statuses), ("tier", query.tier_keys)):
            if values is not None:
                where[name] = any_of(values)
        further = [_term_to_filter(term) for term in query.search.terms]
        if query.points_max is not None:
            further.append({POINTS: {"$not": {"$gt": to_decimal128(query.points_max)}}})
        if query.not_in_segment_ids:
            further.append({SEGMENT: {"$nin": list(query.not_in_segment_ids)}})
        if query.consent is not None:
            further.append({"profile.consents": {"$elemMatch": {"key": query.consent, "given": True}}})
        further += map(_field_filter, query.fields)
        return {**where, "$and": further} if further else where


def _indexed_parts(query: PassQuery, where: Doc) -> list[tuple[Doc, ...]]:
    """Return the conditions that an index holds, the most promising first. A term of a search has one for each alternative.

    A word is promising if its beginning has digits, or many letters.
    """
    terms: list[list[str]] = []
    for term in query.search.terms:
        rarest = [max(filter(None, map(indexed_beginning, words)), key=_promise, default="") for words in term]
        if all(rarest):
            terms.append(list(dict.fromkeys(rarest)))
    terms.sort(key=lambda starts: min(map(_promise, starts)), reverse=True)
    parts: list[tuple[Doc, ...]] = [tuple({TOKENS: start} for start in starts) for starts in terms[:MAX_TERMS_COUNTED]]
    return parts + [({name: where[name]},) for name in (SEGMENT, "created_at", LAST_EVENT, POINTS) if name in where]


def _promise(start: str) -> tuple[float, int]:
    digits = sum(map(str.isdigit, start))
    return digits + min(6, len(start) - digits) / 2, digits


def _term_to_filter(term: Sequence[Alternative]) -> Doc:
    alternatives: list[Doc] = [{"$and": [_word_to_filter(word) for word in words]} for words in term]
    return alternatives[0] if len(alternatives) == 1 else {"$or": alternatives}


def _word_to_filter(word: str) -> Doc:
    """Return the filter for passes with a token that begins with the word."""
    if len(word) in INDEXED_LENGTHS:
        return {TOKENS: word}
    return {TOKENS: {"$elemMatch": {"$gte": word, "$lt": word + _END_OF_TEXTS}}}


def _field_filter(condition: Condition) -> Doc:
    """Return the filter for a condition on the fields of a pass. Keys with points are read from the split copy."""
    split, plain = (condition_to_filter(condition, root) for root in ("split", "profile.fields"))
    return {"$or": [{"$and": [_SPLIT, split]}, {"$and": [{"$nor": [_SPLIT]}, plain]}]}


def _key(order: PassOrder, card: Pass) -> Key:
    return sort_key(card, order.field)


def _order_of(order: PassOrder) -> Sequence[tuple[str, int]]:
    direction = 1 if order.ascending else -1
    return ((_ORDERED[order.field][0], direction), ("_id", direction))


def _sort_of(by: Sequence[tuple[str, int]], span: PageRequest) -> Doc:
    return {name: -direction if span.backward else direction for name, direction in by}


def _first_of(span: PageRequest) -> list[Doc]:
    return [{"$limit": span.limit + 1}, {"$project": LIST_PROJECTION}]


def _keyset_filters(span: PageRequest, by: Sequence[tuple[str, int]]) -> list[Doc]:
    """Return the filters for passes between the keys of a page, as documents store them."""
    keys = ((span.after, True), (span.before, False))
    return [build_keyset_filter(by, key, forward=forward) for key, forward in keys if key is not None]


def _to_stored(span: PageRequest) -> PageRequest:
    """Return the request with keys as documents store them: instants as dates, points as Decimal128."""

    def stored(key: Key | None) -> Key | None:
        if key is None:
            return None
        value, pass_id = key
        if isinstance(value, int):
            return from_ms(value), pass_id
        return to_decimal128(value) if isinstance(value, Decimal) else value, pass_id

    return PageRequest(limit=span.limit, after=stored(span.after), before=stored(span.before), backward=span.backward)


def _too_many(what: str, query: PassQuery) -> InvalidInput:
    """Return the error, with advice, for a list that would examine too many passes."""
    advice = ["a longer word in search"] if query.search.terms else ["a search"]
    advice += [] if query.segment_ids else ["segmentIds"]
    advice.append("a shorter range of creation, last event or points")
    message = f"{what}. Narrow the filter: give {', '.join(advice[:-1])} or {advice[-1]}."
    return InvalidInput(Code.TOO_MANY, message, "filter")
