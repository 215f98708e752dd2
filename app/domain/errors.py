"""Error classes, which carry data. The GraphQL layer and the workers each translate them in one place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class Code(StrEnum):
    """Reason why an input was refused. The message beside the code says what to change."""

    INVALID = "INVALID"
    REQUIRED = "REQUIRED"
    TOO_LONG = "TOO_LONG"
    TOO_MANY = "TOO_MANY"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNKNOWN = "UNKNOWN"
    TAKEN = "TAKEN"
    CONFLICT = "CONFLICT"
    EVENT_REMOVED = "EVENT_REMOVED"
    CURSOR_EXPIRED = "CURSOR_EXPIRED"
    CYCLE = "CYCLE"
    LIMIT = "LIMIT"
    UNSUPPORTED = "UNSUPPORTED"
    POINTS_KEPT = "POINTS_KEPT"
    CAUSED_BY_RULE = "CAUSED_BY_RULE"
    NOT_COUNTED = "NOT_COUNTED"


CODE_MEANINGS: Mapping[str, str] = {
    Code.INVALID: "The value has the wrong form, or does not fit another value of the input. Correct it as `message` says.",
    Code.REQUIRED: "A value is missing. Add it at the path in `field`.",
    Code.TOO_LONG: "A text, a JSON value, a file or the fraction of a number is too long. Shorten it.",
    Code.TOO_MANY: "A list has too many items, or a query would read too many events. Send fewer items or narrow the query.",
    Code.OUT_OF_RANGE: "A number, an instant or a cursor lies outside its bounds. Send a value within them; see `message`.",
    Code.UNKNOWN: "Nothing has this name or id, or a URL does not answer. Correct it, or create first what it names.",
    Code.TAKEN: "Another object has this name. Choose another name, or change that object.",
    Code.CONFLICT: "The input contradicts stored data. Or another client changed the object at the same time, or another"
    " item of an atomic batch was rejected. Read the stored data, then decide what to send.",
    Code.EVENT_REMOVED: "The event with this identity, or the event to correct, was removed for good. Do not send it again.",
    Code.CURSOR_EXPIRED: "The feed does not continue after this cursor: the data was restored from a backup, or the front of"
    " the feed was removed. Continue after the cursor that `message` names; the error has it as `oldestCursor`.",
    Code.CYCLE: "Segments or tiers would refer to each other in a circle, or a rule would trigger itself without end."
    " `message` says which reference to remove, or how to bound the rule.",
    Code.LIMIT: "The input or the workspace would exceed a limit of Punchcard. Send less, or archive or delete something.",
    Code.UNSUPPORTED: "Punchcard does not offer this combination of values. Choose another one, as `message` says.",
    Code.POINTS_KEPT: "Only in `warnings`: a refund or credit takes back money, but not the points that were sent with the"
    " event that it corrects. Record negative points with `correctionOf` if the points are to be taken back, too.",
    Code.CAUSED_BY_RULE: "A rule made this event, so it can be neither corrected nor deleted. Correct or delete its cause.",
    Code.NOT_COUNTED: "The event to correct was declined, so it counts nowhere. There is nothing to correct.",
}
"""Meaning of each code and what a client does next. The schema and the reference page publish these texts."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem of an input: its code, a message that says what to change, and the path of the value."""

    code: Code
    message: str
    field: tuple[str, ...] = ()

    def with_prefix(self, *prefix: str) -> Problem:
        """Return the problem with `prefix` before its path, for an input that contains the checked one."""
        return replace(self, field=(*prefix, *self.field))


class PunchcardError(Exception):
    """Base class of the errors that Punchcard raises on purpose. Any other exception is a bug."""


