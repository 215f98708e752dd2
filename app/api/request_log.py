"""The outermost middleware of the API: request ids, a log line and a count for every request, and 500 after a bug."""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.graphql.errors import refuse_with
from app.telemetry import logs, metrics
from app.telemetry.operations import observe_operation

from .shutdown import Shutdown

log = logging.getLogger(logs.ACCESS)

ID_HEADER = "x-request-id"
PLAIN_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
ROUTES = frozenset(
    {"graphql", "graphiql", "hooks", "unsubscribe", "jobs", "exports", "healthz", "readyz", "metrics", ""}
)
PROBES = frozenset({"healthz", "readyz", "metrics"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_DISCONNECTED = 499
"""Status that is logged if the client disconnects before a response begins."""


class RequestLog:
    """Middleware that gives every request an id, logs it and counts it.

    The id is the `X-Request-Id` of the request if it matches `PLAIN_ID`, else a new one. The response repeats it.
    """

    def __init__(self, app: ASGIApp, draining: Shutdown) -> None:
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application; an exception before the response begins becomes an error response."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(ID_HEADER, "")
        request_id = given if PLAIN_ID.fullmatch(given) else secrets.token_hex(8)
        with logs.bind(request_id=request_id):
            serve = self._serve_socket if scope["type"] == "websocket" else self._serve_http
            await serve(scope, receive, send, headers, request_id)

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: str) -> None:
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (ID_HEADER.encode(), request_id.encode())]
                if self._draining.begun:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else "?"
        route = _route_of(scope["path"])
        parent, state = headers.get("traceparent"), headers.get("tracestate")
        with observe_operation("http", method, parent=parent, state=state) as operation:
            try:
                await self._app(scope, receive, send_and_note)
            except Exception as error:
                if status:
                    raise
                refusal = refuse_with(error)
                operation.note_response(refusal.body)
                await JSONResponse(refusal.body, refusal.status or 500)(scope, receive, send_and_note)
            finally:
                status = status or CLIENT_DISCONNECTED
                operation.title = f"{method} /{route} {status}"
                operation.extra.update(method=method, path=f"/{route}", status=status)
                if route in PROBES:
                    operation.level = logging.DEBUG
                metrics.HTTP_REQUESTS.labels(route, status).inc()

    async def _serve_socket(
        self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: str
    ) -> None:
        started = time.perf_counter()
        code: int | None = None
        opened = False

        async def send_and_note(message: Message) -> None:
            nonlocal code, opened
            if message["type"] == "websocket.accept" and not opened:
                opened = True
                metrics.SOCKETS.inc()
                message["headers"] = [*message.get("headers", ()), (ID_HEADER.encode(), request_id.encode())]
            elif message["type"] == "websocket.close":
                code = code or message.get("code", 1000)
            await send(message)

        async def receive_and_note() -> Message:
            nonlocal code
            message = await receive()
            if message["type"] == "websocket.disconnect":
                code = code or message.get("code", 1005)
            return message

        try:
            await self._app(scope, receive_and_note, send_and_note)
        finally:
            if opened:
                metrics.SOCKETS.dec()
            seconds = time.perf_counter() - started
            summary = f"socket closed {code}" if opened else "socket refused"
            fields = {"path": f"/{_route_of(scope['path'])}", "transport": "ws", "close_code": code}
            log.info("%s %.1f s", summary, seconds, extra={**fields, "seconds": round(seconds, 6)})


def _route_of(path: str) -> str:
    """Return the route of a path for log lines and labels. It never contains text that a client chose."""
    first = path.split("/", 2)[1] if path.startswith("/") else path
    return first if first in ROUTES else metrics.OTHER
