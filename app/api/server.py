"""The HTTP server of `punchcard api`: uvicorn with a shutdown that drops no request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config.settings import ConfigError, Settings
from app.domain.errors import PunchcardError
from app.telemetry import tracing

from .asgi import create_app
from .shutdown import DRAIN_TIMEOUT_SECONDS, IDLE_TIMEOUT_SECONDS, Shutdown
from .slow_clients import SlowClientHttpProtocol, SlowClientWebSocketProtocol

log = logging.getLogger(__name__)

POLL_INTERVAL_SECONDS = 0.02


def serve(settings: Settings) -> None:
    """Serve the API until SIGINT or SIGTERM.

    Raises ConfigError if the settings cannot be used, and Unavailable or StoreRefused if the store does not let it start.
    """
    tracing.start(settings.otlp_endpoint, "punchcard-api")
    draining = Shutdown()
    app = _QuietStart(create_app(settings, draining=draining))
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        http=SlowClientHttpProtocol,
        ws=SlowClientWebSocketProtocol,
        ws_max_size=settings.body_bytes,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_SECONDS,
    )
    server = DrainingServer(config, draining)
    try:
        server.run()
    except SystemExit:
        # uvicorn exits if the application does not start.
        if app.error is None:
            raise
    if app.error is not None:
        raise app.error
    if not server.started:
        sys.exit(3)


class _QuietStart:
    """The application, of which a failed start is kept as `error`, and not logged with a traceback.

    The command prints it in one line. Any error that is not Punchcard's own is logged as before.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.error: Exception | None = None
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, except for the text of a failed start."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        failures: list[Message] = []

        async def keep_failure(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                failures.append(message)
            else:
                await send(message)

        try:
            await self._app(scope, receive, keep_failure)
        except (PunchcardError, ConfigError) as error:
            self.error = error
            for message in failures:
                await send({**message, "message": ""})
        except BaseException:
            for message in failures:
                await send(message)
            raise


class DrainingServer(uvicorn.Server):
    """A uvicorn server that gives clients time to disconnect before it closes their connections.

    A request may be in transit on a connection that looks idle, and closing the connection would lose the request. So
    the server first answers every request with `connection: close`. It closes the connections that stay silent for
    `IDLE_TIMEOUT_SECONDS`.
    """

    def __init__(self, config: uvicorn.Config, draining: Shutdown) -> None:
        super().__init__(config)
        self._draining = draining

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, drain the open ones, then shut uvicorn down."""
        loop = asyncio.get_running_loop()
        await self._close_listeners()
        idle_until = loop.time() + IDLE_TIMEOUT_SECONDS
        await self._draining.begin()
        while self.server_state.connections and loop.time() < idle_until and not self.force_exit:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        log.info("connections drained, %d still open", len(self.server_state.connections))
        await super().shutdown(sockets)
        # Stop tracing here: after this method, uvicorn raises the signal again, and the signal ends the process.
        await asyncio.to_thread(tracing.stop)

    async def _close_listeners(self) -> None:
        """Stop listening and accept the connections that are queued in the kernel.

        The kernel resets queued connections when the last copy of the listening socket closes.
        """
        loop = asyncio.get_running_loop()
        copies = [os.dup(listener.fileno()) for server in self.servers for listener in server.sockets]
        for server in self.servers:
            server.close()
        queued: list[socket.socket] = []
        for copy in copies:
            # The copied descriptor keeps the kernel's queue open until it is empty.
            with socket.socket(fileno=copy) as listener, contextlib.suppress(BlockingIOError):
                listener.setblocking(False)
                while True:
                    queued.append(listener.accept()[0])
        for connection in queued:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._create_protocol, connection)

    def _create_protocol(self) -> asyncio.Protocol:
        # uvicorn creates its protocols with the same arguments.
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
