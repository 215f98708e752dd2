"""A list ordered by an instant, read in strides: ranges of time that grow where nothing is found and shrink where much is.

A limit alone does not bound what a page costs. Behind a filter that hardly anything passes, every server reads on and
on; and the embedded ones read all that a range holds before they cut it. So each stride is a range of its own, and where
a filter is asked that the index does not hold, what the range holds is counted (in the index) before it is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.domain.values.instants import DAY_MS, EARLIEST, LATEST, from_ms, to_ms

from .paging import PageRequest, page_of
from .queries import Collection, Doc

MAX_EXAMINED = 20_000
"""How many documents one call looks at for a filter that its index does not hold."""
ALL_TIME_MS = to_ms(LATEST) - to_ms(EARLIEST)
SEEK_AFTER_MS = 365 * DAY_MS
"""Instead of looking so far for the next document, it is looked up where it is."""
_STEP = 64
_LEAST = 1 / 8


class ScanPosition(NamedTuple):
    """Where reading goes on: behind the document of this instant and id, or at the edge of the instant where there is none.

    `width_ms` is how far the next stride reaches; beyond a year, short of everything, the next document is looked up.
    `ScanPosition(*place)` is the same place: a job keeps it as a list.
    """

    at_ms: int
    behind: str = ""
    width_ms: int = DAY_MS


class RangeScan:
    """The documents of a query in order of (`first`, _id), served by the index {*by, first, _id}.

    They lie behind `place`, or begin with the query, and end before `until`. `newest_ms` is where a list that begins with
    the newest may expect them, `width_ms` how far the first stride reaches: ALL_TIME_MS for a list known to be short.
    """

    def __init__(
        self,
        collection: Collection,
        where: Doc,
        by: Sequence[str],
        first: str,
        *,
        ascending: bool,
        place: ScanPosition | None = None,
        until: tuple[int, str] | None = None,
        newest_ms: int | None = None,
        width_ms: int = DAY_MS,
        most: int = MAX_EXAMINED,
    ) -> None:
        bounds = where.get(first, {})
        low, high = to_ms(bounds.get("$gte", EARLIEST)), to_ms(bounds.get("$lt", LATEST))
        if until is not None:
            low, high = (low, min(high, until[0] + 1)) if ascending else (max(low, until[0]), high)
        self._collection, self._where, self._by, self._first = collection, where, by, first
        self._ascending, self._most, self._low, self._high = ascending, most, low, high
        self._until = None if until is None else (from_ms(until[0]), until[1])
        self._filtered = any(name not in by and name != first for name in where)
        self._newest_ms = high if newest_ms is None else newest_ms
        somewhere = low == to_ms(EARLIEST) if ascending else newest_ms is None and high == to_ms(LATEST)
        begin = SEEK_AFTER_MS if somewhere and width_ms < SEEK_AFTER_MS else width_ms
        self.position = place or ScanPosition(low if ascending else high, "", begin)
        """Where the last call ended, and the next one goes on."""
        self.is_over = low >= high
        """Whether nothing is left behind the place."""

    async def read(self, limit: int) -> list[Doc]:
        """The next documents, at most `limit`; fewer where the list is over, or so many were looked at as may be at once."""
        taken: list[Doc] = []
        looked = 0
        while not self.is_over and len(taken) < limit:
            if SEEK_AFTER_MS <= self.position.width_ms < ALL_TIME_MS:
                await self._seek()
                continue
            low, high = self._range()
            widest = float(_STEP)
            if self._filtered:
                left = self._most - looked
                held = await self._count_range(low, high, left + 1)
                width = min(self.position.width_ms, high - low)
                if held > left and width > 1:
                    if 2 * looked >= self._most:
                        break
                    self.position = self.position._replace(width_ms=max(1, width // 16))
                    continue
                looked += held
                if not held:
                    self._advance(low, high, _STEP)
                    continue
                widest = min(widest, self._most / (2 * held))
            wanted = limit - len(taken)
            docs, more = await self._read_range(low, high, wanted)
            taken += docs
            if more:
                self._stop_at(docs[-1], low, high)
            else:
                self._advance(low, high, min(widest, 2 * (wanted - len(docs)) / len(docs)) if docs else widest)
        return taken

    def hide(self, conditions: Doc) -> None:
        """Takes from now on only what meets these conditions too; what does not is not counted as looked at."""
        self._where = {**self._where, **conditions}

    async def _seek(self) -> None:
        """Goes to the next document, or to the end; nothing is behind the place in its own instant."""
        low, high = self._range(ALL_TIME_MS)
        order = [(self._first, 1 if self._ascending else -1)]
        found = (
            await self._collection.find(self._by_index(low, high), {self._first: 1}).sort(order).limit(1).to_list(None)
        )
        if found:
            at = to_ms(found[0][self._first])
            self.position = ScanPosition(at if self._ascending else at + 1)
        else:
            self.is_over = True

    def _range(self, width_ms: int | None = None) -> tuple[int, int]:
        """The next stride: its first ms, and the first behind it."""
        at, behind, width = self.position
        width = width_ms or width
        if self._ascending:
            return at, min(self._high, at + width)
        high = at + 1 if behind else at
        # Whatever is newer than it may be is looked at together with the newest.
        return max(self._low, min(high, self._newest_ms) - width), high

    def _advance(self, low: int, high: int, factor: float) -> None:
        """Goes to the end of a stride that was read whole, and reaches `factor` times as far with the next."""
        width = max(1, int(self.position.width_ms * min(_STEP, max(_LEAST, factor))))
        self.position = ScanPosition(high if self._ascending else low, "", min(SEEK_AFTER_MS, width))
        self.is_over = high >= self._high if self._ascending else low <= self._low

    def _stop_at(self, last: Doc, low: int, high: int) -> None:
        """Stays behind the last document taken of a stride that holds more; the next reaches as far as these lay apart."""
        at = to_ms(last[self._first])
        start = low if self._ascending else min(high, self._newest_ms)
        self.position = ScanPosition(at, last["_id"], min(SEEK_AFTER_MS - 1, max(1, abs(at - start))))

    async def _count_range(self, low: int, high: int, most: int) -> int:
        """How many documents the index holds in a stride, at most `most`."""
        return await _counted(self._collection, self._by_index(low, high), most)

    async def _read_range(self, low: int, high: int, limit: int) -> tuple[list[Doc], bool]:
        direction = 1 if self._ascending else -1
        order = ((self._first, direction), ("_id", direction))
        after = (from_ms(self.position.at_ms), self.position.behind) if self.position.behind else None
        where = {**self._where, **self._by_index(low, high)}
        page = await page_of(
            self._collection, where, order, PageRequest(limit, after, self._until), _as_it_is, by=self._by
        )
        return page.items, page.has_more

    def _by_index(self, low: int, high: int) -> Doc:
        part: Doc = {name: self._where[name] for name in self._by}
        part[self._first] = {"$gte": from_ms(low), "$lt": from_ms(high)}
        return part


async def examined(collection: Collection, where: Doc, by: Sequence[str], first: str, most: int) -> int:
    """How many documents the index {*by, first, …} holds of a query, at most `most`: those that counting it looks at."""
    return await _counted(collection, {name: where[name] for name in (*by, first)}, most)


async def _counted(collection: Collection, narrow: Doc, most: int) -> int:
    docs = await collection.aggregate([{"$match": narrow}, {"$limit": most}, {"$count": "n"}]).to_list(None)
    return int(docs[0]["n"]) if docs else 0


def _as_it_is(doc: Doc) -> Doc:
    return doc
