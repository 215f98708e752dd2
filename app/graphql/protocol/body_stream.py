"""Arrival of request bodies within a time limit, which grows with what has arrived."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive

BODY_TIMEOUT_SECONDS = 30.0
"""How long a body may take to arrive, beyond the time that `MIN_BYTES_PER_SECOND` allows for its size."""
SILENCE_TIMEOUT_SECONDS = 30.0
"""How long a client may send nothing of a body that it began."""
MIN_BYTES_PER_SECOND = 16_384


class TransportError(Exception):
    """An HTTP request that is refused before its operation is parsed, with the HTTP status of the response."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def limit_time(receive: Receive) -> Receive:
    """Return a `receive` that raises TransportError (408) if the body arrives too slowly, or not at all."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    size = 0

    async def receive_in_time() -> Message:
        nonlocal size
        now = loop.time()
        deadline = began + BODY_TIMEOUT_SECONDS + size / MIN_BYTES_PER_SECOND
        try:
            async with asyncio.timeout_at(min(deadline, now + SILENCE_TIMEOUT_SECONDS)):
                message = await receive()
        except TimeoutError:
            message_text = f"The body did not arrive in time: {size} bytes came in {now - began:.0f} s. Send it again."
            raise TransportError(408, message_text, connection="close") from None
        size += len(message.get("body", b""))
        return message

    return receive_in_time
