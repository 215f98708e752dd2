"""The HTTP server of `punchcard api`: uvicorn, taught to go away without dropping anything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys

import uvicorn

from app.config.settings import Settings
from app.telemetry import tracing

from .asgi import create_app
from .shutdown import DRAIN_TIMEOUT_SECONDS, IDLE_TIMEOUT_SECONDS, Shutdown
from .slow_clients import SlowClientHttpProtocol, SlowClientWebSocketProtocol

log = logging.getLogger(__name__)

POLL_INTERVAL_SECONDS = 0.02


def serve(settings: Settings) -> None:
    """Serves the API until SIGINT or SIGTERM. Raises ConfigError where the settings cannot be used."""
    tracing.start(settings.otlp_endpoint, "punchcard-api")
    draining = Shutdown()
    config = uvicorn.Config(
        create_app(settings, draining=draining),
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
    server.run()
    if not server.started:
        sys.exit(3)


class DrainingServer(uvicorn.Server):
    """A server that lets clients leave before it closes their connections.

    A connection that looks idle may have a request under way: closing it at once would lose that one. So for a while
    every answer says `connection: close`, and only who says nothing in that time is cut off.
    """

    def __init__(self, config: uvicorn.Config, draining: Shutdown) -> None:
        super().__init__(config)
        self._draining = draining

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no new connections, drains those there are, then does what uvicorn does."""
        loop = asyncio.get_running_loop()
        await self._close_doors()
        idle_until = loop.time() + IDLE_TIMEOUT_SECONDS
        await self._draining.begin()
        while self.server_state.connections and loop.time() < idle_until and not self.force_exit:
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        log.info("drained; %d connections are left", len(self.server_state.connections))
        await super().shutdown(sockets)
        # Here, because uvicorn ends the process by the signal that asked for it.
        await asyncio.to_thread(tracing.stop)

    async def _close_doors(self) -> None:
        """Listens no more, and takes the connections that came before: the kernel would reset them with the listener."""
        loop = asyncio.get_running_loop()
        doors = [os.dup(listener.fileno()) for server in self.servers for listener in server.sockets]
        for server in self.servers:
            server.close()
        waiting: list[socket.socket] = []
        for door in doors:
            # The copy keeps the queue open until nobody is in it.
            with socket.socket(fileno=door) as listener, contextlib.suppress(BlockingIOError):
                listener.setblocking(False)
                while True:
                    waiting.append(listener.accept()[0])
        for connection in waiting:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn itself makes them
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
