"""GraphQL over HTTP: negotiation, bodies, statuses, and server-sent events for subscriptions.

Source of the rules: the GraphQL over HTTP specification, the GraphQL multipart request specification, and graphql-sse's
"distinct connections" mode. Keys travel in the Authorization header only, never in cookies, so a foreign page cannot
act for anybody; uploads ask for one more header that a plain HTML form cannot send.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from graphql import OperationType
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app import operations
from app.domain.errors import PunchcardError

from .errors import ErrorCode, RequestRefused, refused, refused_by
from .execute import Engine, OpenContext, OperationContext, Prepared
from .persisted import Persisted
from .requests import Request, decode_json, encode_json, parse_query_string, parse_request, place_files
from .sse import event_stream

ALLOWED = "GET, POST, OPTIONS"
PREFLIGHT_HEADERS = ("apollo-require-preflight", "graphql-require-preflight", "x-apollo-operation-name")
MAX_FILES = 10


class MediaType(StrEnum):
    """What a response may be written as; the order is the server's preference among equals."""

    JSON = "application/json"
    GRAPHQL = "application/graphql-response+json"
    EVENTS = "text/event-stream"


DOCUMENT_ERROR_STATUS = {MediaType.JSON: 200, MediaType.GRAPHQL: 400, MediaType.EVENTS: 200}
"""The status of a request whose document or variables were refused: clients of the older type read 200 only."""


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


