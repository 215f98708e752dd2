"""@defer: parts of a query that come later. Source: the incremental delivery draft, as graphql-core and "v0.2" have it.

Only a client that reads parts gets any; for everybody else the directive is taken out of the document, as if it was not
there, so that every transport runs the same query.
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

from app.graphql.errors import execution_errors
from app.telemetry.operations import Transport

from .requests import encode_json

_HEAD = b"\r\ncontent-type: application/json\r\n\r\n"
_TAIL = b"\r\n--graphql"


class _Plain(Visitor):
    def enter_directive(self, node: DirectiveNode, *_: object) -> Any:
        return REMOVE if node.name.value == GraphQLDeferDirective.name else None


def without_defer(document: DocumentNode) -> DocumentNode:
    """The document without @defer; the very same where it has none."""
    return visit(document, _Plain())  # type: ignore[no-any-return]


def first_body(result: InitialIncrementalExecutionResult) -> dict[str, Any]:
    """What is there at once, and what is pending."""
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        body["errors"] = execution_errors(result.errors)
    return {**body, "pending": [each.formatted for each in result.pending], "hasNext": result.has_next}


def next_body(result: SubsequentIncrementalExecutionResult) -> dict[str, Any]:
    """What has come since; its errors are translated like any."""
    body: dict[str, Any] = {"hasNext": result.has_next}
    for name in ("pending", "incremental", "completed"):
        found = [_translated(each) for each in getattr(result, name) or ()]
        if found:
            body[name] = found
    return body


def _translated(part: Any) -> dict[str, Any]:
    formatted: dict[str, Any] = dict(part.formatted)
    errors: list[GraphQLError] | None = getattr(part, "errors", None)
    return {**formatted, "errors": execution_errors(errors)} if errors else formatted


class _Increments:
    """A part for each body; every one says whether another follows."""

    transport: Transport = "multipart"
    content_type = "multipart/mixed;boundary=graphql;incrementalSpec=v0.2"
    opening = _TAIL
    quiet = _HEAD + b'{"hasNext":true}' + _TAIL
    ending = b"--\r\n"

    def framed(self, body: dict[str, Any], place: str | None) -> bytes:
        """One part."""
        return _HEAD + encode_json({"hasNext": False, **body}) + _TAIL


INCREMENTS = _Increments()
