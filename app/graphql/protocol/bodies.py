"""Bodies of requests over HTTP: read within limits, decoded, with files put where they belong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request as HttpRequest
from starlette.types import Message, Receive

from app.graphql.errors import ErrorCode, refuse
from app.graphql.execution.requests import decode_json, place_files

PREFLIGHT_HEADERS = ("apollo-require-preflight", "graphql-require-preflight", "x-apollo-operation-name")
MAX_FILES = 10


class TransportError(Exception):
    """A request refused before GraphQL saw it, with the HTTP status that says why."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


@dataclass(frozen=True)
class BodyLimits:
    """The largest bodies, in bytes: of a plain request, and of one with files."""

    plain: int = 4_194_304
    upload: int = 1_073_741_824


@dataclass(frozen=True, slots=True)
class Body:
    """What a POST sent: a decoded JSON value, and whether files came with it and lie in it."""

    raw: object
    uploads: bool = False


async def read_body(request: HttpRequest, limits: BodyLimits) -> Body:
    """The body of a POST. Raises TransportError, RequestRefused: BAD_REQUEST, and ClientDisconnect."""
    content_type, _, parameters = request.headers.get("content-type", "").partition(";")
    match content_type.strip().lower():
        case "application/json":
            if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
                raise TransportError(415, "Send UTF-8.")
            return Body(_decoded(await plain_body(request, limits.plain), "The body"))
        case "multipart/form-data":
            return await _uploaded(request, limits)
    raise TransportError(415, "Send application/json, or multipart/form-data with files.")


async def plain_body(request: HttpRequest, most: int) -> bytes:
    """The bytes of a body without files, at most so many. Raises TransportError, ClientDisconnect."""
    chunks: list[bytes] = []
    size = 0
    _check_length(request, most)
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        chunks.append(chunk)
    return b"".join(chunks)


async def _uploaded(request: HttpRequest, limits: BodyLimits) -> Body:
    if not any(name in request.headers for name in PREFLIGHT_HEADERS):
        raise TransportError(400, f"An upload carries one of the headers {', '.join(PREFLIGHT_HEADERS)}.")
    _check_length(request, limits.upload)
    counted = HttpRequest(request.scope, _counted(request.receive, limits.upload))
    try:
        form = await counted.form(max_files=MAX_FILES, max_fields=2, max_part_size=limits.plain)
    except MultiPartException as error:
        raise TransportError(400, error.message) from error
    except HTTPException as error:  # the same, where an application of Starlette is around
        raise TransportError(error.status_code, error.detail) from error
    files: dict[str, object] = {}
    texts: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            texts[name] = value
        else:
            files[name] = value
    operations = _decoded(texts.get("operations", "").encode(), "'operations'")
    places = _decoded(texts.get("map", "{}").encode(), "'map'")
    return Body(place_files(operations, places, files), uploads=True)


def _decoded(raw: bytes, what: str) -> Any:
    try:
        return decode_json(raw)
    except ValueError:
        raise refuse(ErrorCode.BAD_REQUEST, f"{what} is not JSON in UTF-8, or is nested too deeply.") from None


def _check_length(request: HttpRequest, most: int) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        raise _too_large(most)


def _counted(receive: Receive, most: int) -> Receive:
    size = 0

    async def counting() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise _too_large(most)
        return message

    return counting


def _too_large(most: int) -> TransportError:
    return TransportError(413, f"The body is larger than {most} bytes.")
