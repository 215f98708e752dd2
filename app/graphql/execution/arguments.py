"""Values of an operation's arguments as graphql-core will coerce them, for the price of the operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from graphql import (
    GraphQLInputObjectType,
    GraphQLSchema,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    ValueNode,
    VariableNode,
    get_nullable_type,
    is_input_object_type,
    is_list_type,
    type_from_ast,
    value_from_ast_untyped,
)

from app.graphql.errors import ErrorCode, refuse

MAX_INPUT_ITEMS = 10_000
"""Items of all lists in the variables of one operation. Every list of the schema accepts fewer."""
_LARGE = 1_000_000


class Arguments:
    """Arguments of an operation, whose values the client may have sent as variables.

    `was_read` is true if a value depends on a variable.
    """

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode, sent: Mapping[str, Any]) -> None:
        definitions = operation.variable_definitions or ()
        self._defaults = {node.variable.name.value: node.default_value for node in definitions}
        self._types = {node.variable.name.value: type_from_ast(schema, node.type) for node in definitions}
        self._sent = sent
        self._longest_lists: dict[str, int] = {}
        self.was_read = False

    def check_size(self) -> None:
        """Raise RequestRefused (LIMIT_EXCEEDED) if the lists in the variables have too many items."""
        count = 0
        for name, type_ in self._types.items():
            for length in _iterate_lengths(self._sent.get(name), type_):
                count += length
                if count > MAX_INPUT_ITEMS:
                    message = (
                        f"The lists in the variables have more than {MAX_INPUT_ITEMS:,} items together. "
                        "Send fewer items at once."
                    )
                    raise refuse(ErrorCode.LIMIT_EXCEEDED, message, limit="items", most=MAX_INPUT_ITEMS)

    def count_items(self, node: ValueNode, type_: Any) -> int:
        """Return the number of items of the longest list in an argument of that type; 0 without a list."""
        type_ = get_nullable_type(type_)
        match node:
            case VariableNode():
                return self._count_items_of_variable(node.name.value)
            case ListValueNode() if is_list_type(type_):
                return max([len(node.values), *(self.count_items(each, type_.of_type) for each in node.values)])
            case ObjectValueNode() if is_input_object_type(type_):
                fields = [(each.value, type_.fields.get(each.name.value)) for each in node.fields]
                return max((self.count_items(value, field.type) for value, field in fields if field), default=0)
        return 0

    def _count_items_of_variable(self, name: str) -> int:
        count = self._longest_lists.get(name)
        if count is None:
            lengths = _iterate_lengths(self._value_of_variable(name), self._types.get(name))
            count = self._longest_lists[name] = max(lengths, default=0)
        self.was_read = True
        return count

    def integer_of(self, node: ValueNode | None, default: object = None) -> int | None:
        """Return the value of an argument of the type Int, at most a million; None without a value.

        `default` is the argument's default in the schema. graphql-core coerces 250.0 and 2.5e2 to 250.
        """
        match node:
            case VariableNode():
                value = self._value_of_variable(node.name.value)
            case IntValueNode():
                # A longer number is out of range, and int() raises ValueError for more than 4,300 digits.
                value = int(node.value) if len(node.value) < 12 else None
            case _:
                value = None
        return _as_integer(default if value is None else value)

    def integer_in(self, node: ValueNode, type_: Any, name: str) -> int | None:
        """Return the integer in the field `name` of an argument that is an input object; None without a value."""
        type_ = get_nullable_type(type_)
        field = type_.fields.get(name) if isinstance(type_, GraphQLInputObjectType) else None
        if field is None:
            return None
        if isinstance(node, VariableNode):
            value = self._value_of_variable(node.name.value)
            given = value.get(name) if isinstance(value, dict) else None
            return _as_integer(field.default_value if given is None else given)
        fields = node.fields if isinstance(node, ObjectValueNode) else ()
        inside = next((each.value for each in fields if each.name.value == name), None)
        return self.integer_of(inside, field.default_value)

    def _value_of_variable(self, name: str) -> Any:
        self.was_read = True
        default = self._defaults.get(name)
        if name in self._sent or default is None:
            return self._sent.get(name)
        return value_from_ast_untyped(default)


def _as_integer(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    # int() of a number with a large exponent takes long.
    return _LARGE if value > _LARGE else int(value) if value > 0 else 0


def _iterate_lengths(value: Any, type_: Any) -> Iterator[int]:
    """Yield the length of each list in a value of that type. JSON scalars are not searched."""
    type_ = get_nullable_type(type_)
    if value is None or not _holds_lists(type_):
        return
    if is_list_type(type_):
        items = value if isinstance(value, list) else [value]
        yield len(items)
        if _holds_lists(type_.of_type):
            for item in items:
                yield from _iterate_lengths(item, type_.of_type)
    elif isinstance(value, dict):
        for name, field in type_.fields.items():
            if name in value:
                yield from _iterate_lengths(value[name], field.type)


@cache
def _holds_lists(type_: Any) -> bool:
    """Return whether an input type is a list, or an input object with a list in it at any depth."""
    seen: set[str] = set()
    unseen = [type_]
    while unseen:
        found = get_nullable_type(unseen.pop())
        if is_list_type(found):
            return True
        if is_input_object_type(found) and found.name not in seen:
            seen.add(found.name)
            unseen.extend(field.type for field in found.fields.values())
    return False
