"""What an operation costs, from its document and variables alone, in time linear to the document.

One point for each object that the operation may read or write: a field of an object type costs 1, a page costs as many
times what is selected of an item as the page may hold, a mutation as much as it has items, and a count that is asked of
the store costs 1. Other leaves are free. What is skipped by a directive is counted all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_composite_type,
    is_list_type,
    is_non_null_type,
    value_from_ast_untyped,
)

from app.graphql.types.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE

COUNTS = frozenset({"totalCount", "memberCount", "pendingCount", "failedCount", "eventTypes", "eventSources"})
"""Leaves for which the store is asked."""
LONG = {("IngestReceipt", "results"): 1_000}
"""Lists that are no pages and no answer to a list in the input, and how many items they may have."""
FREE = frozenset({"pageInfo", "userErrors", "rateLimit"})
"""Objects for which nothing is read. The `node` of an edge is free too: the edge was counted."""


@dataclass(frozen=True, slots=True)
class _Cost:
    """`once`, and `each` for every item of the page or batch around it."""

    once: int = 0
    each: int = 0

    def __add__(self, other: _Cost) -> _Cost:
        return _Cost(self.once + other.once, self.each + other.each)


class Pricing:
    """The prices of a valid document's operations; those that no variable changes are worked out once."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._fixed: dict[str | None, int] = {}

    def of(self, operation: OperationDefinitionNode, variables: Mapping[str, Any]) -> int:
        """The points that the operation costs with these variables, as they were sent; at least 1."""
        name = operation.name.value if operation.name else None
        known = self._fixed.get(name)
        if known is not None:
            return known
        given = _Variables(operation, variables)
        pricing = _Operation(self._schema, self._fragments, given)
        cost = max(1, pricing.root(operation))
        if not given.asked:
            self._fixed[name] = cost
        return cost


class _Variables:
    def __init__(self, operation: OperationDefinitionNode, given: Mapping[str, Any]) -> None:
        self._defaults = {node.variable.name.value: node.default_value for node in operation.variable_definitions or ()}
        self._given = given
        self.asked = False

    def value(self, node: ValueNode | None) -> Any:
        """The value of a whole argument; None for none."""
        match node:
            case None:
                return None
            case VariableNode():
                self.asked = True
                name = node.name.value
                default = self._defaults.get(name)
                if name in self._given or default is None:
                    return self._given.get(name)
                return value_from_ast_untyped(default)
            case IntValueNode():
                # Longer ones are out of range whatever they are, and Python would refuse to read them.
                return int(node.value) if len(node.value) < 12 else None
        return None

    def items(self, node: ValueNode | None) -> int:
        """How many items the longest list in an argument has."""
        match node:
            case ListValueNode():
                return len(node.values)
            case ObjectValueNode():
                return max((self.items(field.value) for field in node.fields), default=0)
            case VariableNode():
                value = self.value(node)
                if isinstance(value, list):
                    return len(value)
                if isinstance(value, dict):
                    return max((len(part) for part in value.values() if isinstance(part, list)), default=0)
        return 0


class _Operation:
    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], variables: _Variables
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._variables = variables
        self._known: dict[str, _Cost] = {}
        self._writes = False

    def root(self, operation: OperationDefinitionNode) -> int:
        kind = operation.operation
        self._writes = kind is OperationType.MUTATION
        root = self._schema.get_root_type(kind)
        return 0 if root is None else self._selected(operation.selection_set, root, at_root=True).once

    def _selected(self, selections: SelectionSetNode, parent: Any, *, at_root: bool = False) -> _Cost:
        total = _Cost()
        for node in selections.selections:
            match node:
                case FieldNode():
                    total += self._field(node, parent, at_root=at_root)
                case InlineFragmentNode():
                    on = self._type(node.type_condition.name.value) if node.type_condition else parent
                    total += self._selected(node.selection_set, on, at_root=at_root)
                case FragmentSpreadNode():
                    total += self._fragment(node.name.value, at_root=at_root)
        return total

    def _fragment(self, name: str, *, at_root: bool) -> _Cost:
        known = self._known.get(name)
        if known is None:
            fragment = self._fragments[name]
            on = self._type(fragment.type_condition.name.value)
            known = self._known[name] = self._selected(fragment.selection_set, on, at_root=at_root)
        return known

    def _type(self, name: str) -> Any:
        return self._schema.get_type(name)

    def _field(self, node: FieldNode, parent: Any, *, at_root: bool) -> _Cost:
        name = node.name.value
        definition = parent.fields.get(name) if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) else None
        if definition is None:  # __typename, __schema, __type
            return _Cost()
        type_ = get_named_type(definition.type)
        if not is_composite_type(type_) or node.selection_set is None:
            return _Cost(int(name in COUNTS))
        below = self._selected(node.selection_set, type_)
        inside = below.once + below.each
        own = int(name not in FREE and not (name == "node" and not at_root))
        arguments = {argument.name.value: argument.value for argument in node.arguments or ()}
        if "first" in definition.args:
            return _Cost(own + below.once + below.each * self._page(arguments))
        if at_root and self._writes:
            items = max([1, *(self._variables.items(value) for value in arguments.values())])
            return _Cost(items + below.once + below.each * items)
        if at_root and _is_list(definition.type):
            items = max([1, *(self._variables.items(value) for value in arguments.values())])
            return _Cost(items * (own + inside))
        if most := LONG.get((parent.name, name)):
            return _Cost(most * (own + inside))
        if _is_list(definition.type):
            return _Cost(0, own + inside) if own else below
        return _Cost(own + inside)

    def _page(self, arguments: Mapping[str, ValueNode]) -> int:
        for name in ("first", "last"):
            asked = self._variables.value(arguments.get(name))
            if isinstance(asked, int):
                return max(0, min(asked, MAX_PAGE_SIZE))
        return DEFAULT_PAGE_SIZE


def _is_list(type_: Any) -> bool:
    return is_list_type(type_.of_type if is_non_null_type(type_) else type_)
