"""Pages of lists in order of a random id, such as the members of a segment.

The embedded server reads the whole range of a query before it applies the limit. So each query covers one range of ids, and
a page costs the same however long the list is. A short list takes two reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import ceil, log2
from typing import TypeVar

from .id_ranges import AFTER_ALL_IDS, BEFORE_ALL_IDS, ID_BITS, IdSpace
from .paging import Page, PageRequest

T = TypeVar("T")
_FIRST_BITS = ID_BITS - 8
"""Width of the first range as a power of two: with some thousand items in the list, it holds about one page."""


class IdRanges:
    """The ids strictly between the keys of a page, cut into ranges in the direction of the page."""

    def __init__(self, ids: IdSpace, span: PageRequest) -> None:
        self._ids, self._is_ascending, self._bits = ids, not span.backward, _FIRST_BITS
        self._low = BEFORE_ALL_IDS if span.after is None else str(span.after[0])
        self._high = AFTER_ALL_IDS if span.before is None else str(span.before[0])
        self.is_over = False
        """Whether no range follows."""

    @property
    def bounds(self) -> tuple[str, str]:
        """The bounds of the present range. Its ids lie strictly between them."""
        # An id that is shorter than all real ones may stand for a bound before it.
        if self._is_ascending:
            end = self._ids.next_bound(self._low, self._bits, ascending=True)
            return self._low, max(self._low, min(end, self._high))
        end = self._ids.next_bound(self._high, self._bits, ascending=False)
        return min(self._high, max(end, self._low)), self._high

    def advance(self, *, found: int, wanted: int) -> None:
        """Go on behind the present range, which held `found` items. The next one holds about `wanted`."""
        low, high = self.bounds
        if self._is_ascending:
            self._low, self.is_over = high, high >= self._high
        else:
            self._high, self.is_over = low, low <= self._low
        # An empty range belongs to a short list, of which one read takes the rest.
        growth = max(0, ceil(log2(max(1, wanted) / found))) if found else ID_BITS
        self._bits = min(ID_BITS, self._bits + growth)

    def resume(self, last_id: str) -> None:
        """Go on behind an id of the present range."""
        if self._is_ascending:
            self._low = last_id
        else:
            self._high = last_id


async def read_id_page(read: Callable[[PageRequest], Awaitable[Page[T]]], span: PageRequest, ids: IdSpace) -> Page[T]:
    """Return one page of a list in order of id. `read` returns the page of one range."""
    ranges, items = IdRanges(ids, span), list[T]()
    while not ranges.is_over:
        (low, high), missing = ranges.bounds, span.limit - len(items)
        page = await read(PageRequest(missing, after=(low,), before=(high,), backward=span.backward))
        items = [*page.items, *items] if span.backward else [*items, *page.items]
        if page.has_more:
            return Page(items, True)
        ranges.advance(found=len(page.items), wanted=missing + 1 - len(page.items))
    return Page(items, False)
