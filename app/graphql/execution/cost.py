"""Cost of an operation in points, computed from its document and variables before it runs, in linear time.

An operation costs one point for each object that it may read or write:

- a field of an object type costs 1;
- a list with pages costs its selection, times the number of items that the page may have;
- a mutation costs 1 for each item of its longest list;
- a field that makes the store count or look ahead costs 1; other fields without a selection are free;
- introspection costs points for the time that it takes.

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
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    ValueNode,
    get_named_type,
    is_composite_type,
    is_list_type,
    is_non_null_type,
)

from app.graphql.types.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE

from .arguments import Arguments

COUNTS = frozenset({
    "totalCount", "memberCount", "pendingCount", "failedCount", "eventTypes", "eventSources",
    "matched", "fired", "pointsAwarded", "effectsSucceeded", "effectsFailed", "pointsEarned", "late",
})  # fmt: skip
"""Fields without a selection that need a query of the store."""
COMPUTED = {
    ("Membership", "until"), ("Membership", "heldSince"), ("EventSummary", "activePasses"), ("EventSummary", "newPasses"),
    ("EventSummary", "returningPasses"), ("HistogramBucket", "passes"),
}  # fmt: skip
"""Fields without a selection, by type, that read the store as an object does."""
LONG = {("IngestReceipt", "results"): 1_000}
"""Maximum number of items of lists that have no pages and do not answer a list in the input."""
INTROSPECTION = {"__schema": 500, "__type": 10}
"""Points of introspection, which reads no object of the store. A whole schema takes 0.05 s of CPU."""
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
        """Return the points that the operation costs with these variables, as sent; at least 1.

        Raises RequestRefused (LIMIT_EXCEEDED) if the lists in the variables have too many items.
        """
        arguments = Arguments(self._schema, operation, variables)
        arguments.check_size()
        name = operation.name.value if operation.name else None
        fixed = self._fixed_costs.get(name)
        if fixed is not None:
            return fixed
        cost = max(1, _OperationCost(self._schema, self._fragments, arguments).compute(operation))
        if not arguments.was_read:
            self._fixed_costs[name] = cost
        return cost


class _OperationCost:
    """Computation of the cost of one operation. It visits each fragment once."""

    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], arguments: Arguments
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._arguments = arguments
        self._fragment_costs: dict[tuple[str, int], _Cost] = {}
        self._is_mutation = False
        self._default_page_size = DEFAULT_PAGE_SIZE

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
        key = (name, self._default_page_size)
        cost = self._fragment_costs.get(key)
        if cost is None:
            fragment = self._fragments[name]
            on = self._find_type(fragment.type_condition.name.value)
            cost = self._fragment_costs[key] = self._cost_of_selections(fragment.selection_set, on, at_root=at_root)
        return cost

    def _find_type(self, name: str) -> Any:
        return self._schema.get_type(name)

    def _cost_of_field(self, node: FieldNode, parent: Any, *, at_root: bool) -> _Cost:
        name = node.name.value
        definition = parent.fields.get(name) if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) else None
        if definition is None:
            return _Cost(INTROSPECTION.get(name, 0))
        type_ = get_named_type(definition.type)
        if not is_composite_type(type_) or node.selection_set is None:
            return _Cost(int(name in COUNTS or (parent.name, name) in COMPUTED))
        page_size, self._default_page_size = self._default_page_size, self._input_page_size(node, definition)
        below = self._cost_of_selections(node.selection_set, type_)
        self._default_page_size = page_size
        inside = below.once + below.each
        own = int(name not in FREE and not (name == "node" and not at_root))
        arguments = {argument.name.value: argument.value for argument in node.arguments or ()}
        if "first" in definition.args:
            page_size = self._page_size(arguments, definition)
            if _is_list(definition.type):
                return _Cost(own + inside * page_size)
            return _Cost(own + below.once + below.each * page_size)
        if at_root and self._is_mutation:
            items = self._count_items(arguments, definition)
            return _Cost(items + below.once + below.each * items)
        if at_root and _is_list(definition.type):
            items = self._count_items(arguments, definition)
            return _Cost(items * (own + inside))
        if max_items := LONG.get((parent.name, name)):
            return _Cost(max_items * (own + inside))
        if _is_list(definition.type):
            return _Cost(0, own + inside) if own else below
        return _Cost(own + inside)

    def _count_items(self, arguments: Mapping[str, ValueNode], definition: GraphQLField) -> int:
        """Return the items of the longest list in the arguments, or the `first` of an input, at least 1."""
        counts = [1]
        for name, value in arguments.items():
            type_ = definition.args[name].type
            counts.append(self._arguments.count_items(value, type_))
            counts.append(self._arguments.integer_in(value, type_, "first") or 0)
        return max(counts)

    def _input_page_size(self, node: FieldNode, definition: GraphQLField) -> int:
        """Return the page size of lists below a field whose input object has `first`, or else the default."""
        for argument in node.arguments or ():
            size = self._arguments.integer_in(argument.value, definition.args[argument.name.value].type, "first")
            if size is not None:
                return min(size, MAX_PAGE_SIZE)
        return DEFAULT_PAGE_SIZE

    def _page_size(self, arguments: Mapping[str, ValueNode], definition: GraphQLField) -> int:
        for name in ("first", "last"):
            argument = definition.args.get(name)
            default = None if argument is None else argument.default_value
            size = self._arguments.integer_of(arguments.get(name), default)
            if size is not None:
                return min(size, MAX_PAGE_SIZE)
        return self._default_page_size


def _is_list(type_: Any) -> bool:
    return is_list_type(type_.of_type if is_non_null_type(type_) else type_)
