"""Responses of one operation as they come, each framed in one HTTP response that ends when the operation does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Protocol

from starlette.responses import StreamingResponse

from app.graphql.errors import RequestRefused
from app.telemetry import operations

KEEPALIVE_INTERVAL_SECONDS = 12.0
"""After so long without a response something is sent, so that no proxy takes the stream for dead."""
HEADERS = {"cache-control": "no-cache, no-store", "x-accel-buffering": "no"}
_closing: set[asyncio.Future[None]] = set()

Bodies = AsyncGenerator[dict[str, Any], None]


class Framing(Protocol):
    """How a kind of stream is written."""

    transport: operations.Transport
    content_type: str
    opening: bytes
    quiet: bytes
    ending: bytes

    def framed(self, body: dict[str, Any], place: str | None) -> bytes:
        """One response; `place` is where the stream stands after it, for a client to go on from."""


def stream_response(
    bodies: Bodies,
    framing: Framing,
    quiet_seconds: float = KEEPALIVE_INTERVAL_SECONDS,
    leaving: asyncio.Future[None] | None = None,
    place: Callable[[], str | None] = lambda: None,
) -> StreamingResponse:
    """A response with each of the bodies, and the ending; a refusal is a body with errors.

    When `leaving` is done the stream stops without its ending, so that its client goes on elsewhere.
    """
    operations.current().transport = framing.transport
    # Not through `media_type`: the charset it would add is none that clients know.
    frames = _frames(bodies, framing, quiet_seconds, leaving, place)
    return StreamingResponse(frames, headers={**HEADERS, "content-type": framing.content_type})


async def _frames(
    bodies: Bodies,
    framing: Framing,
    quiet_seconds: float,
    leaving: asyncio.Future[None] | None,
    place: Callable[[], str | None],
) -> AsyncIterator[bytes]:
    upcoming: asyncio.Task[dict[str, Any]] | None = None
    try:
        # Headers reach the client with the first bytes: say something before anything has happened.
        yield framing.opening
        while True:
            upcoming = upcoming or asyncio.ensure_future(_next(bodies))
            awaited: set[asyncio.Future[Any]] = {upcoming} if leaving is None else {upcoming, leaving}
            done, _ = await asyncio.wait(awaited, timeout=quiet_seconds, return_when=asyncio.FIRST_COMPLETED)
            if leaving in done and upcoming not in done:
                return
            if not done:
                yield framing.quiet
                continue
            try:
                body = upcoming.result()
            except StopAsyncIteration:
                break
            except RequestRefused as refusal:
                operations.current().answered(refusal.body)
                yield framing.framed(refusal.body, None)
                break
            finally:
                upcoming = None
            operations.current().answered(body)
            yield framing.framed(body, place())
        yield framing.ending
    finally:
        # The server cancels whoever serves a client that has gone, again at every await: closing takes a task of its own.
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
