"""Requests as they arrive over HTTP or a socket: what GraphQL over HTTP says they may look like, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from app.graphql.errors import ErrorCode, refuse
from app.graphql.types.scalars import Number

MAX_ID = 255
_decoder = json.JSONDecoder(parse_float=Number, parse_constant=float)


@dataclass(frozen=True, slots=True)
class Request:
    """One operation to run: the document, which of its operations, its variables, and whether files came with it.

    `query` is empty where the document is only named: by the id of a trusted one, or by its hash. `operation_id` is what
    its responses are called where several operations share a stream.
    """

    query: str
    operation_name: str | None = None
    variables: dict[str, Any] | None = None
    uploads: bool = False
    sha256: str | None = None
    document_id: str | None = None
    operation_id: str | None = None


def decode_json(raw: bytes | str) -> Any:
    """The JSON value; numbers keep their digits, NaN and Infinity are values for the checks behind to refuse.

    Raises ValueError for what is not JSON in UTF-8, or nested too deeply to read.
    """
    try:
        return _decoder.decode(raw if isinstance(raw, str) else raw.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def encode_json(value: Any) -> bytes:
    """The value as JSON in UTF-8."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # Unpaired surrogates, which an error message may quote, have no UTF-8; JSON can still spell them.
        return json.dumps(value).encode()


def parse_request(raw: object, *, uploads: bool = False) -> Request:
    """The request in the decoded body of a POST or a `subscribe` message. Raises RequestRefused: BAD_REQUEST."""
    if isinstance(raw, list):
        raise refuse(ErrorCode.BAD_REQUEST, "Batches are not accepted; send one operation a request.")
    if not isinstance(raw, dict):
        raise refuse(ErrorCode.BAD_REQUEST, "Send a JSON object with 'query' and, if you like, 'variables'.")
    query, name, variables = raw.get("query"), raw.get("operationName"), raw.get("variables")
    extensions = raw.get("extensions")
    if extensions is not None and not isinstance(extensions, dict):
        raise refuse(ErrorCode.BAD_REQUEST, "'extensions' is an object.")
    sha256, document_id = _sha256(extensions or {}), raw.get("documentId")
    if document_id is not None and (not isinstance(document_id, str) or not document_id or query is not None):
        raise refuse(ErrorCode.BAD_REQUEST, "'documentId' is a text, and comes without 'query'.")
    operation_id = (extensions or {}).get("operationId")
    if operation_id is not None and (not isinstance(operation_id, str) or not 0 < len(operation_id) <= MAX_ID):
        raise refuse(ErrorCode.BAD_REQUEST, f"'operationId' is a text of up to {MAX_ID} characters.")
    named = sha256 is not None or document_id is not None
    if query is None and named:
        query = ""
    elif not isinstance(query, str) or not query.strip():
        raise refuse(ErrorCode.BAD_REQUEST, "Send the operation as text in 'query'.")
    if name is not None and not isinstance(name, str):
        raise refuse(ErrorCode.BAD_REQUEST, "'operationName' is a text.")
    if variables is not None and not isinstance(variables, dict):
        raise refuse(ErrorCode.BAD_REQUEST, "'variables' is an object.")
    return Request(query, name or None, variables, uploads, sha256, document_id, operation_id)


def _sha256(extensions: dict[str, Any]) -> str | None:
    persisted = extensions.get("persistedQuery")
    if persisted is None:
        return None
    named = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    if not isinstance(named, str) or not named:
        raise refuse(ErrorCode.BAD_REQUEST, "'persistedQuery' is an object with a 'sha256Hash'.")
    if persisted.get("version") != 1:
        raise refuse(ErrorCode.PERSISTED_QUERY_NOT_SUPPORTED, "PersistedQueryNotSupported")
    return named


def parse_query_string(parameters: Mapping[str, str]) -> Request:
    """The request in the parameters of a GET, `variables` and `extensions` in JSON. Raises RequestRefused."""
    raw: dict[str, Any] = dict(parameters)
    for name in ("variables", "extensions"):
        text = raw.pop(name, None)
        if text:
            try:
                raw[name] = decode_json(text)
            except ValueError:
                raise refuse(ErrorCode.BAD_REQUEST, f"'{name}' is not JSON.") from None
    return parse_request(raw)


def place_files(operations: object, places: object, files: Mapping[str, object]) -> object:
    """The operations of a multipart request with each file where the map says.

    Raises RequestRefused: BAD_REQUEST where the map names a file that did not come or a place that is not null.
    """
    if not isinstance(places, dict):
        raise refuse(ErrorCode.BAD_REQUEST, "'map' is an object from the name of a file to its places.")
    for name, paths in places.items():
        if name not in files or not isinstance(paths, list):
            raise refuse(ErrorCode.BAD_REQUEST, f"'map' speaks of the file '{name}', which did not come.")
        for path in paths:
            if not isinstance(path, str) or not _place(operations, path.split("."), files[name]):
                raise refuse(ErrorCode.BAD_REQUEST, f"'map' puts '{name}' where 'operations' has no null.")
    return operations


def _place(target: object, path: list[str], file: object) -> bool:
    *way, last = path
    for step in way:
        if isinstance(target, dict):
            target = target.get(step)
        elif isinstance(target, list) and (index := _index(step, target)) is not None:
            target = target[index]
        else:
            return False
    if isinstance(target, dict) and last in target and target[last] is None:
        target[last] = file
        return True
    if isinstance(target, list) and (index := _index(last, target)) is not None and target[index] is None:
        target[index] = file
        return True
    return False


def _index(step: str, items: list[object]) -> int | None:
    # As long as the longest that there is: Python refuses to read thousands of digits.
    plain = step.isascii() and step.isdecimal() and len(step) <= len(str(len(items)))
    return int(step) if plain and int(step) < len(items) else None
