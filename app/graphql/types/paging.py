"""Connections: Relay's pages, over keyset cursors that stay valid while the list grows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Generic, TypeVar

import strawberry

from app.domain.errors import Code, InvalidInput
from app.domain.values.cursors import decode_cursor, encode_cursor
from app.store.mongo.paging import Page, PageRequest

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 250

NodeT = TypeVar("NodeT")
ItemT = TypeVar("ItemT")

First = Annotated[int | None, strawberry.argument(description="How many to answer from the start: 1 to 250.")]
After = Annotated[str | None, strawberry.argument(description="Begin behind this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="How many to answer from the end: 1 to 250.")]
Before = Annotated[str | None, strawberry.argument(description="End before this cursor.")]


@strawberry.type
class PageInfo:
    """Where a page lies in its list."""

    has_next_page: bool = strawberry.field(description="Whether more follows.")
    has_previous_page: bool = strawberry.field(description="Whether there is more before.")
    start_cursor: str | None = strawberry.field(description="The cursor of the first item.")
    end_cursor: str | None = strawberry.field(description="The cursor of the last item.")


@strawberry.type
class Edge(Generic[NodeT]):
    """An item of a list, and the cursor of its place."""

    cursor: str = strawberry.field(description="The place of the item, for `after` and `before`.")
    node: NodeT = strawberry.field(description="The item.")


@strawberry.type
class Connection(Generic[NodeT]):
    """A page of a list."""

    edges: list[Edge[NodeT]] = strawberry.field(description="The items of the page with their cursors.")
    page_info: PageInfo = strawberry.field(description="Where the page lies in the list.")
    count: strawberry.Private[Callable[[], Awaitable[int]]]

    @strawberry.field
    def nodes(self) -> list[NodeT]:
        """The items of the page."""
        return [edge.node for edge in self.edges]

    @strawberry.field
    async def total_count(self) -> int:
        """How many items the whole list has; counted when asked for."""
        return await self.count()


class Pagination(Generic[ItemT]):
    """A kind of list: the name and the key of its cursors."""

    def __init__(self, kind: str, shape: tuple[type, ...], key: Callable[[ItemT], tuple[int | str, ...]]) -> None:
        self._kind = kind
        self._shape = shape
        self._key = key

    def span(self, first: int | None, after: str | None, last: int | None, before: str | None) -> PageRequest:
        """The part of the list that paging arguments ask for. Raises InvalidInput."""
        if first is not None and last is not None:
            raise InvalidInput(Code.INVALID, "Give first or last, not both.", "last")
        for name, value in (("first", first), ("last", last)):
            if value is not None and not 1 <= value <= MAX_PAGE_SIZE:
                raise InvalidInput(Code.OUT_OF_RANGE, f"Between 1 and {MAX_PAGE_SIZE}.", name)
        return PageRequest(
            first or last or DEFAULT_PAGE_SIZE,
            None if after is None else decode_cursor(after, self._kind, self._shape, "after"),
            None if before is None else decode_cursor(before, self._kind, self._shape, "before"),
            last is not None,
        )

    def cursor(self, item: ItemT) -> str:
        """The cursor of an item."""
        return encode_cursor(self._kind, *self._key(item))

    def connection(
        self,
        page: Page[ItemT],
        span: PageRequest,
        to_node: Callable[[ItemT], NodeT],
        count: Callable[[], Awaitable[int]],
    ) -> Connection[NodeT]:
        """The page as a connection; `count` answers totalCount where it is asked for."""
        edges = [Edge(cursor=self.cursor(item), node=to_node(item)) for item in page.items]
        return Connection(edges=edges, page_info=self.info(page, span), count=count)

    def info(self, page: Page[ItemT], span: PageRequest) -> PageInfo:
        """Where the page lies in the list."""
        items = page.items
        return PageInfo(
            has_next_page=span.before is not None if span.backward else page.has_more,
            has_previous_page=page.has_more if span.backward else span.after is not None,
            start_cursor=self.cursor(items[0]) if items else None,
            end_cursor=self.cursor(items[-1]) if items else None,
        )

    def paged(self, items: list[ItemT], span: PageRequest) -> Page[ItemT]:
        """The part of a list that is in memory, sorted by its key."""
        part = [
            item
            for item in items
            if (span.after is None or self._key(item) > span.after)
            and (span.before is None or self._key(item) < span.before)
        ]
        kept = part[-span.limit :] if span.backward else part[: span.limit]
        return Page(kept, len(part) > span.limit)
