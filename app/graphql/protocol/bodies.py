"""Bodies of HTTP requests: read within size limits, decoded, and with uploaded files inserted into the variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request as HttpRequest
from starlette.types import Message, Receive

from app.graphql.errors import ErrorCode, refuse
from app.graphql.execution.requests import decode_json, insert_files

PREFLIGHT_HEADERS = ("apollo-require-preflight", "graphql-require-preflight", "x-apollo-operation-name")
MAX_FILES = 10


class TransportError(Exception):
    """An HTTP request that is refused before its operation is parsed, with the HTTP status of the response."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


@dataclass(frozen=True)
class BodyLimits:
    """Size limits of bodies in bytes: of a plain request, and of a request with files."""

    plain_bytes: int = 4_194_304
    upload_bytes: int = 1_073_741_824


@dataclass(frozen=True, slots=True)
class Body:
    """Body of a POST: the decoded JSON value. `uploads` is true if uploaded files were inserted into it."""

    raw: object
    uploads: bool = False


async def read_body(request: HttpRequest, limits: BodyLimits) -> Body:
    """Read and decode the body of a POST. Raises TransportError, RequestRefused (BAD_REQUEST) and ClientDisconnect."""
    content_type, _, parameters = request.headers.get("content-type", "").partition(";")
    match content_type.strip().lower():
        case "application/json":
            if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
                raise TransportError(415, "The charset must be UTF-8.")
            return Body(_decode(await read_plain_body(request, limits.plain_bytes), "The body"))
        case "multipart/form-data":
            return await _read_upload(request, limits)
    raise TransportError(
        415, "The content type must be application/json, or multipart/form-data for a request with files."
    )


async def read_plain_body(request: HttpRequest, max_bytes: int) -> bytes:
    """Read a body of up to `max_bytes` bytes, without files. Raises TransportError and ClientDisconnect."""
    chunks: list[bytes] = []
    size = 0
    _check_length(request, max_bytes)
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


async def _read_upload(request: HttpRequest, limits: BodyLimits) -> Body:
    if not any(name in request.headers for name in PREFLIGHT_HEADERS):
        raise TransportError(400, f"A request with files needs one of the headers {', '.join(PREFLIGHT_HEADERS)}.")
    _check_length(request, limits.upload_bytes)
    counted = HttpRequest(request.scope, _limit_size(request.receive, limits.upload_bytes))
    try:
        form = await counted.form(max_files=MAX_FILES, max_fields=2, max_part_size=limits.plain_bytes)
    except MultiPartException as error:
        raise TransportError(400, error.message) from error
    except HTTPException as error:  # Starlette raises this error inside one of its applications
        raise TransportError(error.status_code, error.detail) from error
    files: dict[str, object] = {}
    texts: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            texts[name] = value
        else:
            files[name] = value
    operations = _decode(texts.get("operations", "").encode(), "'operations'")
    file_map = _decode(texts.get("map", "{}").encode(), "'map'")
    return Body(insert_files(operations, file_map, files), uploads=True)


def _decode(raw: bytes, name: str) -> Any:
    try:
        return decode_json(raw)
    except ValueError:
        raise refuse(ErrorCode.BAD_REQUEST, f"{name} is not JSON in UTF-8, or is nested too deeply.") from None


def _check_length(request: HttpRequest, max_bytes: int) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > max_bytes:
        raise _too_large(max_bytes)


def _limit_size(receive: Receive, max_bytes: int) -> Receive:
    size = 0

    async def receive_within_limit() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > max_bytes:
            raise _too_large(max_bytes)
        return message

    return receive_within_limit


def _too_large(max_bytes: int) -> TransportError:
    return TransportError(413, f"The body is larger than {max_bytes} bytes. Send less at once.")
