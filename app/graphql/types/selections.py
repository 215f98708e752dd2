"""Selections: what an operation asks for below a field, before the field is resolved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from graphql import FieldNode, FragmentSpreadNode, GraphQLResolveInfo, InlineFragmentNode, SelectionSetNode

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


def _iter_children(
    info: GraphQLResolveInfo[Any], selections: SelectionSetNode | None, name: str
) -> Iterator[FieldNode]:
    for node in () if selections is None else selections.selections:
        if isinstance(node, FieldNode):
            if node.name.value == name:
                yield node
        elif isinstance(node, InlineFragmentNode):
            yield from _iter_children(info, node.selection_set, name)
        elif isinstance(node, FragmentSpreadNode):
            yield from _iter_children(info, info.fragments[node.name.value].selection_set, name)
