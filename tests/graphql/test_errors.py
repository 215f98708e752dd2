"""The translator: every class has its code, and what is not known by name is masked."""

from __future__ import annotations

import logging

import pytest
from graphql import GraphQLError

from app.domain.errors import Code, Denied, InvalidInput, Throttled, Unauthenticated, Unavailable
from app.graphql.errors import execution_errors, refuse_with


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (InvalidInput(Code.INVALID, "no", "first"), "BAD_USER_INPUT", None),
        (Denied("admin"), "FORBIDDEN", 403),
        (Unauthenticated(), "UNAUTHENTICATED", 401),
        (Throttled(2), "THROTTLED", 429),
        (Unavailable("store"), "UNAVAILABLE", 503),
        (ValueError("secret"), "INTERNAL_SERVER_ERROR", 500),
    ],
)
def test_each_class_has_its_code_and_status(error: Exception, code: str, status: int | None) -> None:
    refusal = refuse_with(error)
    assert refusal.errors[0]["extensions"]["code"] == code
    assert refusal.status == status
    [formatted] = execution_errors([GraphQLError("x", path=["a"], original_error=error)])
    assert formatted["extensions"]["code"] == code
    assert formatted["path"] == ["a"]


def test_a_bug_is_masked_and_logged_under_the_reference_it_answers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        [error] = execution_errors([GraphQLError("x", original_error=ValueError("the password is 1234"))])
    assert "1234" not in str(error)
    assert error["extensions"]["reference"] in caplog.text
    assert "1234" in caplog.text


def test_problems_keep_their_codes_and_paths() -> None:
    [error] = execution_errors([GraphQLError("x", original_error=InvalidInput(Code.OUT_OF_RANGE, "no", "filter", "a"))])
    assert error["extensions"]["problems"] == [{"code": "OUT_OF_RANGE", "message": "no", "field": ["filter", "a"]}]


def test_an_executors_own_complaint_about_an_argument_is_the_callers_and_about_a_null_is_ours() -> None:
    errors = execution_errors(
        [GraphQLError("Argument 'first' has invalid value: x"), GraphQLError("Cannot return null for non-nullable")]
    )
    assert [error["extensions"]["code"] for error in errors] == ["BAD_USER_INPUT", "INTERNAL_SERVER_ERROR"]
