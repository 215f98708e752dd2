"""Descriptions of the schema, taken from docstrings, so that each is written once.

A class docstring describes the type, a resolver's docstring describes the field. Strawberry 0.341 does not publish
docstrings by itself. A field without a resolver keeps the `description=` that it was given.
"""

from __future__ import annotations

import inspect
import re

from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType, GraphQLSchema


def describe_from_docstrings(schema: GraphQLSchema) -> None:
    """Fill in each missing description of a type or field of the schema from the docstring of its class or resolver."""
    for kind in schema.type_map.values():
        definition = kind.extensions.get("strawberry-definition")
        if definition is None:
            continue
        if isinstance(kind, (GraphQLObjectType, GraphQLInterfaceType, GraphQLInputObjectType)):
            kind.description = kind.description or _render_docstring(definition.origin)
        if isinstance(kind, GraphQLEnumType):
            kind.description = kind.description or _render_docstring(definition.wrapped_cls)
        if isinstance(kind, (GraphQLObjectType, GraphQLInterfaceType)):
            for field in kind.fields.values():
                resolver = field.extensions["strawberry-definition"].base_resolver
                if field.description is None and resolver is not None:
                    field.description = _render_docstring(resolver.wrapped_func)


def _render_docstring(source: object) -> str | None:
    """Return the docstring as a description: lines of a paragraph are joined, lists and blank lines stay."""
    text = inspect.getdoc(source)
    return None if text is None else re.sub(r"(?<!\n)\n(?![\n*|-])", " ", text)
