"""The GraphQL schema, built when this module is imported."""

from __future__ import annotations

import strawberry
from graphql import GraphQLDeferDirective, GraphQLInputObjectType, GraphQLScalarType, GraphQLSchema
from graphql.type import is_specified_scalar_type
from strawberry.schema.config import StrawberryConfig

from app.graphql.types.read_scope import guard_fields
from app.graphql.types.scalars import SCALARS, accept_decimals

from .descriptions import describe_from_docstrings
from .roots import Mutation, Query, Subscription
from .sdl import print_sdl_of

_schema = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    config=StrawberryConfig(scalar_map=SCALARS),
)

schema: GraphQLSchema = _schema._schema
"""The schema as graphql-core executes it. Operations run through `execution.engine.Engine`, not through strawberry."""

for _type in schema.type_map.values():
    # strawberry checks @oneOf only during execution. With this flag, graphql-core validates and publishes it too.
    if isinstance(_type, GraphQLInputObjectType) and _type.extensions["strawberry-definition"].is_one_of:
        _type.is_one_of = True
    if isinstance(_type, GraphQLScalarType) and is_specified_scalar_type(_type):
        accept_decimals(_type)

describe_from_docstrings(schema)
guard_fields(schema)
schema.directives = (*schema.directives, GraphQLDeferDirective)


def print_sdl() -> str:
    """Return the schema in the schema definition language, ending with a newline."""
    return print_sdl_of(schema)
