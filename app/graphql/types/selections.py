"""Selections: what an operation asks for below a field, before the field is resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLDeferDirective,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSkipDirective,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    get_argument_values,
    get_directive_values,
    get_named_type,
    located_error,
)

from app.domain.errors import Refused
from app.graphql.context import Info


def is_selected(info: Info, path: str) -> bool:
    """Return whether the operation selects a path below this field, for example "results.folded".

    A field counts even if a directive skips it.
    """
    raw_info = info._raw_info
    nodes: Iterable[FieldNode] = raw_info.field_nodes
    for name in path.split("."):
        nodes = [child for node in nodes for child in _iter_children(raw_info, node.selection_set, name)]
    return bool(nodes)


def is_resolved_at_once(info: Info, *names: str) -> bool:
    """Return whether the operation selects one of these fields directly below this field, neither skipped nor deferred."""
    raw_info = info._raw_info
    return any(
        True
        for node in raw_info.field_nodes
        for name in names
        for _ in _iter_children(raw_info, node.selection_set, name, _is_taken_at_once)
    )


def check_arguments(info: Info, name: str, check: Callable[..., object]) -> None:
    """Check the arguments of the fields of a name that the operation selects below this field, before anything is read.

    `check` takes the arguments of one field as keywords. What it refuses is an error of that field, as if the field itself
    had refused it. Fields that a directive skips or defers are left out.
    """
    raw_info = info._raw_info
    parent = get_named_type(raw_info.return_type)
    assert isinstance(parent, GraphQLObjectType)
    for node in raw_info.field_nodes:
        for child in _iter_children(raw_info, node.selection_set, name, _is_taken_at_once):
            try:
                check(**get_argument_values(parent.fields[name], child, raw_info.variable_values))
            except Refused as error:
                path = [*raw_info.path.as_list(), (child.alias or child.name).value]
                raise located_error(error, [child], path) from error


def _is_taken_at_once(info: GraphQLResolveInfo[Any], node: SelectionNode) -> bool:
    """Return whether no directive of a selection skips or defers it."""
    skipped, included, deferred = (
        get_directive_values(directive, node, info.variable_values)
        for directive in (GraphQLSkipDirective, GraphQLIncludeDirective, GraphQLDeferDirective)
    )
    if (skipped and skipped["if"]) or (included and not included["if"]):
        return False
    return not (deferred and deferred["if"])


def _iter_children(
    info: GraphQLResolveInfo[Any],
    selections: SelectionSetNode | None,
    name: str,
    is_taken: Callable[[GraphQLResolveInfo[Any], SelectionNode], bool] = lambda *_: True,
) -> Iterator[FieldNode]:
    for node in () if selections is None else selections.selections:
        if not is_taken(info, node):
            continue
        if isinstance(node, FieldNode):
            if node.name.value == name:
                yield node
        elif isinstance(node, InlineFragmentNode):
            yield from _iter_children(info, node.selection_set, name, is_taken)
        elif isinstance(node, FragmentSpreadNode):
            yield from _iter_children(info, info.fragments[node.name.value].selection_set, name, is_taken)
