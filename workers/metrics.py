"""HTTP server of a worker for Prometheus and liveness probes: `/metrics` and `/healthz`, without keys."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from app.backlog import BacklogGauges
from app.config.settings import ConfigError
from app.telemetry import metrics

from .worker import Worker

METRICS_TIMEOUT_SECONDS = 15.0
"""The longest time of one request."""
MAX_REQUEST_BYTES = 16_384
STUCK_AFTER_SECONDS = 60.0
"""The time without an end of a look or a round after which /healthz fails, so that the worker is started again.

A look that finds the store unavailable ends, too: a new process would not help then.
"""


@contextlib.asynccontextmanager
async def serve_metrics(worker: Worker) -> AsyncIterator[None]:
    """Serve metrics on PUNCHCARD_HOST and PUNCHCARD_WORKER_METRICS_PORT while the block runs; port 0 serves nothing.

    Raises ConfigError if the port is in use.
    """
    resources = worker.resources
    settings = resources.settings
    if not settings.worker_metrics_port:
        yield
        return
    gauges = BacklogGauges(resources)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(METRICS_TIMEOUT_SECONDS):
                writer.write(await _respond(await reader.readuntil(b"\r\n\r\n"), gauges, worker))
                await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(
            answer, settings.host, settings.worker_metrics_port, limit=MAX_REQUEST_BYTES
        )
    except OSError as error:
        address = f"port {settings.worker_metrics_port} of {settings.host}"
        raise ConfigError([f"PUNCHCARD_WORKER_METRICS_PORT: cannot listen on {address}: {error.strerror}."]) from error
    try:
        yield
    finally:
        server.close()


async def _respond(request: bytes, gauges: BacklogGauges, worker: Worker) -> bytes:
    line, *fields = request.decode("latin-1").split("\r\n")
    method, _, rest = line.partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if method not in ("GET", "HEAD"):
        return _build_message("405 Method Not Allowed", "text/plain", b"", method, "allow: GET, HEAD\r\n")
    if path == "/healthz":
        if time.monotonic() - worker.progressed_at < STUCK_AFTER_SECONDS:
            return _build_message("200 OK", "application/json", b'{"status":"ok"}', method)
        return _build_message("503 Service Unavailable", "application/json", b'{"status":"stuck"}', method)
    if path == "/metrics":
        await gauges.refresh()
        accept = next((f.partition(":")[2].strip() for f in fields if f.lower().startswith("accept:")), "")
        body, content_type = metrics.render_metrics(accept)
        return _build_message("200 OK", content_type, body, method)
    return _build_message(
        "404 Not Found", "text/plain", b"Not found. This server has only /metrics and /healthz.\n", method
    )


def _build_message(status: str, content_type: str, body: bytes, method: str, extra_fields: str = "") -> bytes:
    fields = f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\n{extra_fields}connection: close\r\n\r\n"
    head = f"HTTP/1.1 {status}\r\n{fields}"
    return head.encode() + (b"" if method == "HEAD" else body)
