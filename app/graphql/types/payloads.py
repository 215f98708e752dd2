"""userErrors: what a mutation refused, in its payload and not among the top-level errors."""

from __future__ import annotations

from collections.abc import Iterable

import strawberry

from app.domain.errors import Problem
from app.telemetry import metrics

from .enums import UserErrorCode


@strawberry.type
class UserError:
    """Something to change in the input."""

    code: UserErrorCode = strawberry.field(description="Why it was refused.")
    message: str = strawberry.field(description="What to do about it, for people.")
    field: list[str] | None = strawberry.field(
        description="The path of the value at fault inside `input`; absent for the input as a whole."
    )


def user_errors(problems: Iterable[Problem], *under: str) -> list[UserError]:
    """The problems as userErrors, their paths seen from `input`."""
    found = list(problems)
    for problem in found:
        metrics.USER_ERRORS.labels(problem.code).inc()
    return user_errors_of(found, *under)


def user_errors_of(problems: Iterable[Problem], *under: str) -> list[UserError]:
    """The same, for what was refused and counted before."""
    return [UserError(code=p.code, message=p.message, field=[*under, *p.field] or None) for p in problems]
