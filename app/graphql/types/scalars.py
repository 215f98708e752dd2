"""Scalars: exact in answers. Inputs are only checked later, so that a batch can reject one bad item and keep the others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NewType

import strawberry
from graphql import (
    FloatValueNode,
    GraphQLError,
    GraphQLScalarType,
    IntValueNode,
    StringValueNode,
    ValueNode,
    value_from_ast_untyped,
)
from graphql.pyutils import inspect
from starlette.datastructures import UploadFile
from strawberry.types.scalar import ScalarDefinition

from app.domain.values.decimals import plain
from app.domain.values.instants import format_instant

JSON = NewType("JSON", object)
"""JSON object in answers; any JSON value in inputs."""
JSONValue = NewType("JSONValue", object)
BigInt = NewType("BigInt", int)
RawDecimal = NewType("RawDecimal", object)
"""Decimal as it was sent, before `parse_decimal` checks it."""
RawDateTime = NewType("RawDateTime", object)
"""DateTime as it was sent, before `parse_instant` checks it."""
Upload = NewType("Upload", UploadFile)

_MAX_UNWRAPPED_DEPTH = 32


class _Number(float):
    """JSON number with a point or an exponent as graphql-core's scalars accept it. Messages show its digits as sent."""

    __slots__ = ("_text",)
    _text: str

    def __new__(cls, value: Decimal) -> _Number:
        number = super().__new__(cls, value)
        number._text = str(value)
        return number

    def __repr__(self) -> str:
        """Return the digits as they were sent."""
        return self._text


def accept_decimals(scalar: GraphQLScalarType) -> None:
    """Let a scalar of graphql-core coerce Decimals as it coerces floats.

    `decode_json` decodes each JSON number with a point or an exponent as a Decimal. graphql-core's own scalars do not
    accept Decimals: `Int` would reject 250.0, and messages would not show the number.
    """
    coerce = scalar.coerce_input_value

    def coerce_input_value(value: Any) -> Any:
        return coerce(_Number(value) if isinstance(value, Decimal) else value)

    scalar.coerce_input_value = coerce_input_value


def plain_json(value: Any, depth: int = _MAX_UNWRAPPED_DEPTH) -> Any:
    """Return the JSON value with floats instead of Decimals, as metadata stores numbers.

    Values nested deeper than `depth` levels stay as they are. The depth exceeds every limit on stored JSON.
    """
    if isinstance(value, Decimal):
        return float(value)
    if depth:
        if isinstance(value, dict):
            return {key: plain_json(item, depth - 1) for key, item in value.items()}
        if isinstance(value, list):
            return [plain_json(item, depth - 1) for item in value]
    return value


def _parse_as_written(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
    if isinstance(node, (FloatValueNode, IntValueNode, StringValueNode)):
        return node.value
    return value_from_ast_untyped(node, variables)


def _parse_json_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
    try:
        return plain_json(value_from_ast_untyped(node, variables))
    except ValueError as error:
        # int() rejects text of more than 4,300 digits.
        raise GraphQLError("The value has an integer with too many digits. Write the integer as text.", node) from error


def _parse_big_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > 2**53:
        shown = inspect(_Number(value) if isinstance(value, Decimal) else value)
        raise GraphQLError(f"BigInt cannot represent value: {shown}. Give an integer of at most 2^53.")
    return value


def _parse_big_int_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> int:
    return _parse_big_int(_parse_json_literal(node, variables))


def _parse_upload(value: Any) -> Any:
    if not isinstance(value, UploadFile):
        raise GraphQLError(
            "An Upload is a file of a multipart request. See the GraphQL multipart request specification."
        )
    return value


def _reject_upload_literal(node: ValueNode, _variables: dict[str, Any] | None = None) -> Any:
    raise GraphQLError("An Upload cannot be written in the document. Send the file as a variable.", node)


def _render_decimal(value: Any) -> str:
    return plain(value) if isinstance(value, Decimal) else str(value)


def _render_instant(value: Any) -> str:
    return format_instant(value) if isinstance(value, datetime) else str(value)


def _render_json(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


_DECIMAL = strawberry.scalar(
    name="Decimal",
    description='Exact decimal number. Answers contain it as text, for example "29.30"; inputs take text or a '
    "JSON number. Inputs have at most 15 digits before the point and 6 after it. NaN, infinity and -0 "
    "are rejected. A recorded number comes back with the digits that were sent: 25.00 as `25.00`, and 25 as `25`. A sum "
    "has as many decimal places as its most precise number, and an average has 6.",
    serialize=_render_decimal,
    parse_value=lambda value: value,
    parse_literal=_parse_as_written,
)
_DATETIME = strawberry.scalar(
    name="DateTime",
    description="Instant as RFC 3339 text with an offset, for example `2026-01-31T09:30:00Z`. Answers are in UTC "
    "with milliseconds. Inputs are cut to milliseconds and lie in the years 1900 to 2199.",
    specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
    serialize=_render_instant,
    parse_value=lambda value: value,
    parse_literal=_parse_as_written,
)

SCALARS: Mapping[object, ScalarDefinition] = {
    Decimal: _DECIMAL,
    RawDecimal: _DECIMAL,
    datetime: _DATETIME,
    RawDateTime: _DATETIME,
    JSON: strawberry.scalar(
        name="JSON",
        description='JSON object, for example `{"store": "north"}`. In inputs, keys are not empty and do not begin '
        "with `$`, and objects nest at most 10 levels deep.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        serialize=_render_json,
        parse_value=plain_json,
        parse_literal=_parse_json_literal,
    ),
    JSONValue: strawberry.scalar(
        name="JSONValue",
        description="JSON value: a text, a number, true, false, or a list of them.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        parse_value=lambda value: value,
        parse_literal=_parse_json_literal,
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="Integer of at most 2^53 in absolute value, written as a JSON number.",
        serialize=_parse_big_int,
        parse_value=_parse_big_int,
        parse_literal=_parse_big_int_literal,
    ),
    Upload: strawberry.scalar(
        name="Upload",
        description="File, sent as the GraphQL multipart request specification describes.",
        specified_by_url="https://github.com/jaydenseric/graphql-multipart-request-spec",
        serialize=str,
        parse_value=_parse_upload,
        parse_literal=_reject_upload_literal,
    ),
}
