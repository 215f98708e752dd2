"""Cost of an operation in points, computed from its document and variables before it runs, in linear time.

An operation costs one point for each object that it may read or write:

- a field of an object type costs 1;
- a list with pages costs its selection, times the number of items that the page may have;
- a mutation costs 1 for each item of its longest list;
- a field that makes the store count costs 1; other fields without a selection are free.

A field counts even if a directive skips it.
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
"""Fields without a selection that need a query of the store."""
LONG = {("IngestReceipt", "results"): 1_000}
"""Maximum number of items of lists that have no pages and do not answer a list in the input."""
FREE = frozenset({"pageInfo", "userErrors", "rateLimit"})
"""Objects that need no query of the store. The `node` of an edge is free too, because its edge costs a point."""


@dataclass(frozen=True, slots=True)
class _Cost:
    """Points of a selection: `once`, and `each` for every item of the list that surrounds it."""

    once: int = 0
    each: int = 0

    def __add__(self, other: _Cost) -> _Cost:
        return _Cost(self.once + other.once, self.each + other.each)


class Pricing:
    """Costs of the operations of one valid document. A cost that depends on no variable is computed once."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._fixed_costs: dict[str | None, int] = {}

    def cost_of(self, operation: OperationDefinitionNode, variables: Mapping[str, Any]) -> int:
        """Return the points that the operation costs with these variables, as sent; at least 1."""
        name = operation.name.value if operation.name else None
        fixed = self._fixed_costs.get(name)
        if fixed is not None:
            return fixed
        values = _Variables(operation, variables)
        cost = max(1, _OperationCost(self._schema, self._fragments, values).compute(operation))
        if not values.was_read:
            self._fixed_costs[name] = cost
        return cost


class _Variables:
    """Variables of an operation. `was_read` is true if the cost depends on one of them."""

    def __init__(self, operation: OperationDefinitionNode, sent: Mapping[str, Any]) -> None:
        self._defaults = {node.variable.name.value: node.default_value for node in operation.variable_definitions or ()}
        self._sent = sent
        self.was_read = False

    def value_of(self, node: ValueNode | None) -> Any:
        """Return the value of an argument that is a variable or an integer, else None."""
        match node:
            case None:
                return None
            case VariableNode():
                self.was_read = True
                name = node.name.value
                default = self._defaults.get(name)
                if name in self._sent or default is None:
                    return self._sent.get(name)
                return value_from_ast_untyped(default)
            case IntValueNode():
                # A longer number is out of range, and int() raises ValueError for more than 4,300 digits.
                return int(node.value) if len(node.value) < 12 else None
        return None

    def count_items(self, node: ValueNode | None) -> int:
        """Return the number of items of the longest list in an argument."""
        match node:
            case ListValueNode():
                return len(node.values)
            case ObjectValueNode():
                return max((self.count_items(field.value) for field in node.fields), default=0)
            case VariableNode():
                value = self.value_of(node)
                if isinstance(value, list):
                    return len(value)
                if isinstance(value, dict):
                    return max((len(part) for part in value.values() if isinstance(part, list)), default=0)
        return 0


class _OperationCost:
    """Computation of the cost of one operation. It visits each fragment once."""

    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], variables: _Variables
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._variables = variables
        self._fragment_costs: dict[str, _Cost] = {}
        self._is_mutation = False

    def compute(self, operation: OperationDefinitionNode) -> int:
        kind = operation.operation
        self._is_mutation = kind is OperationType.MUTATION
        root = self._schema.get_root_type(kind)
        return 0 if root is None else self._cost_of_selections(operation.selection_set, root, at_root=True).once

    def _cost_of_selections(self, selections: SelectionSetNode, parent: Any, *, at_root: bool = False) -> _Cost:
        total = _Cost()
        for node in selections.selections:
            match node:
                case FieldNode():
                    total += self._cost_of_field(node, parent, at_root=at_root)
                case InlineFragmentNode():
                    on = self._find_type(node.type_condition.name.value) if node.type_condition else parent
                    total += self._cost_of_selections(node.selection_set, on, at_root=at_root)
                case FragmentSpreadNode():
                    total += self._cost_of_fragment(node.name.value, at_root=at_root)
        return total

    def _cost_of_fragment(self, name: str, *, at_root: bool) -> _Cost:
        cost = self._fragment_costs.get(name)
        if cost is None:
            fragment = self._fragments[name]
            on = self._find_type(fragment.type_condition.name.value)
            cost = self._fragment_costs[name] = self._cost_of_selections(fragment.selection_set, on, at_root=at_root)
        return cost

    def _find_type(self, name: str) -> Any:
        return self._schema.get_type(name)

    def _cost_of_field(self, node: FieldNode, parent: Any, *, at_root: bool) -> _Cost:
        name = node.name.value
        definition = parent.fields.get(name) if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) else None
        if definition is None:  # __typename, __schema, __type
            return _Cost()
        type_ = get_named_type(definition.type)
        if not is_composite_type(type_) or node.selection_set is None:
            return _Cost(int(name in COUNTS))
        below = self._cost_of_selections(node.selection_set, type_)
        inside = below.once + below.each
        own = int(name not in FREE and not (name == "node" and not at_root))
        arguments = {argument.name.value: argument.value for argument in node.arguments or ()}
        if "first" in definition.args:
            return _Cost(own + below.once + below.each * self._page_size(arguments))
        if at_root and self._is_mutation:
            items = max([1, *(self._variables.count_items(value) for value in arguments.values())])
            return _Cost(items + below.once + below.each * items)
        if at_root and _is_list(definition.type):
            items = max([1, *(self._variables.count_items(value) for value in arguments.values())])
            return _Cost(items * (own + inside))
        if max_items := LONG.get((parent.name, name)):
            return _Cost(max_items * (own + inside))
        if _is_list(definition.type):
            return _Cost(0, own + inside) if own else below
        return _Cost(own + inside)

    def _page_size(self, arguments: Mapping[str, ValueNode]) -> int:
        for name in ("first", "last"):
            size = self._variables.value_of(arguments.get(name))
            if isinstance(size, int):
                return max(0, min(size, MAX_PAGE_SIZE))
        return DEFAULT_PAGE_SIZE


def _is_list(type_: Any) -> bool:
    return is_list_type(type_.of_type if is_non_null_type(type_) else type_)
