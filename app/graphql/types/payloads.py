"""userErrors: problems that the caller can correct, in the payload of a mutation instead of the top-level errors."""

from __future__ import annotations

from collections.abc import Iterable

import strawberry

from app.domain.errors import Problem
from app.telemetry import metrics

from .enums import UserErrorCode


@strawberry.type
class UserError:
    """Problem with the input that the caller can correct."""

    code: UserErrorCode = strawberry.field(description="Kind of the problem, for programs.")
    message: str = strawberry.field(
        description="What is wrong and what to do about it, for people. The text may change between versions."
    )
    field: list[str] | None = strawberry.field(
        description='Path of the value at fault, seen from `input`, for example ["events", "0", "amount"]. Null if '
        "the problem is the input as a whole."
    )


@strawberry.type(name="Warning")
class InputWarning:
    """Remark about an input that was accepted and looks like a mistake."""

    code: UserErrorCode = strawberry.field(description="Kind of the remark, for programs.")
    message: str = strawberry.field(
        description="What looks wrong and what to do about it, for people. The text may change between versions."
    )
    field: list[str] | None = strawberry.field(
        description='Path of the value, seen from `input`, for example ["criteria", "event", "types", "0"].'
    )


def warnings_of(problems: Iterable[Problem]) -> list[InputWarning]:
    """Return the problems as warnings."""
    return [InputWarning(code=p.code, message=p.message, field=list(p.field) or None) for p in problems]


def user_errors(problems: Iterable[Problem], *under: str) -> list[UserError]:
    """Return the problems as userErrors and count them in the metrics.

    `under` is the path from `input` to the item that the problems belong to.
    """
    listed = list(problems)
    for problem in listed:
        metrics.USER_ERRORS.labels(problem.code).inc()
    return user_errors_of(listed, *under)


def user_errors_of(problems: Iterable[Problem], *under: str) -> list[UserError]:
    """Return the problems as userErrors without counting them: for problems that were counted when they arose."""
    return [UserError(code=p.code, message=p.message, field=[*under, *p.field] or None) for p in problems]
