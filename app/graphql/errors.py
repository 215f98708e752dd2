"""Translation of errors for GraphQL clients: the code, the message and the HTTP status of each error class.

No other module does this translation. The details of an unexpected error stay in the log.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from graphql import GraphQLError, GraphQLSyntaxError

from app.domain.errors import (
    Denied,
    DeniedToToken,
    ExpiredCursor,
    OperationTooLarge,
    Refused,
    StoreRefused,
    Throttled,
    Unauthenticated,
    Unavailable,
)

log = logging.getLogger(__name__)

Formatted = dict[str, Any]

MAX_MESSAGE_CHARACTERS = 1_000
"""Characters of a message of graphql-core, which quotes what the client sent."""


class ErrorCode(StrEnum):
    """Values of `extensions.code` of a top-level error. Where Apollo has a name for a code, it is the same name."""

    GRAPHQL_PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    GRAPHQL_VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    OPERATION_RESOLUTION_FAILURE = "OPERATION_RESOLUTION_FAILURE"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    PERSISTED_QUERY_NOT_IN_LIST = "PERSISTED_QUERY_NOT_IN_LIST"
    PERSISTED_QUERY_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"
    QUERY_NOT_IN_SAFELIST = "QUERY_NOT_IN_SAFELIST"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    OPERATION_TIMEOUT = "OPERATION_TIMEOUT"
    BAD_REQUEST = "BAD_REQUEST"
    BAD_USER_INPUT = "BAD_USER_INPUT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    THROTTLED = "THROTTLED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Meaning of an error code, and whether the client should send the request again."""

    meaning: str
    retry: str


EXPLANATIONS: Mapping[ErrorCode, Explanation] = {
    ErrorCode.GRAPHQL_PARSE_FAILED: Explanation(
        "The document is not valid GraphQL syntax.",
        "No. Correct the document.",
    ),
    ErrorCode.GRAPHQL_VALIDATION_FAILED: Explanation(
        "The document does not fit the schema. For example, it selects a field that does not exist.",
        "No. Correct the document.",
    ),
    ErrorCode.OPERATION_RESOLUTION_FAILURE: Explanation(
        "The document has no operation with this `operationName`, or it has several and the request names none.",
        "No. Correct `operationName`.",
    ),
    ErrorCode.PERSISTED_QUERY_NOT_FOUND: Explanation(
        "The API does not have the document with this hash.",
        "Yes, once. Send the document together with its hash.",
    ),
    ErrorCode.PERSISTED_QUERY_NOT_IN_LIST: Explanation(
        "No trusted document has this id or this hash.",
        "No. Give the API the manifest that has the document.",
    ),
    ErrorCode.PERSISTED_QUERY_NOT_SUPPORTED: Explanation(
        "The `version` in `extensions.persistedQuery` is not 1.",
        "No. Send `version` 1, or the whole document.",
    ),
    ErrorCode.QUERY_NOT_IN_SAFELIST: Explanation(
        "The API runs only trusted documents, and this document is not trusted.",
        "No. Send a trusted document, or use a key with the scope `admin`.",
    ),
    ErrorCode.LIMIT_EXCEEDED: Explanation(
        "The body, the document or its cost is larger than the API allows, or the operation would read or answer more data"
        " than it may. Except for bodies, `extensions.limit` names the limit and `extensions.most` has its value. A mutation"
        " may have made its changes before it exceeded a limit.",
        "No. Send less, or ask for less, at once.",
    ),
    ErrorCode.OPERATION_TIMEOUT: Explanation(
        "The operation took longer than the API allows. A mutation may have written all, some or none of its changes.",
        "Yes, the same request. If it fails again, ask for less at once.",
    ),
    ErrorCode.BAD_REQUEST: Explanation(
        "The API cannot read the request. For example, the body is not JSON, or a header of an upload is missing.",
        "No. Correct the request.",
    ),
    ErrorCode.BAD_USER_INPUT: Explanation(
        "A variable or an argument has a value that the API does not accept. `extensions.problems`, where present, "
        "lists each problem with its code, message and path.",
        "No. Correct the value.",
    ),
    ErrorCode.UNAUTHENTICATED: Explanation(
        "The request has no API key or token, or one that is unknown, revoked or expired.",
        "No. Send a valid key or token.",
    ),
    ErrorCode.FORBIDDEN: Explanation(
        "The API key lacks the scope that the operation or one of its fields needs. Or a token for one pass does not allow"
        " it; then `extensions.field`, where present, is the path of the input that it does not allow.",
        "No. Use a key with the scope, or leave out what the token does not allow.",
    ),
    ErrorCode.THROTTLED: Explanation(
        "The budget of the API key does not cover the cost, or too many operations, subscriptions or sockets are open.",
        "Yes, after `extensions.retryAfterSeconds`, where present. Otherwise, retry after some of them have ended.",
    ),
    ErrorCode.UNAVAILABLE: Explanation(
        "A server that the API needs did not answer, or the events of a receipt are not folded yet. A mutation may have"
        " written all, some or none of its changes.",
        "Yes, the same request.",
    ),
    ErrorCode.INTERNAL_SERVER_ERROR: Explanation(
        "Punchcard failed for a reason that it does not know: a bug, or a refusal of the store. The log has the details"
        " under `extensions.reference`.",
        "Not in a loop. Report the reference to the operator.",
    ),
}
"""Each code for clients. The reference page publishes these texts."""