class Refused(PunchcardError):
    """Refusal of an input, with at least one problem. A retry fails again until the caller changes the input."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(f"{'.'.join(p.field) or 'input'}: {p.message}" for p in problems))
        self.problems = problems


class InvalidInput(Refused):
    """Refusal of one value."""

    def __init__(self, code: Code, message: str, *field: str) -> None:
        super().__init__(Problem(code, message, field))


class ExpiredCursor(InvalidInput):
    """Refusal of a cursor after which the feed does not continue. Readers continue after `oldest_cursor`."""

    def __init__(self, oldest_cursor: str, *field: str) -> None:
        message = f"The feed does not continue after this cursor. Continue after the cursor {oldest_cursor}."
        super().__init__(Code.CURSOR_EXPIRED, message, *field)
        self.oldest_cursor = oldest_cursor


class NotFound(Refused):
    """Refusal of an input that names an object which does not exist in the workspace."""

    def __init__(self, noun: str, *field: str) -> None:
        super().__init__(Problem(Code.UNKNOWN, f"No such {noun} in this workspace. Check the id or key.", field))


class Conflict(Refused):
    """Refusal of an input that contradicts stored data."""

    def __init__(self, message: str, *field: str, code: Code = Code.CONFLICT) -> None:
        super().__init__(Problem(code, message, field))


class LimitExceeded(Refused):
    """Refusal of an input that would exceed a limit of Punchcard."""

    def __init__(self, message: str, *field: str) -> None:
        super().__init__(Problem(Code.LIMIT, message, field))


class Denied(PunchcardError):
    """Error for a valid API key that lacks the scope of the operation."""

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"This API key lacks the scope '{scope}'. Use a key that has it, or create one with createApiKey."
        )
        self.scope = scope


class DeniedToToken(Denied):
    """Error for what the holder of a token for one pass may not do. `field` is the path of the input at fault."""

    def __init__(self, message: str, *field: str) -> None:
        PunchcardError.__init__(self, message)
        self.field = field


class Unauthenticated(PunchcardError):
    """Error for a request without a valid API key or token."""

    def __init__(self) -> None:
        super().__init__("Send a valid API key or token: 'Authorization: Bearer <key>'.")


class Throttled(PunchcardError):
    """Error for too many requests. The caller may retry after `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"Too many requests. Retry after {retry_after_seconds:g} s.")
        self.retry_after_seconds = retry_after_seconds


class OperationTooLarge(PunchcardError):
    """Error for an operation that reads, examines or answers more than one operation may. `limit` names the limit."""

    def __init__(self, limit: str, most: int, message: str) -> None:
        super().__init__(message)
        self.limit = limit
        self.most = most


class Unavailable(PunchcardError):
    """Error for a dependency that did not answer. A retry with the same ids and keys is safe.

    `cause` is the reason for operators, as far as it is known. It may contain addresses, so the API never shows it.
    """

    def __init__(self, dependency: str, cause: str = "") -> None:
        super().__init__(f"The {dependency} did not answer. Retry with the same ids and keys; a retry is safe.")
        self.dependency = dependency
        self.cause = cause

    def describe(self) -> str:
        """Return the message for operators, with the cause."""
        message = f"The {self.dependency} did not answer. Check that it runs and that its address is correct."
        return f"{message} The cause: {self.cause}" if self.cause else message


class PassesChanged(Unavailable):
    """Error for a stream with a token for one pass, when passes were merged. A new stream follows all of them."""

    def __init__(self) -> None:
        super().__init__("stream")
        self.args = ("The pass was merged with another one. Follow it again after the last cursor.",)


class StoreRefused(PunchcardError):
    """Error for a command that the store refuses for good. A retry fails again until an operator removes the cause.

    `code` and `code_name` are those of MongoDB; the driver's own refusals have no code. `reference` names the line of the
    log with the command and the collection. None of them contains a value.
    """

    def __init__(self, code: int | None, code_name: str, reference: str) -> None:
        self.code, self.code_name, self.reference = code, code_name, reference
        number = "" if code is None else f" (code {code})"
        super().__init__(f"The store refused a command: {code_name}{number}. {REFUSAL_ADVICE.get(code, '')}".rstrip())


STORE_FAILURES = (Unavailable, StoreRefused)
"""What a query of the store raises if the store does not answer, or refuses."""

REFUSAL_ADVICE: Mapping[int | None, str] = {
    13: "Give the user of MONGODB_URI the role readWrite on the database.",
    18: "Check the user, the password and the authSource in MONGODB_URI.",
    85: "An index with other options has the name or the keys of a required index. Drop that index.",
    86: "An index with other options has the name or the keys of a required index. Drop that index.",
    8000: "Check the user and the password in MONGODB_URI.",
}
"""What an operator does about a refusal, by the code of MongoDB."""


class NotYet(Unavailable):
    """Error for a read with a receipt whose events are not all folded yet. A retry is safe."""

    def __init__(self) -> None:
        super().__init__("workers")
        self.args = ("Some events of this receipt are not counted yet. Retry in a moment.",)


def refuse_if(problems: Iterable[Problem]) -> None:
    """Raise `Refused` with all problems, if there are any."""
    found = tuple(problems)
    if found:
        raise Refused(*found)
