"""Requests over HTTP or WebSocket, decoded and checked by the rules of the GraphQL over HTTP specification."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from app.graphql.errors import ErrorCode, refuse

MAX_ID_CHARACTERS = 255
# Both callables are types written in C: a Python call for each number would cost a microsecond of the event loop.
_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=float)


@dataclass(frozen=True, slots=True)
class Request:
    """One operation to run, as a client sent it.

    `query` is empty if the client names the document instead: `document_id` is the id of a trusted document, `sha256`
    the hash of a persisted one. `operation_id` identifies the responses if several operations share one stream. With
    `explain`, the response says what was read for aggregations, in `extensions.plan`.
    """

    query: str
    operation_name: str | None = None
    variables: dict[str, Any] | None = None
    sha256: str | None = None
    document_id: str | None = None
    operation_id: str | None = None
    explain: bool = False


def decode_json(raw: bytes | str) -> Any:
    """Decode a JSON value, with all digits of its numbers: those with a point or an exponent become Decimals.

    NaN and Infinity are accepted here and rejected by later checks. Raises ValueError for text that is not JSON in
    UTF-8, or that is nested too deeply. So it does for a number that is too long, or whose exponent is too large.
    """
    try:
        return _decoder.decode(raw if isinstance(raw, str) else raw.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except InvalidOperation:
        raise ValueError("a number is out of range") from None


def encode_json(value: Any) -> bytes:
    """Return the value as JSON in UTF-8."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # An error message may quote an unpaired surrogate. UTF-8 cannot encode it, but a JSON escape can.
        return json.dumps(value).encode()


def parse_request(raw: object) -> Request:
    """Return the request in the decoded body of a POST or of a `subscribe` message.

    Raises RequestRefused: BAD_REQUEST.
    """
    if isinstance(raw, list):
        raise refuse(ErrorCode.BAD_REQUEST, "This API accepts no batches. Send each operation in its own request.")
    if not isinstance(raw, dict):
        raise refuse(ErrorCode.BAD_REQUEST, "The body must be a JSON object with 'query' and optional 'variables'.")
    query, name, variables = raw.get("query"), raw.get("operationName"), raw.get("variables")
    extensions = raw.get("extensions")
    if extensions is not None and not isinstance(extensions, dict):
        raise refuse(ErrorCode.BAD_REQUEST, "'extensions' must be an object.")
    sha256, document_id = _parse_sha256(extensions or {}), raw.get("documentId")
    if document_id is not None and (not isinstance(document_id, str) or not document_id or query is not None):
        raise refuse(ErrorCode.BAD_REQUEST, "'documentId' must be a text, and 'query' must be left out.")
    operation_id = (extensions or {}).get("operationId")
    if operation_id is not None and (
        not isinstance(operation_id, str) or not 0 < len(operation_id) <= MAX_ID_CHARACTERS
    ):
        raise refuse(ErrorCode.BAD_REQUEST, f"'operationId' must be a text of 1 to {MAX_ID_CHARACTERS} characters.")
    explain = (extensions or {}).get("explain", False)
    if not isinstance(explain, bool):
        raise refuse(ErrorCode.BAD_REQUEST, "'explain' in 'extensions' must be true or false.")
    is_named = sha256 is not None or document_id is not None
    if query is None and is_named:
        query = ""
    elif not isinstance(query, str) or not query.strip():
        raise refuse(ErrorCode.BAD_REQUEST, "Send the operation as text in 'query'.")
    if name is not None and not isinstance(name, str):
        raise refuse(ErrorCode.BAD_REQUEST, "'operationName' must be a text.")
    if variables is not None and not isinstance(variables, dict):
        raise refuse(ErrorCode.BAD_REQUEST, "'variables' must be an object.")
    return Request(
        query=query,
        operation_name=name or None,
        variables=variables,
        sha256=sha256,
        document_id=document_id,
        operation_id=operation_id,
        explain=explain,
    )


def _parse_sha256(extensions: dict[str, Any]) -> str | None:
    persisted = extensions.get("persistedQuery")
    if persisted is None:
        return None
    sha256 = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    if not isinstance(sha256, str) or not sha256:
        raise refuse(ErrorCode.BAD_REQUEST, "'persistedQuery' must be an object with a 'sha256Hash'.")
    if persisted.get("version") != 1:
        # Clients recognize the protocol of automatic persisted queries by this message and code.
        raise refuse(ErrorCode.PERSISTED_QUERY_NOT_SUPPORTED, "PersistedQueryNotSupported")
    return sha256


def parse_query_string(parameters: Mapping[str, str]) -> Request:
    """Return the request in the parameters of a GET, with `variables` and `extensions` as JSON.

    Raises RequestRefused: BAD_REQUEST.
    """
    raw: dict[str, Any] = dict(parameters)
    for name in ("variables", "extensions"):
        text = raw.pop(name, None)
        if text:
            try:
                raw[name] = decode_json(text)
            except ValueError:
                raise refuse(ErrorCode.BAD_REQUEST, f"'{name}' must be JSON.") from None
    return parse_request(raw)


def insert_files(operations: object, file_map: object, files: Mapping[str, object]) -> object:
    """Insert each file of a multipart request at the paths in `operations` that the part `map` gives.

    Raises RequestRefused: BAD_REQUEST if the map names a file that was not sent, or a path whose value is not null.
    """
    if not isinstance(file_map, dict):
        raise refuse(ErrorCode.BAD_REQUEST, "'map' must be an object from the names of files to lists of paths.")
    for name, paths in file_map.items():
        if name not in files or not isinstance(paths, list):
            message = f"'map' must give a list of paths for each file that was sent; the entry '{name}' does not."
            raise refuse(ErrorCode.BAD_REQUEST, message)
        for path in paths:
            if not isinstance(path, str) or not _insert_file(operations, path.split("."), files[name]):
                raise refuse(
                    ErrorCode.BAD_REQUEST, f"'map' gives a path for '{name}' at which 'operations' has no null."
                )
    return operations


def _insert_file(target: object, path: list[str], file: object) -> bool:
    *parents, last = path
    for step in parents:
        if isinstance(target, dict):
            target = target.get(step)
        elif isinstance(target, list) and (index := _parse_index(step, target)) is not None:
            target = target[index]
        else:
            return False
    if isinstance(target, dict) and last in target and target[last] is None:
        target[last] = file
        return True
    if isinstance(target, list) and (index := _parse_index(last, target)) is not None and target[index] is None:
        target[index] = file
        return True
    return False


def _parse_index(step: str, items: list[object]) -> int | None:
    # Check the length first: int() raises ValueError for a text of more than 4,300 digits.
    is_number = step.isascii() and step.isdecimal() and len(step) <= len(str(len(items)))
    return int(step) if is_number and int(step) < len(items) else None