class GraphQLHttp:
    """An ASGI application that answers one operation a request."""

    def __init__(
        self, engine: Engine, open_context: OpenContext, persisted: Persisted, limits: BodyLimits | None = None
    ) -> None:
        self._engine = engine
        self._open_context = open_context
        self._persisted = persisted
        self._limits = limits or BodyLimits()
        self._leaving: asyncio.Future[None] | None = None

    async def leave(self) -> None:
        """Ends every stream, without the `complete` that would tell its client not to come back. Safe to repeat."""
        leaving = self._until_leaving()
        if not leaving.done():
            leaving.set_result(None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request."""
        request = HttpRequest(scope, receive)
        try:
            response = await self._respond(request)
        except TransportError as error:
            code = ErrorCode.LIMIT_EXCEEDED if error.status == 413 else ErrorCode.BAD_REQUEST
            body = refused(code, str(error)).body
            headers = {name.replace("_", "-"): value for name, value in error.headers.items()}
            response = _json(body, error.status, MediaType.JSON, headers)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _respond(self, request: HttpRequest) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"allow": ALLOWED})
        if request.method not in ("GET", "HEAD", "POST"):
            raise TransportError(405, "Use POST, or GET for queries.", allow=ALLOWED)
        accepted = accepted_types(request.headers.get("accept"))
        if not accepted:
            raise TransportError(406, f"The response can be {', '.join(MediaType)}.")
        media = accepted[0]
        try:
            context = await self._context(request)
            if request.method == "POST":
                operation = await self._posted(request)
            else:
                operation = parse_query_string(request.query_params)
            operation = await self._persisted.completed(operation, context.actor)
            prepared = self._engine.prepare(operation)
            await self._persisted.keep(operation)
            if prepared.kind is OperationType.SUBSCRIPTION:
                if MediaType.EVENTS not in accepted:
                    raise TransportError(406, "Subscriptions are answered as text/event-stream, or over WebSocket.")
                media = MediaType.EVENTS
            if prepared.kind is OperationType.MUTATION and request.method != "POST":
                raise TransportError(405, "Mutations are sent by POST.", allow="POST")
            return await self._answer(prepared, context, media)
        except PunchcardError as error:
            return _refusal(refused_by(error), media)
        except RequestRefused as refusal:
            return _refusal(refusal, media)

    async def _context(self, request: HttpRequest) -> OperationContext:
        address = request.client.host if request.client else None
        return await self._open_context(request.headers, address, request.headers.get("authorization"))

    async def _answer(self, prepared: Prepared, context: OperationContext, media: MediaType) -> Response:
        if media is MediaType.EVENTS:
            return event_stream(self._engine.stream(prepared, context), leaving=self._until_leaving())
        return _json(await self._engine.run(prepared, context), 200, media)

    def _until_leaving(self) -> asyncio.Future[None]:
        if self._leaving is None:
            self._leaving = asyncio.get_running_loop().create_future()
        return self._leaving

    async def _posted(self, request: HttpRequest) -> Request:
        content_type, _, parameters = request.headers.get("content-type", "").partition(";")
        match content_type.strip().lower():
            case "application/json":
                if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
                    raise TransportError(415, "Send UTF-8.")
                return parse_request(_decoded(await self._body(request), "The body"))
            case "multipart/form-data":
                return await self._uploaded(request)
        raise TransportError(415, "Send application/json, or multipart/form-data with files.")

    async def _body(self, request: HttpRequest) -> bytes:
        chunks: list[bytes] = []
        size = 0
        _check_length(request, self._limits.plain)
        async for chunk in request.stream():
            size += len(chunk)
            if size > self._limits.plain:
                raise _too_large(self._limits.plain)
            chunks.append(chunk)
        return b"".join(chunks)

    async def _uploaded(self, request: HttpRequest) -> Request:
        if not any(name in request.headers for name in PREFLIGHT_HEADERS):
            raise TransportError(400, f"An upload carries one of the headers {', '.join(PREFLIGHT_HEADERS)}.")
        _check_length(request, self._limits.upload)
        counted = HttpRequest(request.scope, _counted(request.receive, self._limits.upload))
        try:
            form = await counted.form(max_files=MAX_FILES, max_fields=2, max_part_size=self._limits.plain)
        except MultiPartException as error:
            raise TransportError(400, error.message) from error
        files: dict[str, object] = {}
        texts: dict[str, str] = {}
        for name, value in form.multi_items():
            if isinstance(value, str):
                texts[name] = value
            else:
                files[name] = value
        operations = _decoded(texts.get("operations", "").encode(), "'operations'")
        places = _decoded(texts.get("map", "{}").encode(), "'map'")
        return replace(parse_request(place_files(operations, places, files)), uploads=True)


def accepted_types(accept: str | None) -> list[MediaType]:
    """The types a client accepts, the best first; none for an Accept header that none of ours satisfies.

    Streams come after JSON unless a client wants nothing else: clients that can read both list both for every request.
    """
    if accept is None or not accept.strip():
        return [MediaType.JSON]
    quality: dict[MediaType, float] = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        q = next((_quality(p) for p in parameters if p.startswith("q=")), 1.0)
        for media in MediaType:
            if name == media:
                quality[media] = q
            elif name in ("*/*", f"{media.split('/')[0]}/*"):
                quality.setdefault(media, q / 1000 if media is MediaType.EVENTS else q)
    explicit = [part.split(";")[0].strip().lower() for part in accept.split(",")]

    def rank(media: MediaType) -> tuple[float, int]:
        if media is MediaType.EVENTS:
            return (0.0, len(explicit))
        # Among equals, what was asked for by name comes in the client's own order.
        return (-quality[media], explicit.index(media) if media in explicit else len(explicit))

    return sorted((media for media in MediaType if quality.get(media, 0) > 0), key=rank)


def _quality(parameter: str) -> float:
    try:
        return min(1.0, max(0.0, float(parameter[2:])))
    except ValueError:
        return 0.0


def _decoded(raw: bytes, what: str) -> Any:
    try:
        return decode_json(raw)
    except ValueError:
        raise refused(ErrorCode.BAD_REQUEST, f"{what} is not JSON in UTF-8, or is nested too deeply.") from None


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


def _refusal(refusal: RequestRefused, media: MediaType) -> Response:
    if media is MediaType.EVENTS and refusal.status in (None, 200):
        return event_stream(_raising(refusal))
    headers: dict[str, str] = {}
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refusal.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, round(refusal.retry_after_seconds)))
    shown = MediaType.JSON if media is MediaType.EVENTS else media
    return _json(refusal.body, refusal.status or DOCUMENT_ERROR_STATUS[media], shown, headers)


async def _raising(refusal: RequestRefused) -> AsyncGenerator[dict[str, Any], None]:
    raise refusal
    yield


def _json(body: dict[str, Any], status: int, media: MediaType, headers: dict[str, str] | None = None) -> Response:
    operations.current().answered(body)
    content_type = f"{media.value}; charset=utf-8"
    return Response(encode_json(body), status, {"cache-control": "no-store", **(headers or {})}, content_type)
