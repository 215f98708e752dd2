"""Translation of exceptions into GraphQL errors: each class has a code, and an unexpected exception is masked."""

from __future__ import annotations

import logging

import pytest
from graphql import GraphQLError

from app.domain.errors import Code, Denied, InvalidInput, OperationTooLarge, Throttled, Unauthenticated, Unavailable
from app.graphql.errors import format_execution_errors, refuse_with


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (InvalidInput(Code.INVALID, "no", "first"), "BAD_USER_INPUT", None),
        (Denied("admin"), "FORBIDDEN", 403),
        (Unauthenticated(), "UNAUTHENTICATED", 401),
        (Throttled(2), "THROTTLED", 429),
        (Unavailable("store"), "UNAVAILABLE", 503),
        (OperationTooLarge("readBytes", 1, "no"), "LIMIT_EXCEEDED", None),
        (ValueError("secret"), "INTERNAL_SERVER_ERROR", 500),
    ],
)
def test_each_error_class_has_its_code_and_status(error: Exception, code: str, status: int | None) -> None:
    refusal = refuse_with(error)
    assert refusal.errors[0]["extensions"]["code"] == code
    assert refusal.status == status
    [formatted] = format_execution_errors([GraphQLError("x", path=["a"], original_error=error)])
    assert formatted["extensions"]["code"] == code
    assert formatted["path"] == ["a"]


def test_unexpected_exception_is_masked_and_logged_under_its_reference(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        [error] = format_execution_errors([GraphQLError("x", original_error=ValueError("the password is 1234"))])
    assert "1234" not in str(error)
    assert error["extensions"]["reference"] in caplog.text
    assert "1234" in caplog.text


def test_problems_of_an_error_keep_their_codes_and_paths() -> None:
    [error] = format_execution_errors(
        [GraphQLError("x", original_error=InvalidInput(Code.OUT_OF_RANGE, "no", "filter", "a"))]
    )
    assert error["extensions"]["problems"] == [{"code": "OUT_OF_RANGE", "message": "no", "field": ["filter", "a"]}]


def test_executor_errors_about_arguments_and_nulls_get_different_codes() -> None:
    """An invalid argument is the client's mistake. A null in a non-null field is a bug of the server."""
    errors = format_execution_errors(
        [GraphQLError("Argument 'first' has invalid value: x"), GraphQLError("Cannot return null for non-nullable")]
    )
    assert [error["extensions"]["code"] for error in errors] == ["BAD_USER_INPUT", "INTERNAL_SERVER_ERROR"]
