"""Objects that a client names by id or key, and lists of them: segments, rules, rewards and passes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from strawberry.dataloader import DataLoader

from app.domain.values.text import parse_text
from app.graphql.context import Info
from app.store.mongo.paging import Page, PageRequest

from .consistency import Consistency, await_consistency
from .ids import database_id, require_one
from .paging import Connection, Pagination


class Identified(Protocol):
    """Object with a permanent id."""

    @property
    def id(self) -> str:
        """The id of the object."""


ItemT = TypeVar("ItemT", bound=Identified)
NodeT = TypeVar("NodeT")


class Listing(Protocol[ItemT]):
    """Named queries that list the objects of a workspace. Errors: Unavailable, safe to repeat."""

    async def page(self, span: PageRequest, /) -> Page[ItemT]:
        """Return a part of the list."""

    async def count(self) -> int:
        """Return the number of objects."""


async def find_named_id(
    info: Info,
    type_name: str,
    id: str | None,
    key: str | None,
    *,
    by_key: Callable[[str], Awaitable[Identified | None]],
    consistency: Consistency,
    token: str | None,
) -> str | None:
    """Return the database id of the object that a client names by exactly one of a global id and a key; None if unknown.

    Wait for the events of a receipt before, if asked to. Raises InvalidInput, and NotYet as `await_consistency` does.
    """
    require_one(type_name.lower(), "key", id, key)
    await await_consistency(info, consistency, token)
    if id is not None:
        return database_id(id, type_name)
    found = await by_key(parse_text(key, "key"))
    return None if found is None else found.id


async def list_objects(
    info: Info,
    listing: Pagination[ItemT],
    span: PageRequest,
    *,
    store: Listing[ItemT],
    loader: DataLoader[str, ItemT | None],
    object_of: Callable[[ItemT], NodeT],
    consistency: Consistency,
    token: str | None,
) -> Connection[NodeT]:
    """Return a part of a list, whose objects the operation does not read again.

    Wait for the events of a receipt before, if asked to. Raises as `await_consistency` does.
    """
    await await_consistency(info, consistency, token)
    page = await store.page(span)
    for each in page.items:
        loader.prime(each.id, each)
    return listing.connection(page, span, object_of, store.count)
