"""Server-sent events, one stream an operation. Source: graphql-sse, PROTOCOL.md, "Distinct connections mode"."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse

from app import operations

from .errors import RequestRefused
from .requests import encode_json

QUIET_SECONDS = 12.0
"""After so long without an event a comment is sent, so that no proxy takes the stream for dead."""
_closing: set[asyncio.Future[None]] = set()
HEADERS = {"cache-control": "no-cache, no-store", "x-accel-buffering": "no"}


def event_stream(
    bodies: AsyncGenerator[dict[str, Any], None],
    quiet_seconds: float = QUIET_SECONDS,
    leaving: asyncio.Future[None] | None = None,
) -> StreamingResponse:
    """A response with a `next` event for each body and one `complete`; a refusal is a `next` with errors.

    When `leaving` is done the stream ends without `complete`, so that its client goes on elsewhere.
    """
    operations.current().transport = "sse"
    # Not through `media_type`: the charset it would add is none that EventSource knows.
    events = _events(bodies, quiet_seconds, leaving)
    return StreamingResponse(events, headers={**HEADERS, "content-type": "text/event-stream"})


async def _events(
    bodies: AsyncGenerator[dict[str, Any], None], quiet_seconds: float, leaving: asyncio.Future[None] | None
) -> AsyncIterator[bytes]:
    upcoming: asyncio.Task[dict[str, Any]] | None = None
    try:
        # Headers reach the client with the first bytes: say something before anything has happened.
        yield b":\n\n"
        while True:
            upcoming = upcoming or asyncio.ensure_future(_next(bodies))
            awaited: set[asyncio.Future[Any]] = {upcoming} if leaving is None else {upcoming, leaving}
            done, _ = await asyncio.wait(awaited, timeout=quiet_seconds, return_when=asyncio.FIRST_COMPLETED)
            if leaving in done and upcoming not in done:
                return
            if not done:
                yield b":\n\n"
                continue
            try:
                body = upcoming.result()
            except StopAsyncIteration:
                break
            except RequestRefused as refusal:
                yield _event(refusal.body)
                break
            finally:
                upcoming = None
            yield _event(body)
        yield b"event: complete\ndata:\n\n"
    finally:
        # The server cancels whoever serves a client that has gone, again at every await: closing takes a task of its own.
        closing = asyncio.ensure_future(_close(bodies, upcoming))
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)


async def _close(bodies: AsyncGenerator[dict[str, Any], None], upcoming: asyncio.Task[dict[str, Any]] | None) -> None:
    if upcoming is not None:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)
    await bodies.aclose()


async def _next(bodies: AsyncGenerator[dict[str, Any], None]) -> dict[str, Any]:
    return await anext(bodies)


def _event(body: dict[str, Any]) -> bytes:
    operations.current().answered(body)
    return b"event: next\ndata: " + encode_json(body) + b"\n\n"
