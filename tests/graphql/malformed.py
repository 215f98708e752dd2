"""Malformed operations made from a schema: every field, with arguments that are nearly right in every way there is."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from app.graphql.types.scalars import Number

from .oddities import FILES, INTEGERS, NAMES, NUMBERS, PLAUSIBLE, TEXTS, THINGS, uploaded


@dataclass(frozen=True)
class _File:
    number: int


@dataclass
class Malformed:
    """Makes operations, the same ones for the same seed. `known` are texts that exist where they are run, ids foremost."""

    schema: GraphQLSchema
    seed: int
    known: Sequence[str] = ()
    _chance: random.Random = field(init=False)
    _variables: dict[str, Any] = field(init=False, default_factory=dict)
    _declared: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """Seeds the chance."""
        self._chance = random.Random(self.seed)

    def request(self) -> Request:
        """The next operation: one to three fields of one root, and their variables."""
        self._variables, self._declared = {}, []
        kind = self._chance.choice(["query", "query", "mutation", "mutation", "subscription"])
        root = {
            "query": self.schema.query_type,
            "mutation": self.schema.mutation_type,
            "subscription": self.schema.subscription_type,
        }[kind]
        assert root is not None
        count = 1 if kind == "subscription" else self._chance.choice([1, 1, 2, 3])
        fields = " ".join(f"f{i}: {self._field(root, name, 3)}" for i, name in enumerate(self._names(root, count)))
        declared = f"({', '.join(self._declared)})" if self._declared else ""
        return Request(f"{kind} F{declared} {{ {fields} }}", "F", self._sent(self._variables), uploads=True)

    def _sent(self, value: Any) -> Any:
        """The value as the transport hands it on: numbers that know their digits, files in their places."""
        match value:
            case dict():
                return {key: self._sent(item) for key, item in value.items()}
            case list():
                return [self._sent(item) for item in value]
            case float() if not isinstance(value, Number) and math.isfinite(value):
                return Number(repr(value))
            case _File():
                return uploaded(value.number)
        return value

    def _names(self, kind: GraphQLObjectType | GraphQLInterfaceType, count: int) -> list[str]:
        return [self._chance.choice(list(kind.fields)) for _ in range(count)]

    def _field(self, parent: GraphQLObjectType | GraphQLInterfaceType, name: str, depth: int) -> str:
        definition = parent.fields[name]
        given = []
        for key, argument in definition.args.items():
            if is_required_argument(argument) or self._chance.random() < 0.4:
                if self._chance.random() < 0.02:
                    continue
                given.append(f"{key}: {self._argument(argument.type, key)}")
        arguments = f"({', '.join(given)})" if given else ""
        return f"{name}{arguments}{self._selection(get_named_type(definition.type), depth)}"

    def _selection(self, kind: Any, depth: int) -> str:
        match kind:
            case GraphQLUnionType():
                inner = " ".join(f"... on {each.name}{self._selection(each, depth - 1)}" for each in kind.types)
                return f" {{ __typename {inner} }}"
            case GraphQLObjectType() | GraphQLInterfaceType():
                names = dict.fromkeys(self._names(kind, 3)) if depth > 0 else {}
                # An alias for each: the same field with other arguments would conflict with itself.
                inner = " ".join(f"a{i}: {self._field(kind, name, depth - 1)}" for i, name in enumerate(names))
                return f" {{ __typename {inner} }}"
        return ""

    def _argument(self, kind: Any, called: str) -> str:
        """A variable, or now and then the value written into the document, if it can be."""
        if self._chance.random() < 0.05:
            literal = _literal(self._value(kind, called, 0), get_named_type(kind))
            if literal is not None:
                return literal
        return self._variable(kind, called)

    def _variable(self, kind: Any, called: str) -> str:
        name = f"v{len(self._declared)}"
        self._declared.append(f"${name}: {kind}")
        if isinstance(kind, GraphQLNonNull) or self._chance.random() < 0.95:
            self._variables[name] = self._value(kind, called, 0)
        return f"${name}"

    def _value(self, kind: Any, called: str, depth: int) -> Any:
        if self._chance.random() < 0.03:
            return self._chance.choice([*THINGS, *TEXTS, *NUMBERS])
        if not isinstance(kind, GraphQLNonNull) and self._chance.random() < 0.1:
            return None
        kind = get_nullable_type(kind)
        if is_list_type(kind):
            return [self._value(kind.of_type, called, depth + 1) for _ in range(self._chance.choice([0, 1, 1, 2, 3]))]
        if isinstance(kind, GraphQLInputObjectType):
            return self._object(kind, depth)
        if isinstance(kind, GraphQLEnumType):
            return self._chance.choice(list(kind.values))
        if kind.name == "Upload":
            return _File(self._chance.randrange(len(FILES) * len(NAMES)))
        if called in PLAUSIBLE and self._chance.random() < 0.85:
            return self._chance.choice(PLAUSIBLE[called])
        return self._chance.choice(self._scalars(kind.name))

    def _object(self, kind: GraphQLInputObjectType, depth: int) -> dict[str, Any]:
        if kind.is_one_of and self._chance.random() < 0.95:
            name = self._chance.choice(list(kind.fields))
            return {name: self._value(GraphQLNonNull(get_nullable_type(kind.fields[name].type)), name, depth + 1)}
        share = 0.35 if depth < 4 else 0.1
        made: dict[str, Any] = {
            name: self._value(each.type, name, depth + 1)
            for name, each in kind.fields.items()
            if is_required_input_field(each) or self._chance.random() < share
        }
        if self._chance.random() < 0.02:
            made["nothing"] = 1
        return made

    def _scalars(self, name: str) -> Sequence[Any]:
        texts = (*self.known, *TEXTS)
        scalars: Mapping[str, Sequence[Any]] = {
            "Int": INTEGERS,
            "BigInt": INTEGERS,
            "Float": NUMBERS,
            "Boolean": (True, False),
            "Decimal": NUMBERS,
            "JSON": ({}, {"store": "north"}, {"a": {"b": [1, "x"]}}, *THINGS),
            "JSONValue": (*THINGS, *NUMBERS, *TEXTS),
        }
        return scalars.get(name, texts)


def _literal(value: Any, kind: Any) -> str | None:
    """The value in the language of documents, names of enums bare; None where it has no spelling there."""
    match value:
        case _File():
            return None
        case dict():
            parts = {name: _literal(item, _inner(kind, name)) for name, item in value.items()}
            if None in parts.values() or not all(name.isidentifier() and name.isascii() for name in parts):
                return None
            return "{" + ", ".join(f"{name}: {part}" for name, part in parts.items()) + "}"
        case list():
            items = [_literal(item, kind) for item in value]
            return None if None in items else "[" + ", ".join(str(item) for item in items) + "]"
        case float() if not math.isfinite(value):
            return None
        case str() if isinstance(kind, GraphQLEnumType) and value in kind.values:
            return value
    return repr(value) if isinstance(value, Number) else json.dumps(value)


def _inner(kind: Any, name: str) -> Any:
    field = kind.fields.get(name) if isinstance(kind, GraphQLInputObjectType) else None
    return None if field is None else get_named_type(field.type)
