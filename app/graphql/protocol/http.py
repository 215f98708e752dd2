"""GraphQL over HTTP: which operation a request asks for, how it is answered, and under which status.

Source of the rules: the GraphQL over HTTP specification, and the GraphQL multipart request specification. Keys travel
in the Authorization header only, never in cookies, so a foreign page cannot act for anybody; uploads ask for one more
header that a plain HTML form cannot send.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from graphql import OperationType
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.domain.errors import PunchcardError
from app.graphql.errors import ErrorCode, RequestRefused, refuse, refuse_with
from app.graphql.execution.defer import INCREMENTS
from app.graphql.execution.engine import Engine, OpenContext, OperationContext, Prepared
from app.graphql.execution.persisted import PersistedDocuments
from app.graphql.execution.requests import Request, encode_json, parse_query_string, parse_request
from app.telemetry import operations

from .bodies import BodyLimits, TransportError, read_body
from .multipart import PARTS
from .negotiation import DOCUMENT_ERROR_STATUS, STREAMS, MediaType, accepted_types, reads_increments
from .sse import EVENTS
from .sse_single_connection import MULTIPLEXED, TOKEN, Channels
from .streams import Framing, stream_response

ALLOWED = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
FRAMING: dict[MediaType, Framing] = {MediaType.EVENTS: EVENTS, MediaType.PARTS: PARTS}


class GraphQLHttp:
    """An ASGI application that answers one operation a request, or up to `max_batch` in a list."""

    def __init__(
        self,
        engine: Engine,
        open_context: OpenContext,
        persisted: PersistedDocuments,
        limits: BodyLimits | None = None,
        max_batch: int = 1,
    ) -> None:
        self._engine = engine
        self._open_context = open_context
        self._persisted = persisted
        self._limits = limits or BodyLimits()
        self._max_batch = max_batch
        self._channels = Channels()
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
            body = refuse(code, str(error)).body
            headers = {name.replace("_", "-"): value for name, value in error.headers.items()}
            response = _json(body, error.status, MediaType.JSON, headers)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _respond(self, request: HttpRequest) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"allow": ALLOWED})
        if request.method not in METHODS:
            raise TransportError(405, "Use POST, or GET for queries.", allow=ALLOWED)
        accepted = accepted_types(request.headers.get("accept"))
        if not accepted:
            raise TransportError(406, f"The response can be {', '.join(MediaType)}.")
        media = accepted[0]
        token = request.headers.get(TOKEN) or request.query_params.get("token")
        try:
            if token or request.method in ("PUT", "DELETE"):
                return await self._multiplexed(request, token or "", media)
            context = await self._context(request)
            if request.method == "POST":
                body = await read_body(request, self._limits)
                if isinstance(body.raw, list) and self._max_batch > 1:
                    return await self._batch(body.raw, body.uploads, request, media)
                operation = parse_request(body.raw, uploads=body.uploads)
            else:
                operation = parse_query_string(request.query_params)
            prepared = await self._prepared(operation, context)
            if prepared.kind is OperationType.SUBSCRIPTION:
                if not set(accepted) & set(STREAMS):
                    raise TransportError(
                        406, f"Subscriptions are answered as {' or '.join(STREAMS)}, or over WebSocket."
                    )
                media = next(each for each in accepted if each in STREAMS)
            _may_be_sent(prepared, request)
            if prepared.deferring and media not in STREAMS and reads_increments(request.headers.get("accept")):
                return stream_response(
                    self._engine.increments(prepared, context), INCREMENTS, leaving=self._until_leaving()
                )
            return await self._answer(prepared, context, media)
        except PunchcardError as error:
            return _refusal(refuse_with(error), media)
        except RequestRefused as refusal:
            return _refusal(refusal, media)

    async def _prepared(self, operation: Request, context: OperationContext) -> Prepared:
        operation = await self._persisted.completed(operation, context.actor)
        prepared = self._engine.prepare(operation)
        await self._persisted.keep(operation)
        return prepared

    async def _batch(self, items: list[object], uploads: bool, request: HttpRequest, media: MediaType) -> Response:
        """The responses of several operations, in order; they run one after the other, and each has its own fate."""
        if not 0 < len(items) <= self._max_batch:
            raise refuse(ErrorCode.BAD_REQUEST, f"A batch has 1 to {self._max_batch} operations.")
        bodies = []
        for item in items:
            with operations.observed("http", "batched") as operation:
                try:
                    context = await self._context(request)
                    prepared = await self._prepared(parse_request(item, uploads=uploads), context)
                    if prepared.kind is OperationType.SUBSCRIPTION:
                        raise refuse(ErrorCode.BAD_REQUEST, "Subscriptions do not come in batches.")
                    body = await self._engine.run(prepared, context)
                except RequestRefused as refusal:
                    body = refusal.body
                except Exception as error:  # noqa: BLE001  # a bug in one operation must not take the others' answers
                    body = refuse_with(error).body
                operation.answered(body)
                bodies.append(body)
        return _written(bodies, 200, MediaType.JSON if media in STREAMS else media)

    async def _multiplexed(self, request: HttpRequest, token: str, media: MediaType) -> Response:
        """The part of a request in graphql-sse's single connection mode: reserve, open, send an operation, stop one."""
        if request.method in ("GET", "POST") and media is MediaType.EVENTS:
            # Who has the token may listen: browsers' EventSource sends no Authorization. Operations are sent with it.
            opening = self._channels.find(token)
            if opening is None or opening.opened:
                raise TransportError(409 if opening else 404, "There is no reserved stream that waits for this token.")
            return stream_response(opening.open(), MULTIPLEXED, leaving=self._until_leaving())
        context = await self._context(request)
        if request.method == "PUT":
            return Response(self._channels.reserve(context.actor), 201, media_type="text/plain")
        channel = self._channels.find(token, context.actor)
        if channel is None:
            raise TransportError(404, "There is no stream of this token.")
        if request.method == "DELETE":
            channel.stop(request.query_params.get("operationId", ""))
            return Response(status_code=200)
        if request.method == "POST":
            body = await read_body(request, self._limits)
            operation = parse_request(body.raw, uploads=body.uploads)
        else:
            operation = parse_query_string(request.query_params)
        if operation.operation_id is None:
            raise TransportError(400, "Give the operation an id in 'extensions', as 'operationId'.")
        try:
            prepared = await self._prepared(operation, context)
            _may_be_sent(prepared, request)
            channel.start(operation.operation_id, self._engine.stream(prepared, context))
        except RequestRefused as refusal:
            # Anything below 400 tells these clients that it was accepted.
            return _json(refusal.body, max(refusal.status or 400, 400), MediaType.JSON)
        return Response(status_code=202)

    async def _context(self, request: HttpRequest) -> OperationContext:
        address = request.client.host if request.client else None
        context = await self._open_context(request.headers, address, request.headers.get("authorization"))
        context.resume_after = request.headers.get("last-event-id") or None
        return context

    async def _answer(self, prepared: Prepared, context: OperationContext, media: MediaType) -> Response:
        if media in STREAMS:
            bodies = self._engine.stream(prepared, context)
            return stream_response(bodies, FRAMING[media], leaving=self._until_leaving(), place=lambda: context.cursor)
        return _json(await self._engine.run(prepared, context), 200, media)

    def _until_leaving(self) -> asyncio.Future[None]:
        if self._leaving is None:
            self._leaving = asyncio.get_running_loop().create_future()
        return self._leaving


def _may_be_sent(prepared: Prepared, request: HttpRequest) -> None:
    if prepared.kind is OperationType.MUTATION and request.method != "POST":
        raise TransportError(405, "Mutations are sent by POST.", allow="POST")


def _refusal(refusal: RequestRefused, media: MediaType) -> Response:
    if media in STREAMS and refusal.status in (None, 200):
        return stream_response(_raising(refusal), FRAMING[media])
    headers: dict[str, str] = {}
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refusal.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, round(refusal.retry_after_seconds)))
    shown = MediaType.JSON if media in STREAMS else media
    return _json(refusal.body, refusal.status or DOCUMENT_ERROR_STATUS[media], shown, headers)


async def _raising(refusal: RequestRefused) -> AsyncGenerator[dict[str, Any], None]:
    raise refusal
    yield


def _json(body: dict[str, Any], status: int, media: MediaType, headers: dict[str, str] | None = None) -> Response:
    operations.current().answered(body)
    return _written(body, status, media, headers)


def _written(body: object, status: int, media: MediaType, headers: dict[str, str] | None = None) -> Response:
    content_type = f"{media.value}; charset=utf-8"
    return Response(encode_json(body), status, {"cache-control": "no-store", **(headers or {})}, content_type)
