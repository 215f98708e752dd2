"""HTTP client for URLs that callers name: it connects only to allowed addresses and limits time and size.

The client resolves a host name itself, checks all addresses of the name, and connects to one of the checked addresses.
So a name server cannot give another address after the check. Each redirect is checked in the same way. TLS verifies the
certificate against the name.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import httpcore

from app.domain.errors import Code

from .addresses import Address, Allowed

MAX_URL = 2_048
"""Characters of a URL."""
MAX_REDIRECTS = 3
CONNECT_TIMEOUT_SECONDS = 10.0
DEFAULT_PORTS = {b"http": 80, b"https": 443}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_RESPONSE_BYTES = 65_536
"""Bytes of the answer to a POST that are read, so that its connection can be used again. Only the status matters."""
IDLE_TIMEOUT_SECONDS = 4.0
"""How long an idle connection is kept. Common servers close one after five seconds, and a POST at that time fails."""
HEADERS = (("User-Agent", "Punchcard"), ("Accept", "*/*"), ("Accept-Encoding", "identity"))
# The same message for unknown names and for addresses that are not allowed: callers must not learn which hosts exist
# inside.
UNREACHABLE = (
    "The host of the URL is not found, or this installation does not connect to it. An operator can allow addresses of a"
    " private network with PUNCHCARD_EGRESS_ALLOW."
)


class RequestFailed(Exception):
    """Failure of a request. `message` gives the caller the reason and what to change."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Fetched:
    """The body at a URL, read in parts. `filename` is the last part of the path of the URL."""

    filename: str | None
    _parts: AsyncIterator[bytes]
    _max_bytes: int
    _rest: bytes = b""
    _received_bytes: int = 0

    async def read(self, size: int = -1) -> bytes:
        """Return the next bytes, up to `size`, or none at the end. Raises RequestFailed if the body is too large."""
        if not self._rest:
            with _translate_errors():
                self._rest = await anext(self._parts, b"")
            self._received_bytes += len(self._rest)
            if self._received_bytes > self._max_bytes:
                raise RequestFailed(Code.TOO_LONG, f"The file is larger than {self._max_bytes} bytes.")
        part, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return part


@asynccontextmanager
async def fetch(url: str, allowed: Allowed, *, max_bytes: int, timeout_seconds: float) -> AsyncIterator[Fetched]:
    """Open the file at an http or https URL for reading while the block runs, for `timeout_seconds` in all.

    Follows up to 3 redirects. Raises RequestFailed:

    - INVALID for a text that is no such URL, and for a host that is not allowed;
    - UNKNOWN if the server does not answer, or not with 200;
    - TOO_LONG for more than `max_bytes`.
    """
    limit = asyncio.timeout(timeout_seconds)
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with limit:
                backend = _CheckingBackend(allowed)
                pool = await stack.enter_async_context(httpcore.AsyncConnectionPool(network_backend=backend, retries=0))
                response = await _open(pool, stack, url)
                length = _find_header(response, b"content-length") or b""
                if length[:20].isdigit() and int(length[:20]) > max_bytes:
                    raise RequestFailed(Code.TOO_LONG, f"The file is larger than {max_bytes} bytes.")
                name = unquote(urlsplit(url).path.rpartition("/")[2])[:255]
                yield Fetched(name or None, response.aiter_stream(), max_bytes)
        except TimeoutError:
            if not limit.expired():
                raise
            raise RequestFailed(Code.UNKNOWN, f"The file could not be read within {timeout_seconds:g} s.") from None


@dataclass(frozen=True, slots=True)
class PostResponse:
    """The answer to a POST: its status, its `Retry-After` header as sent, and the beginning of its body if asked for."""

    status: int
    retry_after: str | None = None
    body: bytes = b""


class Poster:
    """A sender of POST requests, any number at a time. It keeps connections for later requests."""

    def __init__(self, allowed: Allowed) -> None:
        self._backend = _CheckingBackend(allowed)
        self._idle: list[httpcore.AsyncConnectionPool] = []

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout_seconds: float, *, keeps_body: bool = False
    ) -> PostResponse:
        """Send a POST and return the answer, with any status. Redirects are not followed.

        The answer has the beginning of its body if the call `keeps_body`.

        A server that sends the status and then stalls has answered. Raises RequestFailed:

        - INVALID for a text that is no http or https URL, and for a host that is not allowed;
        - UNKNOWN if the server does not answer within `timeout_seconds`.
        """
        target, host = _parse_url(url)
        all_headers = [("Host", host), *HEADERS[:1], *headers.items(), ("Content-Length", str(len(body)))]
        answer = None
        # Pools of one connection each: a pool of sixteen takes twice as long to find a free connection.
        pool = self._idle.pop() if self._idle else self._new_pool()
        try:
            async with asyncio.timeout(timeout_seconds):
                extensions = {"timeout": {"connect": min(timeout_seconds, CONNECT_TIMEOUT_SECONDS)}}
                request = pool.stream("POST", target, headers=all_headers, content=body, extensions=extensions)
                with _translate_errors():
                    async with request as response:
                        retry_after = _find_header(response, b"retry-after")
                        answer = PostResponse(
                            response.status, None if retry_after is None else retry_after.decode("latin-1")
                        )
                        content = await _drain(response)
                        answer = replace(answer, body=content) if keeps_body else answer
        except TimeoutError:
            if answer is None:
                raise RequestFailed(Code.UNKNOWN, f"The server did not answer within {timeout_seconds:g} s.") from None
        except RequestFailed:
            if answer is None:
                raise
        finally:
            self._idle.append(pool)
        return answer

    async def aclose(self) -> None:
        """Close all connections. Call it when no request is running."""
        for pool in self._idle:
            await pool.aclose()

    def _new_pool(self) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(
            ssl_context=_ssl_context(),
            max_connections=1,
            keepalive_expiry=IDLE_TIMEOUT_SECONDS,
            network_backend=self._backend,
            retries=0,
        )


