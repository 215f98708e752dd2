"""Lists ordered by an instant, read in ranges of time: longer ones where few documents match, shorter where many do.

A limit alone does not bound what a page costs. If hardly any document matches the filter, every server reads on until
the page is full. The embedded server moreover reads the whole range of a query before it applies the limit. So each
query covers one range of time. If the filter has fields outside the index, the index first counts the documents in the
range. Inside an instant with many documents, the scan goes on in ranges of ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from typing import Any, NamedTuple

from app.domain.values.instants import DAY_MS, EARLIEST, LATEST, from_ms, to_ms

from .id_ranges import (
    AFTER_ALL_IDS,
    BEFORE_ALL_IDS,
    EVENT_IDS,
    FIRST_ID_BITS,
    ID_BITS,
    IdSpace,
)
from .paging import PageRequest, build_match_stages, count_results, read_page
from .queries import Collection, Doc
from .usage import charge

MAX_EXAMINED = 20_000
"""Documents that one call examines for a filter with fields outside its index."""
ALL_TIME_MS = to_ms(LATEST) - to_ms(EARLIEST)
SEEK_AFTER_MS = 365 * DAY_MS
"""Width from which the next range is not read; the instant of the next document is looked up instead."""
_MAX_GROWTH = 64
_MIN_GROWTH = 1 / 8


class ScanPosition(NamedTuple):
    """Where a scan continues: after the document of this instant and id, or at the beginning of the instant.

    The next range is `width_ms` wide. If `width_ms` is at least a year and less than all time, the scan looks up the
    next document instead. Inside an instant with many documents, the next range of ids is 2^`id_bits` wide; outside of
    one, `id_bits` is None. Jobs store the position as a list: `ScanPosition(*stored)` restores it.
    """

    at_ms: int
    after_id: str = ""
    width_ms: int = DAY_MS
    id_bits: int | None = None


class RangeScan:
    """Scan of the documents of a query in order of (`first`, _id). Index: {*by, first, _id}.

    The scan begins after `start`, or with the first document of the query, and ends before `until`. A descending list
    may expect its newest documents at `newest_ms`. The first range is `width_ms` wide; pass ALL_TIME_MS for a list that
    is known to be short. `ids` are those of the collection.
    """

    def __init__(
        self,
        collection: Collection,
        where: Doc,
        by: Sequence[str],
        first: str,
        *,
        ascending: bool,
        start: ScanPosition | None = None,
        until: tuple[int, str] | None = None,
        newest_ms: int | None = None,
        width_ms: int = DAY_MS,
        max_examined: int = MAX_EXAMINED,
        ids: IdSpace = EVENT_IDS,
    ) -> None:
        bounds = where.get(first, {})
        low_ms, high_ms = to_ms(bounds.get("$gte", EARLIEST)), to_ms(bounds.get("$lt", LATEST))
        if until is not None:
            low_ms, high_ms = (low_ms, min(high_ms, until[0] + 1)) if ascending else (max(low_ms, until[0]), high_ms)
        self._collection, self._where, self._by, self._first = collection, where, by, first
        self._ascending, self._max_examined, self._low_ms, self._high_ms = ascending, max_examined, low_ms, high_ms
        self._until, self._ids = until, ids
        self._has_unindexed_filter = any(name not in by and name != first for name in where)
        self._newest_ms = high_ms if newest_ms is None else newest_ms
        is_open_ended = low_ms == to_ms(EARLIEST) if ascending else newest_ms is None and high_ms == to_ms(LATEST)
        first_width_ms = SEEK_AFTER_MS if is_open_ended and width_ms < SEEK_AFTER_MS else width_ms
        self.position = start or ScanPosition(low_ms if ascending else high_ms, "", first_width_ms)
        """Where the last call ended and the next one continues."""
        if self.position.after_id and self.position.width_ms == 1 and self.position.id_bits is None:
            self.position = self.position._replace(id_bits=FIRST_ID_BITS)
        self.is_over = low_ms >= high_ms
        """Whether no document follows the position."""

    @property
    def is_inside_instant(self) -> bool:
        """Whether the scan goes on in ranges of ids, inside the instant of its position."""
        return self.position.id_bits is not None

    async def read(self, limit: int) -> list[Doc]:
        """Read the next documents, at most `limit`.

        Fewer are returned if the scan is over, or if the call has examined as many documents as it may.
        """
        found: list[Doc] = []
        examined = 0
        while not self.is_over and len(found) < limit:
            if not self.is_inside_instant and SEEK_AFTER_MS <= self.position.width_ms < ALL_TIME_MS:
                await self._seek()
                continue
            max_growth = float(_MAX_GROWTH)
            if self._has_unindexed_filter:
                remaining = max(0, self._max_examined - examined)
                count = await _count(self._collection, self._next_indexed(), remaining + 1)
                if count > remaining and self.position.id_bits != 0:
                    if 2 * examined >= self._max_examined:
                        break
                    await self._narrow(remaining + 1)
                    continue
                await charge(count)
                examined += count
                if not count:
                    self._advance(max_growth)
                    continue
                max_growth = min(max_growth, self._max_examined / (2 * count))
            wanted = limit - len(found)
            docs, has_more = await self._read_range(wanted)
            found += docs
            if has_more:
                self._move_after(docs[-1])
            else:
                self._advance(min(max_growth, 2 * (wanted - len(docs)) / len(docs)) if docs else max_growth)
        return found

    def restrict(self, conditions: Doc) -> None:
        """Add conditions that the documents returned from now on must meet.

        The conditions do not make the scan count the documents that it examines.
        """
        self._where = {**self._where, **conditions}

    async def _seek(self) -> None:
        """Move to the next document, or to the end. No other document of the current instant may be left."""
        low_ms, high_ms = self._next_range(ALL_TIME_MS)
        order = [(self._first, 1 if self._ascending else -1)]
        found = (
            await self._collection.find(self._by_index(low_ms, high_ms), {self._first: 1})
            .sort(order)
            .limit(1)
            .to_list(None)
        )
        if found:
            at_ms = to_ms(found[0][self._first])
            self.position = ScanPosition(at_ms if self._ascending else at_ms + 1)
        else:
            self.is_over = True

    def _next_range(self, width_ms: int | None = None) -> tuple[int, int]:
        """Return the next range of time: its first millisecond, and the first one after it."""
        at_ms, after_id, width, _ = self.position
        width = width_ms or width
        if self._ascending:
            return at_ms, min(self._high_ms, at_ms + width)
        high_ms = at_ms + 1 if after_id else at_ms
        # Documents later than `newest_ms` are read together with those at `newest_ms`.
        return max(self._low_ms, min(high_ms, self._newest_ms) - width), high_ms

    async def _narrow(self, count: int) -> None:
        """Make the next range narrower. It holds at least `count` documents, more than the call may still examine."""
        if self.is_inside_instant:
            await self._narrow_ids(count)
            return
        found = await self._find_nearest(self._first, count)
        if found is None:
            return
        nearest_ms, farthest_ms = map(to_ms, found)
        if nearest_ms == farthest_ms:
            self._enter_instant(nearest_ms)
            return
        # Begin at the nearest document: nothing lies between it and the position.
        width_ms = max(1, abs(farthest_ms - nearest_ms) // 8)
        if self.position.after_id and self.position.at_ms == nearest_ms:
            self.position = self.position._replace(width_ms=width_ms)
        else:
            self.position = ScanPosition(nearest_ms + (not self._ascending), "", width_ms)
        self._newest_ms = max(self._newest_ms, nearest_ms + 1)

    async def _narrow_ids(self, count: int) -> None:
        found = await self._find_nearest("_id", count)
        if found is None:
            return
        nearest_id, farthest_id = found
        bits = max(0, self._ids.bits_between(nearest_id, farthest_id) - 3)
        # Begin just before the nearest id, as above.
        start_id = self._ids.bound(self._ids.number(nearest_id) + (not self._ascending))
        is_nearer = start_id > self.position.after_id if self._ascending else start_id < self.position.after_id
        after_id = start_id if is_nearer else self.position.after_id
        self.position = self.position._replace(after_id=after_id, id_bits=min(bits, (self.position.id_bits or 1) - 1))

    def _enter_instant(self, at_ms: int) -> None:
        """Go on inside an instant, in ranges of ids. No document lies between the position and the instant."""
        is_at_position = bool(self.position.after_id) and self.position.at_ms == at_ms
        start_id = BEFORE_ALL_IDS if self._ascending else AFTER_ALL_IDS
        after_id = self.position.after_id if is_at_position else start_id
        self.position = ScanPosition(at_ms, after_id, width_ms=1, id_bits=FIRST_ID_BITS)

    def _advance(self, factor: float) -> None:
        """Move to the end of a range that was read whole, and multiply the width of the next range by `factor`."""
        factor = min(_MAX_GROWTH, max(_MIN_GROWTH, factor))
        at_ms, after_id, width_ms, id_bits = self.position
        if id_bits is None:
            low_ms, high_ms = self._next_range()
            width_ms = max(1, int(width_ms * factor))
            self._move_to(high_ms if self._ascending else low_ms, min(SEEK_AFTER_MS, width_ms))
            return
        end_id = self._ids.next_bound(after_id, id_bits, ascending=self._ascending)
        if end_id in (BEFORE_ALL_IDS, AFTER_ALL_IDS):
            self._move_to(at_ms + 1 if self._ascending else at_ms, DAY_MS)
        else:
            id_bits = min(ID_BITS, max(0, id_bits + int(log2(factor))))
            self.position = self.position._replace(after_id=end_id, id_bits=id_bits)

    def _move_to(self, at_ms: int, width_ms: int) -> None:
        self.position = ScanPosition(at_ms, "", width_ms)
        self.is_over = at_ms >= self._high_ms if self._ascending else at_ms <= self._low_ms

    def _move_after(self, last: Doc) -> None:
        """Move after the last document read of a range that holds more.

        The next range is as wide as the part of this range that was read.
        """
        at_ms, last_id = to_ms(last[self._first]), last["_id"]
        if self.is_inside_instant:
            bits = self._ids.bits_between(self.position.after_id, last_id)
            self.position = self.position._replace(after_id=last_id, id_bits=bits)
            return
        low_ms, high_ms = self._next_range()
        start_ms = low_ms if self._ascending else min(high_ms, self._newest_ms)
        self.position = ScanPosition(at_ms, last_id, min(SEEK_AFTER_MS - 1, max(1, abs(at_ms - start_ms))))

    async def _find_nearest(self, field: str, count: int) -> tuple[Any, Any] | None:
        """Return the values of an index field in the first and the last of the next `count` documents of the range.

        Return None if all its documents were removed meanwhile.
        """
        name = f"${field}"
        stages: list[Doc] = [
            {"$match": self._next_indexed()},
            {"$sort": {field: 1 if self._ascending else -1}},
            {"$limit": count},
            {"$group": {"_id": None, "low": {"$min": name}, "high": {"$max": name}}},
        ]
        docs = await self._collection.aggregate(stages).to_list(None)
        if not docs:
            return None
        low, high = docs[0]["low"], docs[0]["high"]
        return (low, high) if self._ascending else (high, low)

    async def _read_range(self, limit: int) -> tuple[list[Doc], bool]:
        direction = 1 if self._ascending else -1
        if self.is_inside_instant:
            where = {**self._where, **self._next_indexed()}
            by = (*self._by, self._first)
            stages = [*build_match_stages(where, by, "_id"), {"$sort": {"_id": direction}}, {"$limit": limit + 1}]
            docs = await self._collection.aggregate(stages, batchSize=limit + 2).to_list(None)
            return docs[:limit], len(docs) > limit
        order = ((self._first, direction), ("_id", direction))
        after = (from_ms(self.position.at_ms), self.position.after_id) if self.position.after_id else None
        until = None if self._until is None else (from_ms(self._until[0]), self._until[1])
        where = {**self._where, **self._next_indexed()}
        page = await read_page(
            self._collection, where, order, PageRequest(limit, after, until), _unchanged, by=self._by
        )
        return page.items, page.has_more

    def _next_indexed(self) -> Doc:
        """Return the conditions on the index for the next range."""
        at_ms, after_id, _, id_bits = self.position
        if id_bits is None:
            return self._by_index(*self._next_range())
        end_id = self._ids.next_bound(after_id, id_bits, ascending=self._ascending)
        if self._until is not None and self._until[0] == at_ms:
            end_id = min(end_id, self._until[1]) if self._ascending else max(end_id, self._until[1])
        low_id, high_id = (after_id, end_id) if self._ascending else (end_id, after_id)
        indexed: Doc = {name: self._where[name] for name in self._by}
        return {**indexed, self._first: from_ms(at_ms), "_id": {"$gt": low_id, "$lt": high_id}}

    def _by_index(self, low_ms: int, high_ms: int) -> Doc:
        indexed: Doc = {name: self._where[name] for name in self._by}
        indexed[self._first] = {"$gte": from_ms(low_ms), "$lt": from_ms(high_ms)}
        return indexed


async def count_examined(collection: Collection, where: Doc, by: Sequence[str], first: str, max_count: int) -> int:
    """Count the documents of the index {*by, first, …} that counting the query would examine, up to `max_count`."""
    return await _count(collection, {name: where[name] for name in (*by, first)}, max_count)


async def _count(collection: Collection, indexed: Doc, max_count: int) -> int:
    return await count_results(collection, [{"$match": indexed}, {"$limit": max_count}])


def _unchanged(doc: Doc) -> Doc:
    return doc
