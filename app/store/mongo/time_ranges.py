"""Lists ordered by an instant, read in ranges of time: longer ones where few documents match, shorter where many do.

A limit alone does not bound what a page costs. If hardly any document matches the filter, every server reads on until
the page is full. The embedded server moreover reads the whole range of a query before it applies the limit. So each
query covers one range of time. If the filter has fields outside the index, the index first counts the documents in the
range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.domain.values.instants import DAY_MS, EARLIEST, LATEST, from_ms, to_ms

from .paging import PageRequest, read_page
from .queries import Collection, Doc

MAX_EXAMINED = 20_000
"""Documents that one call examines for a filter with fields outside its index."""
ALL_TIME_MS = to_ms(LATEST) - to_ms(EARLIEST)
SEEK_AFTER_MS = 365 * DAY_MS
"""Width from which the next range is not read; the instant of the next document is looked up instead."""
_MAX_GROWTH = 64
"""-"""
_MIN_GROWTH = 1 / 8


class ScanPosition(NamedTuple):
    """Where a scan continues: after the document of this instant and id, or at the beginning of the instant.

    The next range is `width_ms` wide. If `width_ms` is at least a year and less than all time, the scan looks up the
    next document instead. Jobs store the position as a list: `ScanPosition(*stored)` restores it.
    """

    at_ms: int
    after_id: str = ""
    width_ms: int = DAY_MS


class RangeScan:
    """Scan of the documents of a query in order of (`first`, _id). Index: {*by, first, _id}.

    The scan begins after `start`, or with the first document of the query, and ends before `until`. A descending list
    may expect its newest documents at `newest_ms`. The first range is `width_ms` wide; pass ALL_TIME_MS for a list that
    is known to be short.
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
    ) -> None:
        bounds = where.get(first, {})
        low_ms, high_ms = to_ms(bounds.get("$gte", EARLIEST)), to_ms(bounds.get("$lt", LATEST))
        if until is not None:
            low_ms, high_ms = (low_ms, min(high_ms, until[0] + 1)) if ascending else (max(low_ms, until[0]), high_ms)
        self._collection, self._where, self._by, self._first = collection, where, by, first
        self._ascending, self._max_examined, self._low_ms, self._high_ms = ascending, max_examined, low_ms, high_ms
        self._until = None if until is None else (from_ms(until[0]), until[1])
        self._has_unindexed_filter = any(name not in by and name != first for name in where)
        self._newest_ms = high_ms if newest_ms is None else newest_ms
        is_open_ended = low_ms == to_ms(EARLIEST) if ascending else newest_ms is None and high_ms == to_ms(LATEST)
        first_width_ms = SEEK_AFTER_MS if is_open_ended and width_ms < SEEK_AFTER_MS else width_ms
        self.position = start or ScanPosition(low_ms if ascending else high_ms, "", first_width_ms)
        """Where the last call ended and the next one continues."""
        self.is_over = low_ms >= high_ms
        """Whether no document follows the position."""

    async def read(self, limit: int) -> list[Doc]:
        """Read the next documents, at most `limit`.

        Fewer are returned if the scan is over, or if the call has examined as many documents as it may.
        """
        found: list[Doc] = []
        examined = 0
        while not self.is_over and len(found) < limit:
            if SEEK_AFTER_MS <= self.position.width_ms < ALL_TIME_MS:
                await self._seek()
                continue
            low_ms, high_ms = self._next_range()
            max_growth = float(_MAX_GROWTH)
            if self._has_unindexed_filter:
                remaining = self._max_examined - examined
                count = await self._count_range(low_ms, high_ms, remaining + 1)
                width = min(self.position.width_ms, high_ms - low_ms)
                if count > remaining and width > 1:
                    if 2 * examined >= self._max_examined:
                        break
                    self.position = self.position._replace(width_ms=max(1, width // 16))
                    continue
                examined += count
                if not count:
                    self._advance(low_ms, high_ms, _MAX_GROWTH)
                    continue
                max_growth = min(max_growth, self._max_examined / (2 * count))
            wanted = limit - len(found)
            docs, has_more = await self._read_range(low_ms, high_ms, wanted)
            found += docs
            if has_more:
                self._move_after(docs[-1], low_ms, high_ms)
            else:
                self._advance(
                    low_ms, high_ms, min(max_growth, 2 * (wanted - len(docs)) / len(docs)) if docs else max_growth
                )
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
        """Return the next range: its first millisecond, and the first one after it."""
        at_ms, after_id, width = self.position
        width = width_ms or width
        if self._ascending:
            return at_ms, min(self._high_ms, at_ms + width)
        high_ms = at_ms + 1 if after_id else at_ms
        # Documents later than `newest_ms` are read together with those at `newest_ms`.
        return max(self._low_ms, min(high_ms, self._newest_ms) - width), high_ms

    def _advance(self, low_ms: int, high_ms: int, factor: float) -> None:
        """Move to the end of a range that was read whole, and multiply the width of the next range by `factor`."""
        width = max(1, int(self.position.width_ms * min(_MAX_GROWTH, max(_MIN_GROWTH, factor))))
        self.position = ScanPosition(high_ms if self._ascending else low_ms, "", min(SEEK_AFTER_MS, width))
        self.is_over = high_ms >= self._high_ms if self._ascending else low_ms <= self._low_ms

    def _move_after(self, last: Doc, low_ms: int, high_ms: int) -> None:
        """Move after the last document read of a range that holds more.

        The next range is as wide as the part of this range that was read.
        """
        at_ms = to_ms(last[self._first])
        start_ms = low_ms if self._ascending else min(high_ms, self._newest_ms)
        self.position = ScanPosition(at_ms, last["_id"], min(SEEK_AFTER_MS - 1, max(1, abs(at_ms - start_ms))))

    async def _count_range(self, low_ms: int, high_ms: int, max_count: int) -> int:
        """Count the documents that the index holds in a range, up to `max_count`."""
        return await _count(self._collection, self._by_index(low_ms, high_ms), max_count)

    async def _read_range(self, low_ms: int, high_ms: int, limit: int) -> tuple[list[Doc], bool]:
        direction = 1 if self._ascending else -1
        order = ((self._first, direction), ("_id", direction))
        after = (from_ms(self.position.at_ms), self.position.after_id) if self.position.after_id else None
        where = {**self._where, **self._by_index(low_ms, high_ms)}
        page = await read_page(
            self._collection, where, order, PageRequest(limit, after, self._until), _unchanged, by=self._by
        )
        return page.items, page.has_more

    def _by_index(self, low_ms: int, high_ms: int) -> Doc:
        indexed: Doc = {name: self._where[name] for name in self._by}
        indexed[self._first] = {"$gte": from_ms(low_ms), "$lt": from_ms(high_ms)}
        return indexed


async def count_examined(collection: Collection, where: Doc, by: Sequence[str], first: str, max_count: int) -> int:
    """Count the documents of the index {*by, first, …} that counting the query would examine, up to `max_count`."""
    return await _count(collection, {name: where[name] for name in (*by, first)}, max_count)


async def _count(collection: Collection, indexed: Doc, max_count: int) -> int:
    docs = await collection.aggregate([{"$match": indexed}, {"$limit": max_count}, {"$count": "n"}]).to_list(None)
    return int(docs[0]["n"]) if docs else 0


def _unchanged(doc: Doc) -> Doc:
    return doc
