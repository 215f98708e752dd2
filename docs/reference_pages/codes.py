"""Tables of codes, read from app/domain/errors.py, app/graphql/errors.py and the schema."""

from __future__ import annotations

import json

from graphql import GraphQLEnumType

from app.domain.errors import CODE_MEANINGS, Code, InvalidInput, PunchcardError, Throttled
from app.graphql.errors import EXPLANATIONS, STATUS, ErrorCode, refuse_with
from app.graphql.protocol.bodies import PREFLIGHT_HEADERS
from app.graphql.protocol.negotiation import DOCUMENT_ERROR_STATUS, MediaType
from app.graphql.schema import schema

from .markdown import block, code, table

MORE_STATUSES = {ErrorCode.LIMIT_EXCEEDED: "413", ErrorCode.BAD_REQUEST: "404, 405, 406, 408, 409, 415"}
"""Statuses of a code for requests without an operation, which the template explains."""


def top_level_errors() -> str:
    """Return a table of each code with its HTTP status, meaning and whether a client sends the request again."""
    rows = ((code(each), _status(each), EXPLANATIONS[each].meaning, EXPLANATIONS[each].retry) for each in ErrorCode)
    return table(("code", "HTTP status", "meaning", "send it again?"), rows)


def document_status() -> str:
    """Return the words for the status of a document that is refused."""
    strict, lenient = (DOCUMENT_ERROR_STATUS[media] for media in (MediaType.GRAPHQL, MediaType.JSON))
    return f"{strict} if the answer is `{MediaType.GRAPHQL}`, {lenient} otherwise"


def user_errors() -> str:
    """Return a table of each code of userErrors with its meaning and the next step."""
    return table(("code", "meaning and next step"), ((code(each), CODE_MEANINGS[each]) for each in Code))


def outcomes() -> str:
    """Return a table of the outcomes of items, as the schema describes them."""
    kind = schema.type_map["RecordStatus"]
    assert isinstance(kind, GraphQLEnumType)
    rows = ((code(name), value.description or "") for name, value in kind.values.items())
    return table(("status", "meaning"), rows)


def throttled_example() -> str:
    """Return the answer to a request that the budget does not cover."""
    return _answer(Throttled(2.5))


def problems_example() -> str:
    """Return the error of a query with an argument that is not accepted."""
    return _answer(InvalidInput(Code.OUT_OF_RANGE, "`first` must be between 0 and 250.", "first"))


def preflight_headers() -> str:
    """Return the headers of which an upload has one."""
    return ", ".join(code(name) for name in PREFLIGHT_HEADERS)


def _answer(error: PunchcardError) -> str:
    return block("json", json.dumps({"errors": refuse_with(error).errors}, indent=2))


def _status(error: ErrorCode) -> str:
    either = " or ".join(str(status) for status in sorted(set(DOCUMENT_ERROR_STATUS.values())))
    statuses = (str(STATUS.get(error, either)), MORE_STATUSES.get(error, ""))
    return ", ".join(status for status in statuses if status)
