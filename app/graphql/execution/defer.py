"""Responses of queries with @defer, after the draft of incremental delivery that graphql-core and "v0.2" implement.

The API sends deferred parts only to a client that accepts `multipart/mixed`. For other clients it removes the directive
from the document, so that every transport runs the same query.
"""

from __future__ import annotations

from typing import Any

from graphql import (
    REMOVE,
    DirectiveNode,
    DocumentNode,
    GraphQLDeferDirective,
    GraphQLError,
    InitialIncrementalExecutionResult,
    SubsequentIncrementalExecutionResult,
    Visitor,
    visit,
)

from app.graphql.errors import format_execution_errors
from app.telemetry.operations import Transport

from .requests import encode_json

_HEAD = b"\r\ncontent-type: application/json\r\n\r\n"
_TAIL = b"\r\n--graphql"


class _DeferRemover(Visitor):
    def enter_directive(self, node: DirectiveNode, *_: object) -> Any:
        return REMOVE if node.name.value == GraphQLDeferDirective.name else None


def remove_defer(document: DocumentNode) -> DocumentNode:
    """Return the document without @defer; the same object if it has none."""
    return visit(document, _DeferRemover())  # type: ignore[no-any-return]


def render_first_body(result: InitialIncrementalExecutionResult) -> dict[str, Any]:
    """Return the first response: the data that is ready, and the list of pending parts."""
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        body["errors"] = format_execution_errors(result.errors)
    return {**body, "pending": [each.formatted for each in result.pending], "hasNext": result.has_next}


def render_next_body(result: SubsequentIncrementalExecutionResult) -> dict[str, Any]:
    """Return a later response: the parts that became ready, with translated errors."""
    body: dict[str, Any] = {"hasNext": result.has_next}
    for name in ("pending", "incremental", "completed"):
        parts = [_render_part(each) for each in getattr(result, name) or ()]
        if parts:
            body[name] = parts
    return body


def _render_part(part: Any) -> dict[str, Any]:
    formatted: dict[str, Any] = dict(part.formatted)
    errors: list[GraphQLError] | None = getattr(part, "errors", None)
    return {**formatted, "errors": format_execution_errors(errors)} if errors else formatted


class _Increments:
    """Framing of deferred responses: each is one part, and its `hasNext` says whether another part follows."""

    transport: Transport = "multipart"
    content_type = "multipart/mixed;boundary=graphql;incrementalSpec=v0.2"
    opening = _TAIL
    keepalive = _HEAD + b'{"hasNext":true}' + _TAIL
    ending = b"--\r\n"

    def frame(self, body: dict[str, Any], cursor: str | None) -> bytes:
        """Return the part of one response."""
        return _HEAD + encode_json({"hasNext": False, **body}) + _TAIL


INCREMENTS = _Increments()