TRANSLATED: dict[type[Exception], ErrorCode] = {
    Refused: ErrorCode.BAD_USER_INPUT,
    Unauthenticated: ErrorCode.UNAUTHENTICATED,
    Denied: ErrorCode.FORBIDDEN,
    Throttled: ErrorCode.THROTTLED,
    Unavailable: ErrorCode.UNAVAILABLE,
    OperationTooLarge: ErrorCode.LIMIT_EXCEEDED,
    StoreRefused: ErrorCode.INTERNAL_SERVER_ERROR,
}
"""Code of each error class of the domain. Mutations turn `Refused` into `userErrors` instead."""

STATUS: dict[ErrorCode, int] = {
    # Clients repeat the request with the whole document only if the status of this response is 200.
    ErrorCode.PERSISTED_QUERY_NOT_FOUND: 200,
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.THROTTLED: 429,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.OPERATION_TIMEOUT: 504,
    ErrorCode.INTERNAL_SERVER_ERROR: 500,
}
"""HTTP status of a refused request by its code. For codes not listed, the media type of the response decides."""


class RequestRefused(Exception):
    """A request that was not executed. Its response has `errors` and no `data`."""

    def __init__(self, errors: Sequence[Formatted], retry_after_seconds: float | None = None) -> None:
        super().__init__(errors[0]["message"])
        self.errors = list(errors)
        self.retry_after_seconds = retry_after_seconds

    @property
    def status(self) -> int | None:
        """The HTTP status by the code of the first error, or None if the media type of the response decides."""
        return STATUS.get(self.errors[0]["extensions"]["code"])

    @property
    def body(self) -> dict[str, Any]:
        """The body of the response: `errors` without `data`."""
        return {"errors": self.errors}


def refuse(code: ErrorCode, message: str, **extensions: object) -> RequestRefused:
    """Return a refusal with one error that has no path and no location in the document."""
    return RequestRefused([{"message": message, "extensions": {"code": code, **extensions}}])


def refuse_with(error: Exception) -> RequestRefused:
    """Return the refusal for an exception that was raised before execution."""
    seconds = error.retry_after_seconds if isinstance(error, Throttled) else None
    return RequestRefused([{"message": _render_message(error), "extensions": _render_extensions(error)}], seconds)


