"""The schema, built once a process."""

from __future__ import annotations

import strawberry
from graphql import GraphQLSchema, print_schema
from strawberry.schema.config import StrawberryConfig

from .roots import Mutation, Query, Subscription
from .scalars import SCALARS

_schema = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    config=StrawberryConfig(scalar_map=SCALARS),
)

schema: GraphQLSchema = _schema._schema
"""The schema as graphql-core executes it: operations run through `execute.Engine`, not through strawberry's views."""


def print_sdl() -> str:
    """The schema in the schema definition language, ending with a newline."""
    return f"{print_schema(schema)}\n"
