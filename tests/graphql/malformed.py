"""Generation of malformed operations from a schema: any field, with arguments of which many are invalid."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    get_nullable_type,
    is_list_type,
    is_required_argument,
    is_required_input_field,
)

from app.graphql.execution.requests import Request

from .oddities import FILES, INTEGERS, JSON_VALUES, NAMES, NUMBERS, PLAUSIBLE, TEXTS, create_upload


@dataclass(frozen=True)
class _File:
    """A place in the variables at which a file is uploaded; the number selects content and name."""

    number: int


@dataclass
class Malformed:
    """A source of operations: the same seed gives the same operations.

    `existing` are texts of the workspace in which the operations run, such as ids. The operations use them as values.
    """

    schema: GraphQLSchema
    seed: int
    existing: Sequence[str] = ()
    _random: random.Random = field(init=False)
    _variables: dict[str, Any] = field(init=False, default_factory=dict)
    _declared: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """Create the random generator from the seed."""
        self._random = random.Random(self.seed)

    def request(self) -> Request:
        """Return the next operation: one to three fields of one root type, and their variables."""
        self._variables, self._declared = {}, []
        kind = self._random.choice(["query", "query", "mutation", "mutation", "subscription"])
        root = {
            "query": self.schema.query_type,
            "mutation": self.schema.mutation_type,
            "subscription": self.schema.subscription_type,
        }[kind]
        assert root is not None
        count = 1 if kind == "subscription" else self._random.choice([1, 1, 2, 3])
        fields = " ".join(
            f"f{i}: {self._write_field(root, name, 3)}" for i, name in enumerate(self._pick_fields(root, count))
        )
        declared = f"({', '.join(self._declared)})" if self._declared else ""
        return Request(f"{kind} F{declared} {{ {fields} }}", "F", self._decode(self._variables))

    def _decode(self, value: Any) -> Any:
        """Return the value as the transport passes it on: numbers keep their digits, and uploads are files."""
        match value:
            case dict():
                return {key: self._decode(item) for key, item in value.items()}
            case list():
                return [self._decode(item) for item in value]
            case float() if math.isfinite(value):
                return Decimal(repr(value))
            case _File():
                return create_upload(value.number)
        return value

    def _pick_fields(self, kind: GraphQLObjectType | GraphQLInterfaceType, count: int) -> list[str]:
        return [self._random.choice(list(kind.fields)) for _ in range(count)]

    def _write_field(self, parent: GraphQLObjectType | GraphQLInterfaceType, name: str, depth: int) -> str:
        definition = parent.fields[name]
        arguments = []
        for key, argument in definition.args.items():
            if is_required_argument(argument) or self._random.random() < 0.4:
                if self._random.random() < 0.02:
                    continue
                arguments.append(f"{key}: {self._write_argument(argument.type, key)}")
        in_brackets = f"({', '.join(arguments)})" if arguments else ""
        return f"{name}{in_brackets}{self._write_selection(get_named_type(definition.type), depth)}"

    def _write_selection(self, kind: Any, depth: int) -> str:
        match kind:
            case GraphQLUnionType():
                inner = " ".join(f"... on {each.name}{self._write_selection(each, depth - 1)}" for each in kind.types)
                return f" {{ __typename {inner} }}"
            case GraphQLObjectType() | GraphQLInterfaceType():
                names = dict.fromkeys(self._pick_fields(kind, 3)) if depth > 0 else {}
                # Each field gets an alias: a field that is selected twice with different arguments is a conflict.
                inner = " ".join(f"a{i}: {self._write_field(kind, name, depth - 1)}" for i, name in enumerate(names))
                return f" {{ __typename {inner} }}"
        return ""

    def _write_argument(self, kind: Any, argument: str) -> str:
        """Return a variable, or in one of 20 cases a literal if the language has one for the value."""
        if self._random.random() < 0.05:
            literal = _write_literal(self._pick_value(kind, argument, 0), get_named_type(kind))
            if literal is not None:
                return literal
        return self._declare_variable(kind, argument)

    def _declare_variable(self, kind: Any, argument: str) -> str:
        name = f"v{len(self._declared)}"
        self._declared.append(f"${name}: {kind}")
        if isinstance(kind, GraphQLNonNull) or self._random.random() < 0.95:
            self._variables[name] = self._pick_value(kind, argument, 0)
        return f"${name}"

    def _pick_value(self, kind: Any, name: str, depth: int) -> Any:
        """Return a value for a field or an argument of this name. Its type is wrong in about 3 of 100 cases."""
        if self._random.random() < 0.03:
            return self._random.choice([*JSON_VALUES, *TEXTS, *NUMBERS])
        if not isinstance(kind, GraphQLNonNull) and self._random.random() < 0.1:
            return None
        kind = get_nullable_type(kind)
        if is_list_type(kind):
            return [
                self._pick_value(kind.of_type, name, depth + 1) for _ in range(self._random.choice([0, 1, 1, 2, 3]))
            ]
        if isinstance(kind, GraphQLInputObjectType):
            return self._pick_object(kind, depth)
        if isinstance(kind, GraphQLEnumType):
            return self._random.choice(list(kind.values))
        if kind.name == "Upload":
            return _File(self._random.randrange(len(FILES) * len(NAMES)))
        if name in PLAUSIBLE and self._random.random() < 0.85:
            return self._random.choice(PLAUSIBLE[name])
        return self._random.choice(self._list_scalars(kind.name))

    def _pick_object(self, kind: GraphQLInputObjectType, depth: int) -> dict[str, Any]:
        if kind.is_one_of and self._random.random() < 0.95:
            name = self._random.choice(list(kind.fields))
            return {name: self._pick_value(GraphQLNonNull(get_nullable_type(kind.fields[name].type)), name, depth + 1)}
        share = 0.35 if depth < 4 else 0.1
        fields: dict[str, Any] = {
            name: self._pick_value(each.type, name, depth + 1)
            for name, each in kind.fields.items()
            if is_required_input_field(each) or self._random.random() < share
        }
        if self._random.random() < 0.02:
            fields["nothing"] = 1
        return fields

    def _list_scalars(self, name: str) -> Sequence[Any]:
        texts = (*self.existing, *TEXTS)
        scalars: Mapping[str, Sequence[Any]] = {
            "Int": INTEGERS,
            "BigInt": INTEGERS,
            "Float": NUMBERS,
            "Boolean": (True, False),
            "Decimal": NUMBERS,
            "JSON": ({}, {"store": "north"}, {"a": {"b": [1, "x"]}}, *JSON_VALUES),
            "JSONValue": (*JSON_VALUES, *NUMBERS, *TEXTS),
        }
        return scalars.get(name, texts)


def _write_literal(value: Any, kind: Any) -> str | None:
    """Return the value as a GraphQL literal, or None if the language has no literal for it."""
    match value:
        case _File():
            return None
        case dict():
            parts = {name: _write_literal(item, _field_type(kind, name)) for name, item in value.items()}
            if None in parts.values() or not all(name.isidentifier() and name.isascii() for name in parts):
                return None
            return "{" + ", ".join(f"{name}: {part}" for name, part in parts.items()) + "}"
        case list():
            items = [_write_literal(item, kind) for item in value]
            return None if None in items else "[" + ", ".join(str(item) for item in items) + "]"
        case float() if not math.isfinite(value):
            return None
        case str() if isinstance(kind, GraphQLEnumType) and value in kind.values:
            return value
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def _field_type(kind: Any, name: str) -> Any:
    field = kind.fields.get(name) if isinstance(kind, GraphQLInputObjectType) else None
    return None if field is None else get_named_type(field.type)
