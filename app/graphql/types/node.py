"""Node: every object with a global id, and how each type is fetched by it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import strawberry

from app.domain.errors import Code, InvalidInput
from app.graphql.context import Info, RequestContext

from .ids import from_global_id

MAX_NODES = 250


@strawberry.interface
class Node:
    """An object with a global id, by which `node` finds it again."""

    id: strawberry.ID = strawberry.field(description="The global id: opaque, permanent, unique among all types.")


Fetch = Callable[[RequestContext, str], Awaitable[Node | None]]
FetchT = TypeVar("FetchT", bound=Fetch)
_fetchers: dict[str, Fetch] = {}


def fetcher(type_name: str) -> Callable[[FetchT], FetchT]:
    """Registers how objects of a type are fetched by their database id. None is for those that do not exist."""

    def register(fetch: FetchT) -> FetchT:
        _fetchers[type_name] = fetch
        return fetch

    return register


async def fetch_node(context: RequestContext, type_name: str, database_id: str) -> Any:
    """The object of this type and database id, or None."""
    return await _fetchers[type_name](context, database_id)


async def find_node(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="A global id.")]
) -> Node | None:
    """The object of a global id; null for one that does not exist."""
    named = from_global_id(id)
    if named is None or named[0] not in _fetchers:
        return None
    found: Node | None = await fetch_node(info.context, *named)
    return found


async def find_nodes(
    info: Info,
    ids: Annotated[list[strawberry.ID], strawberry.argument(description=f"At most {MAX_NODES} global ids.")],
) -> list[Node | None]:
    """The objects of some global ids, in their order; null where there is none."""
    if len(ids) > MAX_NODES:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_NODES} ids at once.", "ids")
    return list(await asyncio.gather(*(find_node(info, each) for each in ids)))
