"""Node: the interface of objects with a global id, and the functions that fetch each type by its id."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import strawberry

from app.domain.errors import Code, InvalidInput
from app.graphql.context import Info, RequestContext

from .ids import node_id
from .own_objects import OWN_TYPES, find_own

MAX_NODES = 250


@strawberry.interface
class Node:
    """Object with a global id. The query `node` returns it by that id."""

    id: strawberry.ID = strawberry.field(
        description="Global id: opaque, permanent and unique among all types. Where an argument or input takes the id "
        "of an object, and in `node` and `nodes`, the shorter id in `Activity.data`, webhooks and exports works too."
    )


Fetch = Callable[[RequestContext, str], Awaitable[Node | None]]
FetchT = TypeVar("FetchT", bound=Fetch)
_fetchers: dict[str, Fetch] = {}


def fetcher(type_name: str) -> Callable[[FetchT], FetchT]:
    """Return a decorator that registers how objects of a type are fetched by database id.

    The registered function returns None for an object that does not exist. It raises Denied if the type needs a scope
    that the key lacks.
    """

    def register(fetch: FetchT) -> FetchT:
        _fetchers[type_name] = fetch
        return fetch

    return register


async def fetch_node(context: RequestContext, type_name: str, database_id: str) -> Any:
    """Return the object of this type and database id, or None."""
    return await _fetchers[type_name](context, database_id)


async def find_node(
    info: Info,
    id: Annotated[
        strawberry.ID,
        strawberry.argument(description="Global id of the object, or its shorter id in webhooks and exports."),
    ],
) -> Node | None:
    """Return the object with this id.

    Null if it does not exist in the workspace. Needs the scope `read`. Audit entries, inbound hooks, webhook endpoints,
    the deliveries of both, and API keys other than the caller's own need the scope `admin`.
    """
    type_and_id = node_id(id)
    if type_and_id is None or type_and_id[0] not in _fetchers:
        return None
    if info.context.actor.grant is not None and type_and_id[0] not in OWN_TYPES:
        return None
    node: Node | None = await find_own(info.context, await fetch_node(info.context, *type_and_id))
    return node


async def find_nodes(
    info: Info,
    ids: Annotated[
        list[strawberry.ID],
        strawberry.argument(
            description=f"Ids of the objects as for `node`, at most {MAX_NODES}.",
        ),
    ],
) -> list[Node | None]:
    """Return the objects with these ids, in the same order.

    The result has null for each id that does not exist in the workspace. Scopes as for `node`.
    """
    if len(ids) > MAX_NODES:
        raise InvalidInput(Code.TOO_MANY, f"At most {MAX_NODES} ids in one call; this one has {len(ids)}.", "ids")
    return list(await asyncio.gather(*(find_node(info, each) for each in ids)))
