"""Requests to addresses that callers name: only to where they may go, and never for longer or more than was agreed.

The name is looked up here, every address found is judged, and the connection goes to one that was judged: nobody can
answer differently the second time. So does the connection of every redirect. TLS still asks for the name.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import httpcore

from app.domain.errors import Code

from .addresses import Address, Allowed

MAX_URL = 2_048
MAX_REDIRECTS = 3
CONNECT_TIMEOUT_SECONDS = 10.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_RESPONSE_BYTES = 65_536
"""So many bytes of what answers a POST are read, for the sake of the connection; its status says everything."""
IDLE_TIMEOUT_SECONDS = 4.0
"""How long a connection is kept for the next POST: less than the five seconds after which common servers close it."""
HEADERS = (("User-Agent", "Punchcard"), ("Accept", "*/*"), ("Accept-Encoding", "identity"))
# One sentence for names that are unknown and for addresses that are shut: callers learn nothing of what is inside.
NOWHERE = "Its host is not found, or is not one that this installation connects to."


class RequestFailed(Exception):
    """A URL that was not read, or not to its end: why, and what to change, for its sender."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Fetched:
    """What a URL answered, read in parts. `filename` is the last part of its path."""

    filename: str | None
    _parts: AsyncIterator[bytes]
    _most: int
    _left: bytes = b""
    _count: int = 0

    async def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes that follow; none at the end. Raises RequestFailed for more than was agreed."""
        if not self._left:
            with _translated():
                self._left = await anext(self._parts, b"")
            self._count += len(self._left)
            if self._count > self._most:
                raise RequestFailed(Code.TOO_LONG, f"It is larger than {self._most} bytes.")
        part, self._left = (self._left, b"") if size < 0 else (self._left[:size], self._left[size:])
        return part


@asynccontextmanager
async def fetch(url: str, allowed: Allowed, *, most_bytes: int, seconds: float) -> AsyncIterator[Fetched]:
    """What is at an http or https URL, open for reading while the block runs, `seconds` in all at most.

    Follows up to 3 redirects. Raises RequestFailed: INVALID for what is no such URL or leads where nothing may be fetched
    from, UNKNOWN for what does not answer or answers something else than 200, TOO_LONG for too many bytes.
    """
    limit = asyncio.timeout(seconds)
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with limit:
                backend = _Judging(allowed)
                pool = await stack.enter_async_context(httpcore.AsyncConnectionPool(network_backend=backend, retries=0))
                response = await _opened(pool, stack, url)
                length = _header(response, b"content-length") or b""
                if length[:20].isdigit() and int(length[:20]) > most_bytes:
                    raise RequestFailed(Code.TOO_LONG, f"It is larger than {most_bytes} bytes.")
                name = unquote(urlsplit(url).path.rpartition("/")[2])[:255]
                yield Fetched(name or None, response.aiter_stream(), most_bytes)
        except TimeoutError:
            if not limit.expired():
                raise
            raise RequestFailed(Code.UNKNOWN, f"It was not read within {seconds:g} s.") from None


@dataclass(frozen=True, slots=True)
class Response:
    """What a POST was answered: its status, and its Retry-After header as it stands."""

    status: int
    retry_after: str | None = None


class Poster:
    """Sends POSTs, any number at a time, and keeps their connections for the next ones."""

    def __init__(self, allowed: Allowed) -> None:
        self._backend = _Judging(allowed)
        self._idle: list[httpcore.AsyncConnectionPool] = []

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        """What the URL answers, whatever the status: a redirect is an answer too, and not followed.

        Raises RequestFailed: INVALID for what is no such URL or leads where nothing may be sent to, UNKNOWN for what does not
        answer within `seconds`.
        """
        target, host = _checked(url)
        named = [("Host", host), *HEADERS[:1], *headers.items(), ("Content-Length", str(len(body)))]
        answer = None
        # Pools of one connection each: one pool of sixteen takes twice as long to find out which is free.
        pool = self._idle.pop() if self._idle else self._pool()
        try:
            async with asyncio.timeout(seconds):
                patience = {"timeout": {"connect": min(seconds, CONNECT_TIMEOUT_SECONDS)}}
                request = pool.stream("POST", target, headers=named, content=body, extensions=patience)
                with _translated():
                    async with request as response:
                        retry_after = _header(response, b"retry-after")
                        answer = Response(
                            response.status, None if retry_after is None else retry_after.decode("latin-1")
                        )
                        await _drained(response)
        except TimeoutError:
            if answer is None:
                raise RequestFailed(Code.UNKNOWN, f"It did not answer within {seconds:g} s.") from None
        except RequestFailed:
            if answer is None:
                raise
        finally:
            self._idle.append(pool)
        return answer

    async def aclose(self) -> None:
        """Closes all connections; none is in use any more."""
        for pool in self._idle:
            await pool.aclose()

    def _pool(self) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(
            ssl_context=_trust(),
            max_connections=1,
            keepalive_expiry=IDLE_TIMEOUT_SECONDS,
            network_backend=self._backend,
            retries=0,
        )


@asynccontextmanager
async def open_poster(allowed: Allowed) -> AsyncIterator[Poster]:
    """Sends POSTs while the block runs; their connections are closed at its end."""
    async with contextlib.aclosing(Poster(allowed)) as connections:
        yield connections


async def _drained(response: httpcore.Response) -> None:
    """Reads a short answer to its end, so that its connection can be used again; a long one costs the connection."""
    left = MAX_RESPONSE_BYTES
    async for part in response.aiter_stream():
        left -= len(part)
        if left < 0:
            return


@functools.cache
def _trust() -> ssl.SSLContext:
    """One for all connections: it takes 20 ms to make."""
    return httpcore.default_ssl_context()


async def _opened(pool: httpcore.AsyncConnectionPool, stack: contextlib.AsyncExitStack, url: str) -> httpcore.Response:
    for _ in range(1 + MAX_REDIRECTS):
        target, host = _checked(url)
        headers = [("Host", host), *HEADERS]
        with _translated():
            request = pool.stream(
                "GET", target, headers=headers, extensions={"timeout": {"connect": CONNECT_TIMEOUT_SECONDS}}
            )
            response = await stack.enter_async_context(request)
        if response.status == 200:
            return response
        location = _header(response, b"location")
        if response.status not in REDIRECTS or location is None:
            raise RequestFailed(Code.UNKNOWN, f"It answered {response.status}.")
        try:
            url = urljoin(url, location.decode("latin-1"))
        except ValueError:
            raise RequestFailed(Code.UNKNOWN, "It redirects to what is no URL.") from None
    raise RequestFailed(Code.UNKNOWN, f"It redirects more than {MAX_REDIRECTS} times.")


def check(url: str, allowed: Allowed) -> None:
    """Nothing for a URL that messages may be sent to, as far as that can be told without looking its name up.

    Over http they are sent only where the operator allows the host itself. Raises RequestFailed: INVALID.
    """
    target, _ = _checked(url)
    host, address = target.host.decode(), None
    with contextlib.suppress(ValueError):
        address = ip_address(host)
    if address is not None and not allowed.allows(host, address):
        raise RequestFailed(Code.INVALID, NOWHERE)
    if target.scheme == b"http" and not allowed.names(host, address):
        raise RequestFailed(Code.INVALID, "Use https; http only leads to hosts that this installation allows by name.")


def _checked(url: str) -> tuple[httpcore.URL, str]:
    """The URL as it is sent, and its Host header. Raises RequestFailed (INVALID)."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}".encode("ascii")
    except ValueError:
        raise RequestFailed(Code.INVALID, "This is no URL; what is not ASCII in its path is escaped.") from None
    if parts.scheme not in ("http", "https") or not host or len(url) > MAX_URL:
        raise RequestFailed(Code.INVALID, f"Give an http or https URL of up to {MAX_URL} characters.")
    if parts.username is not None or parts.password is not None:
        raise RequestFailed(Code.INVALID, "Leave the user name out of the URL.")
    if any(byte <= 0x20 or byte == 0x7F for byte in target):
        raise RequestFailed(Code.INVALID, "Escape spaces and the like in the URL.")
    named = f"[{host}]" if ":" in host else host
    return httpcore.URL(scheme=parts.scheme, host=host, port=port, target=target), f"{named}:{port}" if port else named


def _header(response: httpcore.Response, name: bytes) -> bytes | None:
    return next((value for each, value in response.headers if each.lower() == name), None)


class _Judging(httpcore.AsyncNetworkBackend):
    """Connects to an address that was judged, never to a name."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        found = await self._addresses(host, port)
        # One address that is shut among open ones is an attempt, not a choice.
        if not found or not all(self._allowed.allows(host, address) for address in found):
            raise RequestFailed(Code.INVALID, NOWHERE)
        for address in found[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._plain.connect_tcp(str(address), port, timeout, local_address, socket_options)
        return await self._plain.connect_tcp(str(found[-1]), port, timeout, local_address, socket_options)

    async def _addresses(self, host: str, port: int) -> list[Address]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError):
            return []
        return list(dict.fromkeys(ip_address(each[4][0]) for each in found))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, httpcore.UnsupportedProtocol):
        raise RequestFailed(Code.UNKNOWN, "It did not answer, or not to the end.") from None
