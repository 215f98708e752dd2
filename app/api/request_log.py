"""The outermost layer of the API: request ids, one log line and one count for every request, and 500 for what is a bug."""

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
from app.telemetry.operations import observed

from .shutdown import Shutdown

log = logging.getLogger(logs.ACCESS)

ID_HEADER = "x-request-id"
ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
ROUTES = frozenset({"graphql", "graphiql", "hooks", "jobs", "exports", "healthz", "readyz", "metrics", ""})
PROBES = frozenset({"healthz", "readyz", "metrics"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_LEFT = 499


class RequestLog:
    """Gives every request its id: the caller's `X-Request-Id` where it is a plain one, else a new one; answered too."""

    def __init__(self, app: ASGIApp, draining: Shutdown) -> None:
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on; what is raised before a response began becomes a response."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(ID_HEADER, "")
        request_id = given if ACCEPTABLE_ID.fullmatch(given) else secrets.token_hex(8)
        with logs.bound(request_id=request_id):
            serve = self._socket if scope["type"] == "websocket" else self._http
            await serve(scope, receive, send, headers, request_id)

    async def _http(self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: str) -> None:
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (ID_HEADER.encode(), request_id.encode())]
                if self._draining.begun:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else "?"
        route = _route(scope["path"])
        with observed("http", method, parent=headers.get("traceparent"), state=headers.get("tracestate")) as operation:
            try:
                await self._app(scope, receive, sending)
            except Exception as error:
                if status:
                    raise
                refusal = refuse_with(error)
                operation.answered(refusal.body)
                await JSONResponse(refusal.body, refusal.status or 500)(scope, receive, sending)
            finally:
                status = status or CLIENT_LEFT
                operation.title = f"{method} /{route} {status}"
                operation.extra.update(method=method, path=f"/{route}", status=status)
                if route in PROBES:
                    operation.level = logging.DEBUG
                metrics.HTTP_REQUESTS.labels(route, status).inc()

    async def _socket(self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: str) -> None:
        started = time.perf_counter()
        code: int | None = None
        opened = False

        async def sending(message: Message) -> None:
            nonlocal code, opened
            if message["type"] == "websocket.accept" and not opened:
                opened = True
                metrics.SOCKETS.inc()
                message["headers"] = [*message.get("headers", ()), (ID_HEADER.encode(), request_id.encode())]
            elif message["type"] == "websocket.close":
                code = code or message.get("code", 1000)
            await send(message)

        async def receiving() -> Message:
            nonlocal code
            message = await receive()
            if message["type"] == "websocket.disconnect":
                code = code or message.get("code", 1005)
            return message

        try:
            await self._app(scope, receiving, sending)
        finally:
            if opened:
                metrics.SOCKETS.dec()
            seconds = time.perf_counter() - started
            said = f"socket closed {code}" if opened else "socket refused"
            fields = {"path": f"/{_route(scope['path'])}", "transport": "ws", "close_code": code}
            log.info("%s %.1f s", said, seconds, extra={**fields, "seconds": round(seconds, 6)})


def _route(path: str) -> str:
    """The route of a path as a log line and a label may have it: never what somebody put into it."""
    first = path.split("/", 2)[1] if path.startswith("/") else path
    return first if first in ROUTES else metrics.OTHER
