"""Streams: one HTTP response that carries the responses of one operation as they arise, and ends with the operation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Protocol

from starlette.responses import StreamingResponse

from app.graphql.errors import RequestRefused
from app.telemetry import operations

KEEPALIVE_INTERVAL_SECONDS = 12.0
"""How long a stream may be silent before a keepalive is sent. Proxies close connections that stay silent for long."""
HEADERS = {"cache-control": "no-cache, no-store", "x-accel-buffering": "no"}
_closing: set[asyncio.Future[None]] = set()
"""Tasks that close streams. The event loop itself keeps only weak references to tasks."""

Bodies = AsyncGenerator[dict[str, Any], None]


class Framing(Protocol):
    """Byte format of a kind of stream.

    `opening` is sent before the first response, `keepalive` during silence, and `ending` after the last response.
    """

    transport: operations.Transport
    content_type: str
    opening: bytes
    keepalive: bytes
    ending: bytes

    def frame(self, body: dict[str, Any], cursor: str | None) -> bytes:
        """Return the bytes of one response. `cursor` is where a client can continue the stream after this response."""


def stream_response(
    bodies: Bodies,
    framing: Framing,
    keepalive_seconds: float = KEEPALIVE_INTERVAL_SECONDS,
    shutdown: asyncio.Future[None] | None = None,
    cursor: Callable[[], str | None] = lambda: None,
) -> StreamingResponse:
    """Return an HTTP response that sends each body as it arises. RequestRefused becomes a body with errors.

    When `shutdown` is done, the stream stops without its ending, so that the client reconnects to another process.
    """
    operations.current().transport = framing.transport
    # Set the header here: `media_type` would add a charset, which clients of these types do not accept.
    frames = _frame_bodies(bodies, framing, keepalive_seconds, shutdown, cursor)
    return StreamingResponse(frames, headers={**HEADERS, "content-type": framing.content_type})


async def _frame_bodies(
    bodies: Bodies,
    framing: Framing,
    keepalive_seconds: float,
    shutdown: asyncio.Future[None] | None,
    cursor: Callable[[], str | None],
) -> AsyncIterator[bytes]:
    upcoming: asyncio.Task[dict[str, Any]] | None = None
    try:
        # Servers and proxies may hold back the headers until the first bytes of the body, so send some at once.
        yield framing.opening
        while True:
            upcoming = upcoming or asyncio.ensure_future(_next(bodies))
            awaited: set[asyncio.Future[Any]] = {upcoming} if shutdown is None else {upcoming, shutdown}
            done, _ = await asyncio.wait(awaited, timeout=keepalive_seconds, return_when=asyncio.FIRST_COMPLETED)
            if shutdown in done and upcoming not in done:
                return
            if not done:
                yield framing.keepalive
                continue
            try:
                body = upcoming.result()
            except StopAsyncIteration:
                break
            except RequestRefused as refusal:
                operations.current().note_response(refusal.body)
                yield framing.frame(refusal.body, None)
                break
            finally:
                upcoming = None
            operations.current().note_response(body)
            yield framing.frame(body, cursor())
        yield framing.ending
    finally:
        # If the client disconnects, the server cancels this task at every await. Close the stream in another task.
        closing = asyncio.ensure_future(_close(bodies, upcoming))
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)


async def _close(bodies: Bodies, upcoming: asyncio.Task[dict[str, Any]] | None) -> None:
    if upcoming is not None:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)
    await bodies.aclose()


async def _next(bodies: Bodies) -> dict[str, Any]:
    return await anext(bodies)
