"""Values that only keys with the scope `read` get, unless the call itself sent them.

Mutations and streams reach stored passes and events, although their keys may lack the scope `read`. A field with the
metadata `NEEDS_READ` therefore checks the key, wherever its object comes from. A mutation lists in `sent` of an object
the fields whose values it sent itself.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Protocol, TypeVar

import strawberry
from graphql import GraphQLField, GraphQLObjectType, GraphQLResolveInfo, GraphQLSchema

from app.domain.actors import READ
from app.domain.errors import Denied

from .ids import to_global_id
from .node import Node

NEEDS_READ: Final = {"scope": READ}
"""Metadata of a field whose value needs the scope `read`, unless the call sent the value."""
N = TypeVar("N", bound=Node)


class _Guarded(Protocol):
    """Object with fields that need the scope `read`."""

    sent: Collection[str]


def guard_fields(schema: GraphQLSchema) -> None:
    """Make every field with the metadata `NEEDS_READ` check the key of the request before it returns its value."""
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and "strawberry-definition" in kind.extensions:
            for field in kind.fields.values():
                definition = field.extensions["strawberry-definition"]
                if definition.metadata.get("scope") == READ:
                    _guard(field, definition.python_name)


def _guard(field: GraphQLField, name: str) -> None:
    def resolve(source: _Guarded, info: GraphQLResolveInfo[Any], **_: object) -> Any:
        if info.context.can_read or name in source.sent:
            return getattr(source, name)
        raise Denied(READ)

    field.resolve = resolve


def withheld(kind: type[N], database_id: str) -> N:
    """Return an object of which a key without the scope `read` learns the id only: every other field raises Denied."""
    found: N = object.__new__(_KINDS.get(kind) or _withhold(kind))
    found.id = strawberry.ID(to_global_id(kind.__name__, database_id))
    return found


_KINDS: dict[type, Any] = {}


def _withhold(kind: type) -> Any:
    def deny(_self: object, name: str) -> Any:
        raise AttributeError(name) if name.startswith("__") else Denied(READ)

    # Only `id` is set, and Python calls __getattr__ for every attribute that is not set.
    return _KINDS.setdefault(
        kind, type(f"Withheld{kind.__name__}", (kind,), {"__getattr__": deny, "sent": (), "is_withheld": True})
    )
