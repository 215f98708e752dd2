"""Connections: pages after the Relay specification, with keyset cursors that stay valid while the list grows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Annotated, Generic, Protocol, TypeVar

import strawberry

from app.domain.errors import Code, InvalidInput
from app.domain.values.cursors import decode_cursor, encode_cursor
from app.domain.values.decimals import plain, read_number
from app.store.mongo.decimal128 import MAX_DIGITS
from app.store.mongo.paging import Page, PageRequest

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 250

NodeT = TypeVar("NodeT")
ItemT = TypeVar("ItemT")

First = Annotated[
    int | None,
    strawberry.argument(
        description=f"Number of items to return from the start of the list: 0 to {MAX_PAGE_SIZE}. Default: "
        f"{DEFAULT_PAGE_SIZE}. Do not combine it with `last`."
    ),
]
After = Annotated[str | None, strawberry.argument(description="Cursor. The page begins with the first item after it.")]
Last = Annotated[
    int | None,
    strawberry.argument(
        description=f"Number of items to return from the end of the list: 0 to {MAX_PAGE_SIZE}. Do not combine it with "
        "`first`."
    ),
]
Before = Annotated[str | None, strawberry.argument(description="Cursor. The page ends with the last item before it.")]


@strawberry.type
class PageInfo:
    """Position of a page in its list."""

    has_next_page: bool = strawberry.field(
        description="Whether items follow the page. When paging backward with `last`, true if `before` was given."
    )
    has_previous_page: bool = strawberry.field(
        description="Whether items precede the page. When paging forward, true if `after` was given."
    )
    start_cursor: str | None = strawberry.field(
        description="Cursor of the first item. Null if the page is empty. With `last`, see `endCursor`."
    )
    end_cursor: str | None = strawberry.field(
        description="Cursor of the last item; pass it as `after` to get the next page. Null if the page is empty. A page of "
        "`members(at:)` or `segmentDiff` may end before it is full, or be empty, if most passes do not belong to it. Then "
        "`hasNextPage` is true, and this is the cursor of the last pass that was read."
    )


@strawberry.type
class Edge(Generic[NodeT]):
    """Item of a list with its cursor."""

    cursor: str = strawberry.field(description="Position of the item, for `after` and `before`.")
    node: NodeT = strawberry.field(description="The item.")


@strawberry.type
class Connection(Generic[NodeT]):
    """Page of a list."""

    edges: list[Edge[NodeT]] = strawberry.field(description="Items of the page with their cursors.")
    page_info: PageInfo = strawberry.field(description="Position of the page in the list.")
    count: strawberry.Private[Callable[[], Awaitable[int]]]

    @strawberry.field
    def nodes(self) -> list[NodeT]:
        """Items of the page."""
        return [edge.node for edge in self.edges]

    @strawberry.field
    async def total_count(self) -> int:
        """Number of items in the whole list. Punchcard counts them only if this field is selected."""
        return await self.count()


class PageDefaults(Protocol):
    """Input of a question that has paging arguments of its own."""

    @property
    def first(self) -> int | None:
        """Number of items of a page."""

    @property
    def after(self) -> str | None:
        """Cursor of the item before the page."""


class Pagination(Generic[ItemT]):
    """Paging of one kind of list: the name and the key of its cursors. A key has whole numbers, texts and decimals."""

    def __init__(
        self, kind: str, shape: tuple[type, ...], key: Callable[[ItemT], tuple[int | str | Decimal, ...]]
    ) -> None:
        self._kind = kind
        self._shape = shape
        self._key = key

    def span(self, first: int | None, after: str | None, last: int | None, before: str | None) -> PageRequest:
        """Return the part of the list that the paging arguments ask for.

        Raises InvalidInput for a number outside 0 to 250, for `first` with `last`, and for a cursor of another list.
        """
        return self._span(first, after, last, before, under={})

    def span_or_default(
        self,
        defaults: PageDefaults,
        first: int | None,
        after: str | None,
        last: int | None = None,
        before: str | None = None,
    ) -> PageRequest:
        """Return the part of the list as `span` does. `first` and `after` of an input stand for missing arguments.

        They do not if `last` or `before` is given. The path of a wrong value from the input begins with "input".
        """
        under: dict[str, tuple[str, ...]] = {}
        if last is None and before is None:
            if first is None:
                first, under["first"] = defaults.first, ("input",)
            if after is None:
                after, under["after"] = defaults.after, ("input",)
        return self._span(first, after, last, before, under=under)

    def _span(
        self,
        first: int | None,
        after: str | None,
        last: int | None,
        before: str | None,
        *,
        under: Mapping[str, tuple[str, ...]],
    ) -> PageRequest:
        if first is not None and last is not None:
            raise InvalidInput(Code.INVALID, "Give `first` or `last`, not both.", "last")
        for name, value in (("first", first), ("last", last)):
            if value is not None and not 0 <= value <= MAX_PAGE_SIZE:
                message = f"`{name}` must be between 0 and {MAX_PAGE_SIZE}."
                raise InvalidInput(Code.OUT_OF_RANGE, message, *under.get(name, ()), name)
        size = first if first is not None else last
        path = (*under.get("after", ()), "after")
        return PageRequest(
            limit=DEFAULT_PAGE_SIZE if size is None else size,
            after=None if after is None else self._key_in(after, *path),
            before=None if before is None else self._key_in(before, "before"),
            backward=last is not None,
        )

    def cursor(self, item: ItemT) -> str:
        """Return the cursor of an item."""
        return self._encode(self._key(item))

    def connection(
        self,
        page: Page[ItemT],
        span: PageRequest,
        to_node: Callable[[ItemT], NodeT],
        count: Callable[[], Awaitable[int]],
    ) -> Connection[NodeT]:
        """Return the page as a connection. `count` is called only if `totalCount` is selected."""
        edges = [Edge(cursor=self.cursor(item), node=to_node(item)) for item in page.items]
        return Connection(edges=edges, page_info=self.info(page, span), count=count)

    def info(self, page: Page[ItemT], span: PageRequest) -> PageInfo:
        """Return the position of the page in its list."""
        items = page.items
        first, last = (self.cursor(items[0]), self.cursor(items[-1])) if items else (None, None)
        resume = None if page.resume is None else self._encode(page.resume)
        return PageInfo(
            has_next_page=span.before is not None if span.backward else page.has_more,
            has_previous_page=page.has_more if span.backward else span.after is not None,
            start_cursor=resume or first if span.backward else first,
            end_cursor=last if span.backward else resume or last,
        )

    def paged(self, items: list[ItemT], span: PageRequest) -> Page[ItemT]:
        """Return a page of a list that is in memory, sorted by its key."""
        part = [
            item
            for item in items
            if (span.after is None or self._key(item) > span.after)
            and (span.before is None or self._key(item) < span.before)
        ]
        return span.cut(part)

    def _encode(self, key: tuple[int | str | Decimal, ...]) -> str:
        return encode_cursor(self._kind, *(plain(part) if isinstance(part, Decimal) else part for part in key))

    def _key_in(self, cursor: str, *field: str) -> tuple[int | str | Decimal, ...]:
        """Return the key in a cursor, which holds decimals as texts. Raises InvalidInput."""
        stored = tuple(str if part is Decimal else part for part in self._shape)
        key = decode_cursor(cursor, self._kind, stored, *field)
        return tuple(
            _number_in(part, *field) if expected is Decimal else part
            for part, expected in zip(key, self._shape, strict=True)
        )


def _number_in(part: object, *field: str) -> Decimal:
    number = read_number(part)
    if number is None or len(number.as_tuple().digits) > MAX_DIGITS:
        raise InvalidInput(Code.INVALID, "This is not a cursor of this list; send a cursor that it returned.", *field)
    return number