@asynccontextmanager
async def open_poster(allowed: Allowed) -> AsyncIterator[Poster]:
    """Open a sender of POST requests for the block, and close its connections afterwards."""
    async with contextlib.aclosing(Poster(allowed)) as connections:
        yield connections


async def _drain(response: httpcore.Response) -> bytes:
    """Read a short answer to its end, so that its connection can be used again. A long answer closes the connection.

    Returns the beginning of the answer.
    """
    parts, remaining_bytes = [], MAX_RESPONSE_BYTES
    async for part in response.aiter_stream():
        parts.append(part)
        remaining_bytes -= len(part)
        if remaining_bytes < 0:
            break
    return b"".join(parts)[:MAX_RESPONSE_BYTES]


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """Return the TLS settings of all connections. They are created once, since that takes 20 ms."""
    return httpcore.default_ssl_context()


async def _open(pool: httpcore.AsyncConnectionPool, stack: contextlib.AsyncExitStack, url: str) -> httpcore.Response:
    for _ in range(1 + MAX_REDIRECTS):
        target, host = _parse_url(url)
        headers = [("Host", host), *HEADERS]
        with _translate_errors():
            request = pool.stream(
                "GET", target, headers=headers, extensions={"timeout": {"connect": CONNECT_TIMEOUT_SECONDS}}
            )
            response = await stack.enter_async_context(request)
        if response.status == 200:
            return response
        location = _find_header(response, b"location")
        if response.status not in REDIRECTS or location is None:
            raise RequestFailed(Code.UNKNOWN, f"The server answered {response.status}.")
        try:
            url = urljoin(url, location.decode("latin-1"))
        except ValueError:
            raise RequestFailed(Code.UNKNOWN, "The server redirects to a text that is no URL.") from None
    raise RequestFailed(Code.UNKNOWN, f"The server redirects more than {MAX_REDIRECTS} times.")


def check_url(url: str, allowed: Allowed) -> None:
    """Raise RequestFailed (INVALID) if no message may be sent to the URL. Does not resolve its host name.

    http is accepted only if the operator allows the host by name or address. Each request checks the resolved
    addresses.
    """
    target, _ = _parse_url(url)
    host, address = target.host.decode(), None
    port = target.port or DEFAULT_PORTS[target.scheme]
    with contextlib.suppress(ValueError):
        address = ip_address(host)
    if address is not None and not allowed.allows(host, address, port):
        raise RequestFailed(Code.INVALID, UNREACHABLE)
    if target.scheme == b"http" and not allowed.is_listed(host, address, port):
        raise RequestFailed(
            Code.INVALID, "Use https. This installation sends over http only to hosts that its operator allows."
        )


def _parse_url(url: str) -> tuple[httpcore.URL, str]:
    """Return the URL for httpcore and its Host header. Raises RequestFailed (INVALID)."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}".encode("ascii")
    except ValueError:
        raise RequestFailed(
            Code.INVALID, "This is no URL. Escape characters beyond ASCII in its path and query."
        ) from None
    if parts.scheme not in ("http", "https") or not host or len(url) > MAX_URL:
        raise RequestFailed(Code.INVALID, f"Give an http or https URL of up to {MAX_URL} characters.")
    if parts.username is not None or parts.password is not None:
        raise RequestFailed(Code.INVALID, "Leave user name and password out of the URL.")
    if any(byte <= 0x20 or byte == 0x7F for byte in target):
        raise RequestFailed(Code.INVALID, "Escape spaces and control characters in the URL.")
    name = f"[{host}]" if ":" in host else host
    return httpcore.URL(scheme=parts.scheme, host=host, port=port, target=target), f"{name}:{port}" if port else name


def _find_header(response: httpcore.Response, name: bytes) -> bytes | None:
    return next((value for each, value in response.headers if each.lower() == name), None)


async def resolve_allowed(host: str, port: int, allowed: Allowed) -> list[Address]:
    """Return the addresses of a host, all of which are allowed. Raises RequestFailed (INVALID) if one is not."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        found = []
    addresses = list(dict.fromkeys(ip_address(each[4][0]) for each in found))
    # If one address of a name is not allowed, reject the name: mixing it with public ones is probably an attack.
    if not addresses or not all(allowed.allows(host, address, port) for address in addresses):
        raise RequestFailed(Code.INVALID, UNREACHABLE)
    return addresses


class _CheckingBackend(httpcore.AsyncNetworkBackend):
    """A network backend that resolves and checks host names, and connects only to a checked address."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await resolve_allowed(host, port, self._allowed)
        for address in addresses[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._backend.connect_tcp(str(address), port, timeout, local_address, socket_options)
        return await self._backend.connect_tcp(str(addresses[-1]), port, timeout, local_address, socket_options)


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise RequestFailed (UNKNOWN) in place of httpcore's errors about the connection or the protocol."""
    try:
        yield
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, httpcore.UnsupportedProtocol):
        raise RequestFailed(Code.UNKNOWN, "The server did not answer, or its answer broke off.") from None
