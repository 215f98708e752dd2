"""What can go wrong, as data. The GraphQL edge and the workers each translate these classes in one place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class Code(StrEnum):
    """Why an input was refused."""

    INVALID = "INVALID"
    REQUIRED = "REQUIRED"
    TOO_LONG = "TOO_LONG"
    TOO_MANY = "TOO_MANY"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNKNOWN = "UNKNOWN"
    TAKEN = "TAKEN"
    CONFLICT = "CONFLICT"
    EVENT_REMOVED = "EVENT_REMOVED"
    CYCLE = "CYCLE"
    LIMIT = "LIMIT"
    UNSUPPORTED = "UNSUPPORTED"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to change in an input: a code, what to do about it, and the path of the value at fault."""

    code: Code
    message: str
    field: tuple[str, ...] = ()

    def under(self, *prefix: str) -> Problem:
        """The same problem, seen from further out: its path begins with `prefix`."""
        return replace(self, field=(*prefix, *self.field))


class PunchcardError(Exception):
    """Any failure that Punchcard knows by name."""


class Refused(PunchcardError):
    """The caller has to change something; repeating the same call cannot help. Holds one problem or more."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(f"{'.'.join(p.field) or 'input'}: {p.message}" for p in problems))
        self.problems = problems


class InvalidInput(Refused):
    """A value cannot be accepted."""

    def __init__(self, code: Code, message: str, *field: str) -> None:
        super().__init__(Problem(code, message, field))


class NotFound(Refused):
    """Something named by the input does not exist in this workspace."""

    def __init__(self, noun: str, *field: str) -> None:
        super().__init__(Problem(Code.UNKNOWN, f"No such {noun} in this workspace.", field))


class Conflict(Refused):
    """The input contradicts what is stored."""

    def __init__(self, message: str, *field: str, code: Code = Code.CONFLICT) -> None:
        super().__init__(Problem(code, message, field))


class LimitExceeded(Refused):
    """The input would exceed a limit of the product."""

    def __init__(self, message: str, *field: str) -> None:
        super().__init__(Problem(Code.LIMIT, message, field))


class Denied(PunchcardError):
    """The key is known and lacks the scope that the operation needs."""

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"This API key lacks the scope '{scope}'. Use a key that has it, or create one with createApiKey."
        )
        self.scope = scope


class Unauthenticated(PunchcardError):
    """No usable API key came with the request."""

    def __init__(self) -> None:
        super().__init__("Send a valid API key: 'Authorization: Bearer <key>'.")


class Throttled(PunchcardError):
    """Too many requests; safe to repeat after the time given."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"Too many requests. Repeat after {retry_after_seconds:g} s.")
        self.retry_after_seconds = retry_after_seconds


class Unavailable(PunchcardError):
    """A dependency did not answer; safe to repeat with the same keys."""

    def __init__(self, dependency: str) -> None:
        super().__init__(f"The {dependency} did not answer. It is safe to repeat the request with the same keys.")
        self.dependency = dependency


class NotYet(Unavailable):
    """What was asked to be waited for has not happened yet; safe to repeat."""

    def __init__(self) -> None:
        PunchcardError.__init__(self, "The events of this receipt are not all counted yet. Ask again in a moment.")
        self.dependency = "workers"


def refuse_if(problems: Iterable[Problem]) -> None:
    """Nothing when there are no problems; else raises `Refused` with all of them."""
    found = tuple(problems)
    if found:
        raise Refused(*found)
