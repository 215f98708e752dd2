"""Scalars: exact on the way out, lenient on the way in, so that a batch can refuse one bad item and keep the rest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NewType

import strawberry
from graphql import FloatValueNode, GraphQLError, IntValueNode, StringValueNode, ValueNode, value_from_ast_untyped
from graphql.pyutils import inspect
from starlette.datastructures import UploadFile
from strawberry.types.scalar import ScalarDefinition

from app.domain.values.decimals import plain
from app.domain.values.instants import format_instant

JSON = NewType("JSON", object)
"""A JSON object on the way out, anything on the way in."""
JSONValue = NewType("JSONValue", object)
BigInt = NewType("BigInt", int)
RawDecimal = NewType("RawDecimal", object)
"""A Decimal as it was sent: `parse_decimal` has not seen it yet."""
RawDateTime = NewType("RawDateTime", object)
"""A DateTime as it was sent: `parse_instant` has not seen it yet."""
Upload = NewType("Upload", UploadFile)

_UNWRAPPED_DEPTH = 32


class Number(float):
    """A JSON number with a point or an exponent that remembers its digits, which a binary float would lose."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Number:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __repr__(self) -> str:
        """The digits as they were sent."""
        return self.text


def plain_json(value: Any, depth: int = _UNWRAPPED_DEPTH) -> Any:
    """The JSON value with ordinary floats; what is nested deeper than any limit allows stays as it is."""
    if isinstance(value, Number):
        return float(value)
    if depth:
        if isinstance(value, dict):
            return {key: plain_json(item, depth - 1) for key, item in value.items()}
        if isinstance(value, list):
            return [plain_json(item, depth - 1) for item in value]
    return value


def _as_written(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
    if isinstance(node, (FloatValueNode, IntValueNode, StringValueNode)):
        return node.value
    return value_from_ast_untyped(node, variables)


def _json_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
    try:
        return plain_json(value_from_ast_untyped(node, variables))
    except ValueError as error:  # an integer of thousands of digits
        raise GraphQLError("This is not a JSON value.", node) from error


def _big_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > 2**53:
        raise GraphQLError(f"BigInt cannot represent value: {inspect(value)}")
    return value


def _big_int_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> int:
    return _big_int(_json_literal(node, variables))


def _uploaded(value: Any) -> Any:
    if not isinstance(value, UploadFile):
        raise GraphQLError("Send the file in a multipart request; see the GraphQL multipart request specification.")
    return value


def _no_upload_literal(node: ValueNode, _variables: dict[str, Any] | None = None) -> Any:
    raise GraphQLError("Send the file as a variable of a multipart request.", node)


def _decimal_text(value: Any) -> str:
    return plain(value) if isinstance(value, Decimal) else str(value)


def _instant_text(value: Any) -> str:
    return format_instant(value) if isinstance(value, datetime) else str(value)


def _json_object(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


_DECIMAL = strawberry.scalar(
    name="Decimal",
    description="An exact decimal number, answered as text; given as text or as a number. At most 15 digits before the "
    "point and 6 after it; no NaN, no infinity, no -0.",
    serialize=_decimal_text,
    parse_value=lambda value: value,
    parse_literal=_as_written,
)
_DATETIME = strawberry.scalar(
    name="DateTime",
    description="An instant as RFC 3339 with an offset, for example `2026-01-31T09:30:00Z`; answered in UTC, cut to "
    "milliseconds.",
    specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
    serialize=_instant_text,
    parse_value=lambda value: value,
    parse_literal=_as_written,
)

SCALARS: Mapping[object, ScalarDefinition] = {
    Decimal: _DECIMAL,
    RawDecimal: _DECIMAL,
    datetime: _DATETIME,
    RawDateTime: _DATETIME,
    JSON: strawberry.scalar(
        name="JSON",
        description='A JSON object, for example `{"store": "north"}`. Keys are not empty and do not begin with `$`.',
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        serialize=_json_object,
        parse_value=plain_json,
        parse_literal=_json_literal,
    ),
    JSONValue: strawberry.scalar(
        name="JSONValue",
        description="Any JSON value: a text, a number, true, false, or a list of them.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        parse_value=lambda value: value,
        parse_literal=_json_literal,
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="An integer of at most 2^53, written as a JSON number.",
        serialize=_big_int,
        parse_value=_big_int,
        parse_literal=_big_int_literal,
    ),
    Upload: strawberry.scalar(
        name="Upload",
        description="A file, sent by the GraphQL multipart request specification.",
        specified_by_url="https://github.com/jaydenseric/graphql-multipart-request-spec",
        serialize=str,
        parse_value=_uploaded,
        parse_literal=_no_upload_literal,
    ),
}
