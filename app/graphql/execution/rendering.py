"""Responses of operations as dictionaries."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from graphql import ExecutionResult, GraphQLError

from app.graphql.errors import RequestRefused, format_execution_errors, format_variable_errors

Body = dict[str, Any]


def render_body(result: ExecutionResult) -> Body:
    """Return the response of an executed operation. Raises RequestRefused if no field was executed."""
    if result.data is None and result.errors and not any(error.path for error in result.errors):
        raise RequestRefused(format_request_errors(result.errors))
    body: Body = {"data": result.data}
    if result.errors:
        body["errors"] = format_execution_errors(result.errors)
    return body


def format_request_errors(errors: Collection[GraphQLError]) -> list[dict[str, Any]]:
    """Return errors of variables, or of the root field of a subscription, as dictionaries."""
    if any(error.original_error is not None and error.path for error in errors):
        return format_execution_errors(errors)
    return format_variable_errors(errors)