def format_document_errors(errors: Iterable[GraphQLError]) -> list[Formatted]:
    """Return errors of parsing or validating a document as dictionaries, which do not refer to the document."""
    return [
        _format(
            error,
            ErrorCode.GRAPHQL_PARSE_FAILED
            if isinstance(error, GraphQLSyntaxError)
            else ErrorCode.GRAPHQL_VALIDATION_FAILED,
        )
        for error in errors
    ]


def format_variable_errors(errors: Iterable[GraphQLError]) -> list[Formatted]:
    """Return errors of variables as dictionaries. Each message names the path inside the variable."""
    return [_format(error, ErrorCode.BAD_USER_INPUT) for error in errors]


def format_execution_errors(errors: Iterable[GraphQLError] | None) -> list[Formatted]:
    """Return errors of fields as dictionaries with their paths. Details of unexpected errors are replaced."""
    return [_format_field_error(error) for error in errors or ()]


def _format_field_error(error: GraphQLError) -> Formatted:
    original: BaseException | None = error
    while isinstance(original, GraphQLError) and original.original_error is not None:
        original = original.original_error
    if isinstance(original, GraphQLError):
        # graphql-core raises such errors itself: for an invalid argument, or for a null in a non-null field.
        if original.message.startswith("Argument "):
            return _format(error, ErrorCode.BAD_USER_INPUT)
        original = RuntimeError(original.message)
    assert isinstance(original, Exception)
    formatted = _format(error, ErrorCode.INTERNAL_SERVER_ERROR)
    formatted["message"] = _render_message(original)
    formatted["extensions"] = _render_extensions(original, path=error.path)
    return formatted


def _render_message(error: Exception) -> str:
    match error:
        case Refused():
            return error.problems[0].message
        case Unauthenticated() | Denied() | Throttled() | Unavailable() | OperationTooLarge():
            return str(error)
        case RecursionError():
            return "A value of the operation is nested too deeply. Send fewer levels."
    return "Punchcard failed unexpectedly. Report the error with its `reference` to the operator."


def _render_extensions(error: Exception, path: object = None) -> dict[str, Any]:
    match error:
        case Refused():
            problems = [{"code": p.code, "message": p.message, "field": list(p.field)} for p in error.problems]
            resume = {"oldestCursor": error.oldest_cursor} if isinstance(error, ExpiredCursor) else {}
            return {"code": ErrorCode.BAD_USER_INPUT, "problems": problems, **resume}
        case Throttled():
            return {"code": ErrorCode.THROTTLED, "retryAfterSeconds": error.retry_after_seconds}
        case DeniedToToken():
            return {"code": ErrorCode.FORBIDDEN, **({"field": list(error.field)} if error.field else {})}
        case OperationTooLarge():
            return {"code": ErrorCode.LIMIT_EXCEEDED, "limit": error.limit, "most": error.most}
        case RecursionError():
            return {"code": ErrorCode.BAD_USER_INPUT}
        case StoreRefused():
            # The store's log line has the reference, with the command and the collection.
            return {"code": ErrorCode.INTERNAL_SERVER_ERROR, "reference": error.reference}
    for kind, code in TRANSLATED.items():
        if isinstance(error, kind):
            return {"code": code}
    reference = secrets.token_hex(6)
    log.error("Unexpected error: reference=%s path=%s", reference, path, exc_info=error)
    return {"code": ErrorCode.INTERNAL_SERVER_ERROR, "reference": reference}


def _format(error: GraphQLError, code: ErrorCode) -> Formatted:
    message = error.message
    if len(message) > MAX_MESSAGE_CHARACTERS:
        message = message[:MAX_MESSAGE_CHARACTERS] + "…"
    formatted: Formatted = {"message": message}
    if error.locations:
        formatted["locations"] = [{"line": each.line, "column": each.column} for each in error.locations]
    if error.path:
        formatted["path"] = list(error.path)
    formatted["extensions"] = {"code": code}
    if error.extensions and "code" in error.extensions:
        formatted["extensions"] |= error.extensions
    return formatted
