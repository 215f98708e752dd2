"""Rules of graphql-transport-ws: who may connect, and what closes a socket. Source: PROTOCOL.md of graphql-ws."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.websockets import WebSocketDisconnect

from app.graphql.execution.requests import decode_json

PROTOCOL = "graphql-transport-ws"
MAX_ID_CHARACTERS = 255
"""Characters of an operation's id."""
MAX_EARLY_MESSAGE_BYTES = 4_096
"""Bytes of a message before `connection_ack`, after inflating the message."""
MAX_EARLY_PINGS = 10
"""Messages of the types ping and pong that a client may send before `connection_init`."""


class SocketClosed(Exception):
    """The reason to close a socket: a close code and a text for developers."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def may_connect(headers: Headers, origins: tuple[str, ...]) -> bool:
    """Return whether the page of that origin may connect: a page of the API itself, or of one of the origins."""
    origin = headers.get("origin")
    if origin is None or "*" in origins or origin in origins:
        return True
    try:
        return urlsplit(origin).netloc == headers.get("host")
    except ValueError:
        return False


def decode_message(text: str) -> dict[str, Any]:
    """Return the message in a frame. Raises SocketClosed."""
    try:
        message = decode_json(text)
    except ValueError:
        raise SocketClosed(4400, "Messages must be JSON") from None
    if not isinstance(message, dict):
        raise SocketClosed(4400, "Messages must be JSON objects")
    return message


def parse_operation_id(message: dict[str, Any]) -> str:
    """Return the id of the operation that a message names. Raises SocketClosed."""
    operation_id = message.get("id")
    if not isinstance(operation_id, str) or not 0 < len(operation_id) <= MAX_ID_CHARACTERS:
        raise SocketClosed(4400, f"The id must be a text of 1 to {MAX_ID_CHARACTERS} characters")
    return operation_id


@contextlib.contextmanager
def translate_closed() -> Iterator[None]:
    """Raise WebSocketDisconnect instead of the RuntimeError that Starlette raises for a send to a closed socket."""
    try:
        yield
    except RuntimeError:
        raise WebSocketDisconnect(1006) from None
