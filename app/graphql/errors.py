"""The one translator of errors at the GraphQL edge: what each class becomes, and what nobody outside may read."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from graphql import GraphQLError, GraphQLSyntaxError

from app.domain.errors import Denied, Refused, Throttled, Unauthenticated, Unavailable

log = logging.getLogger(__name__)

Formatted = dict[str, Any]


class ErrorCode(StrEnum):
    """`extensions.code` of a top-level error; the names are Apollo's where it has one."""

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


TRANSLATED: dict[type[Exception], ErrorCode] = {
    Refused: ErrorCode.BAD_USER_INPUT,
    Unauthenticated: ErrorCode.UNAUTHENTICATED,
    Denied: ErrorCode.FORBIDDEN,
    Throttled: ErrorCode.THROTTLED,
    Unavailable: ErrorCode.UNAVAILABLE,
}
"""Each error class of the domain as a top-level error. In mutations `Refused` becomes `userErrors` before it gets here."""

STATUS: dict[ErrorCode, int] = {
    # Not a failure but a question, and clients listen to the answer only under this status.
    ErrorCode.PERSISTED_QUERY_NOT_FOUND: 200,
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.THROTTLED: 429,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.OPERATION_TIMEOUT: 504,
    ErrorCode.INTERNAL_SERVER_ERROR: 500,
}
"""The HTTP status of a request refused for such a reason, whatever media type was asked for."""


class RequestRefused(Exception):
    """A request that was not executed: there is no `data`, only errors."""

    def __init__(self, errors: Sequence[Formatted], retry_after_seconds: float | None = None) -> None:
        super().__init__(errors[0]["message"])
        self.errors = list(errors)
        self.retry_after_seconds = retry_after_seconds

    @property
    def status(self) -> int | None:
        """The HTTP status that the first error asks for, or None where the media type decides."""
        return STATUS.get(self.errors[0]["extensions"]["code"])

    @property
    def body(self) -> dict[str, Any]:
        """The response: errors, and no `data` key."""
        return {"errors": self.errors}


def refuse(code: ErrorCode, message: str, **extensions: object) -> RequestRefused:
    """A refusal with one error that has no place in the document."""
    return RequestRefused([{"message": message, "extensions": {"code": code, **extensions}}])


def refuse_with(error: Exception) -> RequestRefused:
    """The refusal that an exception raised before execution stands for."""
    seconds = error.retry_after_seconds if isinstance(error, Throttled) else None
    return RequestRefused([{"message": _message(error), "extensions": _extensions(error)}], seconds)


def document_errors(errors: Iterable[GraphQLError]) -> list[Formatted]:
    """Errors of parsing or validating a document, with nothing of the document in them."""
    return [
        _formatted(
            error,
            ErrorCode.GRAPHQL_PARSE_FAILED
            if isinstance(error, GraphQLSyntaxError)
            else ErrorCode.GRAPHQL_VALIDATION_FAILED,
        )
        for error in errors
    ]


def variable_errors(errors: Iterable[GraphQLError]) -> list[Formatted]:
    """Errors of coercing variables; the message names the path inside the variable."""
    return [_formatted(error, ErrorCode.BAD_USER_INPUT) for error in errors]


def execution_errors(errors: Iterable[GraphQLError] | None) -> list[Formatted]:
    """Errors of fields, each with its path; what is not known by name is masked."""
    return [_field_error(error) for error in errors or ()]


def _field_error(error: GraphQLError) -> Formatted:
    original: BaseException | None = error
    while isinstance(original, GraphQLError) and original.original_error is not None:
        original = original.original_error
    if isinstance(original, GraphQLError):
        # The executor's own errors: an argument the caller got wrong, or a null where the schema promises a value.
        if original.message.startswith("Argument "):
            return _formatted(error, ErrorCode.BAD_USER_INPUT)
        original = RuntimeError(original.message)
    assert isinstance(original, Exception)
    answer = _formatted(error, ErrorCode.INTERNAL_SERVER_ERROR)
    answer["message"] = _message(original)
    answer["extensions"] = _extensions(original, at=error.path)
    return answer


def _message(error: Exception) -> str:
    match error:
        case Refused():
            return error.problems[0].message
        case Unauthenticated() | Denied() | Throttled() | Unavailable():
            return str(error)
        case RecursionError():
            return "The value is nested too deeply."
    return "Something went wrong here. If you report it, please give the reference."


def _extensions(error: Exception, at: object = None) -> dict[str, Any]:
    match error:
        case Refused():
            problems = [{"code": p.code, "message": p.message, "field": list(p.field)} for p in error.problems]
            return {"code": ErrorCode.BAD_USER_INPUT, "problems": problems}
        case Throttled():
            return {"code": ErrorCode.THROTTLED, "retryAfterSeconds": error.retry_after_seconds}
        case RecursionError():
            return {"code": ErrorCode.BAD_USER_INPUT}
    for kind, code in TRANSLATED.items():
        if isinstance(error, kind):
            return {"code": code}
    reference = secrets.token_hex(6)
    log.error("Unexpected error %s at %s", reference, at, exc_info=error)
    return {"code": ErrorCode.INTERNAL_SERVER_ERROR, "reference": reference}


def _formatted(error: GraphQLError, code: ErrorCode) -> Formatted:
    answer: Formatted = {"message": error.message}
    if error.locations:
        answer["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
    if error.path:
        answer["path"] = list(error.path)
    answer["extensions"] = {"code": code}
    if error.extensions and "code" in error.extensions:
        answer["extensions"] |= error.extensions
    return answer
