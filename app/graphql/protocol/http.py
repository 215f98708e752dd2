"""GraphQL over HTTP: parses requests, runs their operations and writes the responses with their HTTP status.

Sources: the GraphQL over HTTP specification and the GraphQL multipart request specification. The API reads keys only
from the Authorization header, never from cookies, so a foreign web page cannot act in the name of a user. Uploads need
one more header, which a plain HTML form cannot send.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack
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
from app.graphql.execution.quotas import Quota
from app.graphql.execution.requests import Request, encode_json, parse_query_string, parse_request
from app.telemetry import operations

from .bodies import BodyLimits, BodyReader
from .body_stream import TransportError
from .multipart import PARTS
from .negotiation import DOCUMENT_ERROR_STATUS, STREAMS, MediaType, accepts_increments, parse_accept
from .sse import EVENTS
from .sse_single_connection import MULTIPLEXED, TOKEN, Channels
from .streams import Framing, stream_response

ALLOWED = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
MAX_REQUESTS = 1_000
"""Requests that one process reads or runs at once. Subscriptions count only until they begin."""
MAX_REQUESTS_PER_KEY = 250
FRAMING: dict[MediaType, Framing] = {MediaType.EVENTS: EVENTS, MediaType.PARTS: PARTS}


class GraphQLHttp:
    """ASGI application that runs one operation for each request, or a list of up to `max_batch` operations."""

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
        self._bodies = BodyReader(engine, limits or BodyLimits())
        self._requests = Quota("requests", MAX_REQUESTS, MAX_REQUESTS_PER_KEY)
        self._max_batch = max_batch
        self._channels = Channels()
        self._shutdown_begun: asyncio.Future[None] | None = None

    async def shut_down(self) -> None:
        """End every stream without `complete`, so that its client reconnects. Safe to repeat."""
        shutdown = self._shutdown()
        if not shutdown.done():
            shutdown.set_result(None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request = HttpRequest(scope, receive)
        with ExitStack() as on_end:
            try:
                response = await self._respond(request, on_end)
            except TransportError as error:
                code = ErrorCode.LIMIT_EXCEEDED if error.status == 413 else ErrorCode.BAD_REQUEST
                body = refuse(code, str(error)).body
                headers = {name.replace("_", "-"): value for name, value in error.headers.items()}
                response = _json_response(body, error.status, MediaType.JSON, headers)
            except ClientDisconnect:
                return
            await response(scope, receive, send)

    async def _respond(self, request: HttpRequest, on_end: ExitStack) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"allow": ALLOWED})
        if request.method not in METHODS:
            raise TransportError(405, "The method must be POST, or GET for queries.", allow=ALLOWED)
        accepted = parse_accept(request.headers.get("accept"))
        if not accepted:
            raise TransportError(406, f"The Accept header must allow one of {', '.join(MediaType)}.")
        media = accepted[0]
        token = request.headers.get(TOKEN) or request.query_params.get("token")
        try:
            if token or request.method in ("PUT", "DELETE"):
                return await self._answer_single_connection(request, token or "", media, on_end)
            context = await self._create_context(request)
            return await self._run(request, context, accepted, on_end)
        except PunchcardError as error:
            return _refusal_response(refuse_with(error), media)
        except RequestRefused as refusal:
            return _refusal_response(refusal, media)

    async def _run(
        self, request: HttpRequest, context: OperationContext, accepted: list[MediaType], on_end: ExitStack
    ) -> Response:
        media = accepted[0]
        running = on_end.enter_context(ExitStack())
        running.enter_context(self._requests.acquire(context.actor))
        if request.method == "POST":
            body = await self._bodies.read(request, context, on_end)
            if isinstance(body, list) and self._max_batch > 1:
                return await self._answer_batch(body, request, media, context.spent_points)
            operation = parse_request(body)
        else:
            operation = await self._parse_query(request, context)
        prepared = await self._prepare(operation, context)
        if prepared.kind is OperationType.SUBSCRIPTION:
            if not set(accepted) & set(STREAMS):
                raise TransportError(406, f"For a subscription, accept {' or '.join(STREAMS)}, or use WebSocket.")
            media = next(each for each in accepted if each in STREAMS)
            # Another quota limits subscriptions.
            running.close()
        _check_method(prepared, request)
        if prepared.document_with_defer and media not in STREAMS and accepts_increments(request.headers.get("accept")):
            return stream_response(
                self._engine.stream_increments(prepared, context), INCREMENTS, shutdown=self._shutdown()
            )
        return await self._answer(prepared, context, media)

    async def _parse_query(self, request: HttpRequest, context: OperationContext) -> Request:
        await self._engine.spend_on_text(context, len(request.scope["query_string"]))
        return parse_query_string(request.query_params)

    async def _prepare(self, operation: Request, context: OperationContext) -> Prepared:
        operation = await self._persisted.complete(operation, context.actor)
        prepared = await self._engine.prepare_paid(operation, context)
        await self._persisted.keep(operation, context.actor)
        return prepared

    async def _answer_batch(self, items: list[object], request: HttpRequest, media: MediaType, paid: int) -> Response:
        """Run several operations one after the other and return their responses in order. Each may fail by itself."""
        if not 0 < len(items) <= self._max_batch:
            message = f"The batch has {len(items)} operations; between 1 and {self._max_batch} are allowed."
            raise refuse(ErrorCode.BAD_REQUEST, message)
        bodies = []
        for item in items:
            with operations.observe_operation("http", "batched") as operation:
                try:
                    context = await self._create_context(request)
                    # The points for the text of the batch count towards its first operations.
                    context.spent_points = paid
                    prepared = await self._prepare(parse_request(item), context)
                    paid = max(0, context.spent_points - prepared.cost)
                    if prepared.kind is OperationType.SUBSCRIPTION:
                        message = "A batch cannot contain a subscription. Send it in its own request."
                        raise refuse(ErrorCode.BAD_REQUEST, message)
                    answer = await self._engine.run(prepared, context)
                except RequestRefused as refusal:
                    answer = refusal.body
                except Exception as error:  # noqa: BLE001  # the other operations must get their responses after a bug
                    answer = refuse_with(error).body
                operation.note_response(answer)
                bodies.append(answer)
        return _render_response(bodies, 200, MediaType.JSON if media in STREAMS else media)

    async def _answer_single_connection(
        self, request: HttpRequest, token: str, media: MediaType, on_end: ExitStack
    ) -> Response:
        """Answer a request in the single connection mode of graphql-sse.

        PUT reserves a stream, and GET or POST for `text/event-stream` opens it. Other GETs and POSTs send an operation,
        and DELETE stops one.
        """
        if request.method in ("GET", "POST") and media is MediaType.EVENTS:
            # The token alone opens the stream, because the EventSource of browsers cannot send an Authorization header.
            # Sending an operation needs both.
            reserved = self._channels.find(token)
            if reserved is None or reserved.is_opened:
                message = "No reserved stream with this token is waiting to be opened. Reserve one with PUT."
                raise TransportError(409 if reserved else 404, message)
            return stream_response(reserved.open(), MULTIPLEXED, shutdown=self._shutdown())
        context = await self._create_context(request)
        if request.method == "PUT":
            token = self._channels.reserve(context.actor)
            return Response(token, 201, {"cache-control": "no-store"}, media_type="text/plain")
        channel = self._channels.find(token, context.actor)
        if channel is None:
            raise TransportError(404, "No stream of this API key has this token. Reserve one with PUT.")
        if request.method == "DELETE":
            channel.stop(request.query_params.get("operationId", ""))
            return Response(status_code=200)
        on_end.enter_context(self._requests.acquire(context.actor))
        if request.method == "POST":
            body = await self._bodies.read(request, context, on_end)
            operation = parse_request(body)
        else:
            operation = await self._parse_query(request, context)
        if operation.operation_id is None:
            raise TransportError(400, "Give the operation an id, as 'operationId' in 'extensions'.")
        try:
            prepared = await self._prepare(operation, context)
            _check_method(prepared, request)
            channel.start(operation.operation_id, self._engine.stream(prepared, context))
        except RequestRefused as refusal:
            # A status below 400 would tell the client that the operation was accepted.
            return _json_response(refusal.body, max(refusal.status or 400, 400), MediaType.JSON)
        return Response(status_code=202)

    async def _create_context(self, request: HttpRequest) -> OperationContext:
        address = request.client.host if request.client else None
        context = await self._open_context(request.headers, address, request.headers.get("authorization"))
        context.resume_after = request.headers.get("last-event-id") or None
        return context

    async def _answer(self, prepared: Prepared, context: OperationContext, media: MediaType) -> Response:
        if media in STREAMS:
            bodies = self._engine.stream(prepared, context)
            return stream_response(bodies, FRAMING[media], shutdown=self._shutdown(), cursor=lambda: context.cursor)
        return _json_response(await self._engine.run(prepared, context), 200, media)

    def _shutdown(self) -> asyncio.Future[None]:
        # The constructor may run outside of an event loop, so create the future when it is first needed.
        if self._shutdown_begun is None:
            self._shutdown_begun = asyncio.get_running_loop().create_future()
        return self._shutdown_begun


def _check_method(prepared: Prepared, request: HttpRequest) -> None:
    if prepared.kind is OperationType.MUTATION and request.method != "POST":
        raise TransportError(405, "Send the mutation by POST.", allow="POST")


def _refusal_response(refusal: RequestRefused, media: MediaType) -> Response:
    if media in STREAMS and refusal.status in (None, 200):
        return stream_response(_raise_refusal(refusal), FRAMING[media])
    headers: dict[str, str] = {}
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refusal.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, round(refusal.retry_after_seconds)))
    written = MediaType.JSON if media in STREAMS else media
    return _json_response(refusal.body, refusal.status or DOCUMENT_ERROR_STATUS[media], written, headers)


async def _raise_refusal(refusal: RequestRefused) -> AsyncGenerator[dict[str, Any], None]:
    raise refusal
    yield


def _json_response(
    body: dict[str, Any], status: int, media: MediaType, headers: dict[str, str] | None = None
) -> Response:
    operations.current().note_response(body)
    return _render_response(body, status, media, headers)


def _render_response(body: object, status: int, media: MediaType, headers: dict[str, str] | None = None) -> Response:
    content_type = f"{media.value}; charset=utf-8"
    return Response(
        encode_json(body),
        status_code=status,
        headers={"cache-control": "no-store", **(headers or {})},
        media_type=content_type,
    )
