"""Bodies of HTTP requests: read within limits, decoded, and with uploaded files inserted into the variables."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request as HttpRequest
from starlette.types import Message, Receive

from app.domain.actors import WRITE
from app.domain.errors import DeniedToToken, PunchcardError
from app.graphql.errors import ErrorCode, refuse, refuse_with
from app.graphql.execution.engine import Engine, OperationContext
from app.graphql.execution.quotas import Quota
from app.graphql.execution.requests import decode_json, insert_files

from .body_stream import TransportError, limit_time

PREFLIGHT_HEADERS = ("apollo-require-preflight", "graphql-require-preflight", "x-apollo-operation-name")
MAX_FILES = 10
MAX_UPLOADS = 20
"""Requests with files that one process reads at once."""
MAX_UPLOADS_PER_KEY = 4
MAX_HELD_BYTES = 134_217_728
"""Bytes of bodies without files that one process holds at once. Decoded, they take up to 20 times as much memory."""
MAX_HELD_BYTES_PER_KEY = 33_554_432
_HOLD_BYTES = 65_536
_DISK_CHECK_BYTES = 1_048_576


@dataclass(frozen=True)
class BodyLimits:
    """Size limits of bodies in bytes: of a plain request, and of a request with files."""

    plain_bytes: int = 4_194_304
    upload_bytes: int = 1_073_741_824


class BodyReader:
    """Reader of the bodies that one process receives. It limits how much it holds at once for one client."""

    def __init__(self, engine: Engine, limits: BodyLimits) -> None:
        self._engine = engine
        self._limits = limits
        # A body of the largest size must fit.
        largest = 4 * limits.plain_bytes
        self._held = Quota(
            "bytes of request bodies", max(MAX_HELD_BYTES, 4 * largest), max(MAX_HELD_BYTES_PER_KEY, largest)
        )
        self._uploads = Quota("uploads", MAX_UPLOADS, MAX_UPLOADS_PER_KEY)

    async def read(self, request: HttpRequest, context: OperationContext, on_end: ExitStack) -> object:
        """Spend the points for the body of a POST, read it and return its JSON value. `on_end` is closed at the end.

        Uploaded files are inserted into the value.

        Raises TransportError, RequestRefused and ClientDisconnect.
        """
        content_type, _, parameters = request.headers.get("content-type", "").partition(";")
        match content_type.strip().lower():
            case "application/json":
                if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
                    raise TransportError(415, "The charset must be UTF-8.")
                return _decode(await self._read_json(request, context, on_end), "The body")
            case "multipart/form-data":
                return await self._read_upload(request, context, on_end)
        raise TransportError(
            415, "The content type must be application/json, or multipart/form-data for a request with files."
        )

    async def _read_json(self, request: HttpRequest, context: OperationContext, on_end: ExitStack) -> bytes:
        declared = check_length(request, self._limits.plain_bytes)
        if declared is not None:
            await self._engine.spend_on_text(context, declared)

        def hold(size: int) -> None:
            on_end.enter_context(self._held.acquire(context.actor, size))

        body = await read_plain_body(request, self._limits.plain_bytes, hold)
        if declared is None:
            await self._engine.spend_on_text(context, len(body))
        return body

    async def _read_upload(self, request: HttpRequest, context: OperationContext, on_end: ExitStack) -> object:
        if not any(name in request.headers for name in PREFLIGHT_HEADERS):
            raise TransportError(400, f"A request with files needs one of the headers {', '.join(PREFLIGHT_HEADERS)}.")
        declared = check_length(request, self._limits.upload_bytes) or 0
        try:
            # Only mutations accept files. Check the scope before the files are stored on disk.
            context.actor.require(WRITE)
            if context.actor.grant is not None:
                raise DeniedToToken("A token for one pass cannot send files.")
        except PunchcardError as error:
            raise refuse_with(error) from None
        await self._engine.spend_on_upload(context, declared)
        on_end.enter_context(self._uploads.acquire(context.actor))

        async def spend(size: int) -> None:
            await self._engine.spend_on_upload(context, size)

        receive = limit_time(request.receive)
        counted = HttpRequest(
            request.scope, _limit_upload(receive, self._limits.upload_bytes, paid_bytes=declared, spend=spend)
        )
        try:
            form = await counted.form(max_files=MAX_FILES, max_fields=2, max_part_size=self._limits.plain_bytes)
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
        await self._engine.spend_on_text(context, sum(map(len, texts.values())))
        operations = _decode(texts.get("operations", "").encode(), "'operations'")
        file_map = _decode(texts.get("map", "{}").encode(), "'map'")
        return insert_files(operations, file_map, files)


async def read_plain_body(
    request: HttpRequest, max_bytes: int, hold: Callable[[int], None] = lambda _size: None
) -> bytes:
    """Read a body of up to `max_bytes` bytes, without files. `hold` is called with the size of each part of it.

    Raises TransportError, ClientDisconnect, and what `hold` raises.
    """
    body = bytearray()
    held = 0
    check_length(request, max_bytes)
    async for chunk in HttpRequest(request.scope, limit_time(request.receive)).stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        if len(body) - held >= _HOLD_BYTES:
            hold(len(body) - held)
            held = len(body)
    hold(len(body) - held)
    return bytes(body)


def check_length(request: HttpRequest, max_bytes: int) -> int | None:
    """Return the length that the header declares, or None without one. Raises TransportError (413)."""
    length = request.headers.get("content-length")
    if length is None:
        return None
    if not length.isdecimal() or int(length) > max_bytes:
        raise _too_large(max_bytes)
    return int(length)


def _decode(raw: bytes, name: str) -> Any:
    try:
        return decode_json(raw)
    except ValueError:
        message = f"{name} is not JSON in UTF-8, is nested too deeply, or has a number that is too long."
        raise refuse(ErrorCode.BAD_REQUEST, message) from None


def _limit_upload(
    receive: Receive, max_bytes: int, *, paid_bytes: int, spend: Callable[[int], Awaitable[None]]
) -> Receive:
    """Return a `receive` that limits an upload by its size and by the free disk.

    It spends points for the bytes that arrive beyond `paid_bytes`.
    """
    size = checked = 0

    async def receive_within_limits() -> Message:
        nonlocal size, checked, paid_bytes
        message = await receive()
        size += len(message.get("body", b""))
        if size > max_bytes:
            raise _too_large(max_bytes)
        if size - checked >= _DISK_CHECK_BYTES:
            checked = size
            if size > paid_bytes:
                await spend(size - paid_bytes)
                paid_bytes = size
            # An upload may fill at most as much of the disk as it leaves free, so that several ones do not fill it.
            if size > shutil.disk_usage(tempfile.gettempdir()).free:
                raise refuse(
                    ErrorCode.UNAVAILABLE, "The API has too little disk space for this upload. Retry it later."
                )
        return message

    return receive_within_limits


def _too_large(max_bytes: int) -> TransportError:
    return TransportError(413, f"The body is larger than {max_bytes} bytes. Send less at once.")
