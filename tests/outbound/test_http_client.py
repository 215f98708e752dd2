"""Outgoing HTTP: only to public or allowed addresses, also by host name, after a redirect and after a DNS change."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpcore
import pytest

from app.domain.errors import Code
from app.outbound.addresses import Allowed
from app.outbound.http_client import UNREACHABLE, PostResponse, RequestFailed, check_url, fetch, open_poster
from tests.patience import PATIENCE_SECONDS
from tests.receiver import run_receiver

LOCAL = Allowed.parse(["127.0.0.1"])
BODY = b"x" * 100_000


def build_response(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Site:
    """A server that responds with the stored response of each path.

    If the stored response of a path is None, the server never responds. `requests` are the heads of the requests.
    """

    def __init__(self) -> None:
        self.pages: dict[str, bytes | None] = {"/events.csv": build_response(200, BODY)}
        self.requests: list[list[str]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.requests.append(head)
        page = self.pages.get(head[0].split(" ")[1].partition("?")[0], build_response(404))
        if page is None:
            await reader.read()
        else:
            writer.write(page)
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Run a site on this machine."""
    running = Site()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    yield running
    server.close()


async def read(
    url: str, allowed: Allowed, max_bytes: int = 1 << 20, timeout_seconds: float = PATIENCE_SECONDS
) -> tuple[str | None, bytes]:
    """Fetch the file, and return its name and its content."""
    async with fetch(url, allowed, max_bytes=max_bytes, timeout_seconds=timeout_seconds) as file:
        parts = []
        while part := await file.read(7_000):
            assert len(part) <= 7_000
            parts.append(part)
        return file.filename, b"".join(parts)


@asynccontextmanager
async def expect_failure(code: Code, *words: str) -> AsyncIterator[None]:
    """Expect the block to raise RequestFailed with this code, and with all words in its message."""
    with pytest.raises(RequestFailed) as error:
        yield
    assert error.value.code == code
    assert all(word in error.value.message for word in words)


async def test_file_from_an_allowed_address_is_read_to_its_end(site: Site) -> None:
    assert await read(f"{site.url}/events.csv?token=1#part", LOCAL) == ("events.csv", BODY)
    [head] = site.requests
    assert head[0] == "GET /events.csv?token=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{site.port}" in head


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "localhost.", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0"]
)
async def test_local_address_is_refused_under_each_of_its_names(site: Site, host: str) -> None:
    async with expect_failure(Code.INVALID, UNREACHABLE):
        await read(f"http://{host}:{site.port}/events.csv", Allowed())
    assert site.requests == []


async def test_unknown_host_name_is_refused_with_the_same_message(site: Site) -> None:
    async with expect_failure(Code.INVALID, UNREACHABLE):
        await read("http://nobody.invalid/events.csv", LOCAL)


async def test_redirect_is_followed_only_to_an_address_that_passes_the_same_check(site: Site) -> None:
    site.pages["/moved"] = build_response(302, location="/events.csv")
    assert await read(f"{site.url}/moved", LOCAL) == ("moved", BODY)
    site.pages["/other"] = build_response(307, location=f"http://127.0.0.2:{site.port}/events.csv")
    site.pages["/metadata"] = build_response(301, location="http://169.254.169.254/latest/meta-data/")
    site.pages["/file"] = build_response(301, location="file:///etc/passwd")
    for path in ("/other", "/metadata", "/file"):
        async with expect_failure(Code.INVALID):
            await read(site.url + path, LOCAL)
    site.pages["/nonsense"] = build_response(302, location="http://[nonsense")
    async with expect_failure(Code.UNKNOWN, "no URL"):
        await read(f"{site.url}/nonsense", LOCAL)
    site.pages["/loop"] = build_response(302, location="/loop")
    async with expect_failure(Code.UNKNOWN, "redirects more than 3 times"):
        await read(f"{site.url}/loop", LOCAL)


async def test_client_connects_to_the_address_that_it_checked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that gives another address after the check has no effect."""
    answers = ["93.184.216.34"], ["127.0.0.1"], ["93.184.216.34", "127.0.0.1"]
    queried, connected = [], []

    async def lookup(host: str, port: int, **_: object) -> list[Any]:
        queried.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in answers[len(queried) - 1]]

    async def connect(_self: object, host: str, *_: object) -> Any:
        connected.append(host)
        raise httpcore.ConnectError

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup, raising=False)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    async with expect_failure(Code.UNKNOWN, "did not answer"):
        await read("http://rebinding.example/", Allowed())
    assert (queried, connected) == (["rebinding.example"], ["93.184.216.34"])
    for _ in range(2):
        async with expect_failure(Code.INVALID, UNREACHABLE):
            await read("http://rebinding.example/", Allowed())
    assert connected == ["93.184.216.34"], "a host is refused if one of its addresses is"


async def test_file_beyond_the_limit_is_refused_by_its_length_and_while_it_is_read(site: Site) -> None:
    async with expect_failure(Code.TOO_LONG, "99999 bytes"):
        await read(f"{site.url}/events.csv", LOCAL, max_bytes=99_999)
    site.pages["/no-length"] = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + BODY
    async with expect_failure(Code.TOO_LONG):
        await read(f"{site.url}/no-length", LOCAL, max_bytes=99_999)
    assert (await read(f"{site.url}/no-length", LOCAL, max_bytes=100_000))[1] == BODY


async def test_missing_incomplete_or_invalid_response_is_a_failure(site: Site) -> None:
    site.pages["/silent"] = None
    async with expect_failure(Code.UNKNOWN, "0.1 s"):
        await read(f"{site.url}/silent", LOCAL, timeout_seconds=0.1)
    site.pages["/half"] = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"
    site.pages["/junk"] = b"SSH-2.0-server\r\n\r\n"
    for path in ("/half", "/junk"):
        async with expect_failure(Code.UNKNOWN, "did not answer"):
            await read(site.url + path, LOCAL)
    async with expect_failure(Code.UNKNOWN, "404"):
        await read(f"{site.url}/none", LOCAL)


@pytest.mark.parametrize(
    "url",
    ["", "events.csv", "ftp://a.example/", "file:///etc/passwd", "http://", "http:///x", "http://u:p@a.example/",
     "http://a.example:99999/", "http://a.example/a b", "http://[::1/", "http://a.example/\u00e9", "http://a.example/\x7f",
     "http://a.example/" + "x" * 3_000, "http://" + "a" * 70 + ".example/", "http://a\0b/"],
)  # fmt: skip
async def test_invalid_url_of_a_file_is_refused(url: str) -> None:
    async with expect_failure(Code.INVALID):
        await read(url, Allowed())


def test_endpoint_url_may_use_http_only_for_a_host_that_the_operator_allows() -> None:
    allowed = Allowed.parse(["hooks.inside", "10.1.0.0/16"])
    for url in (
        "https://a.example/", "https://10.1.2.3/", "http://10.1.2.3:8080/", "http://hooks.inside/", "https://8.8.8.8/",
    ):  # fmt: skip
        check_url(url, allowed)
    for url in ("http://a.example/", "http://8.8.8.8/", "https://10.2.0.1/", "https://[::1]/", "ftp://hooks.inside/"):
        with pytest.raises(RequestFailed) as error:
            check_url(url, allowed)
        assert error.value.code is Code.INVALID


def test_endpoint_url_may_use_only_the_port_that_the_operator_allows() -> None:
    allowed = Allowed.parse(["127.0.0.1:8080", "hooks.inside:80"])
    for url in ("http://127.0.0.1:8080/", "https://127.0.0.1:8080/", "http://hooks.inside/", "http://hooks.inside:80/"):
        check_url(url, allowed)
    for url in ("http://127.0.0.1/", "https://127.0.0.1/", "https://127.0.0.1:6379/", "http://hooks.inside:81/"):
        with pytest.raises(RequestFailed) as error:
            check_url(url, allowed)
        assert error.value.code is Code.INVALID


async def test_file_is_fetched_only_from_the_port_that_the_operator_allows(site: Site) -> None:
    site.pages["/events.csv"] = build_response(200, b"a")
    assert (await read(f"{site.url}/events.csv", Allowed.parse([f"127.0.0.1:{site.port}"])))[1] == b"a"
    async with expect_failure(Code.INVALID, UNREACHABLE):
        await read(f"{site.url}/events.csv", Allowed.parse([f"127.0.0.1:{site.port + 1}"]))


async def test_exception_in_the_block_of_the_caller_is_passed_on(site: Site) -> None:
    with pytest.raises(TimeoutError):
        async with fetch(f"{site.url}/events.csv", LOCAL, max_bytes=1 << 20, timeout_seconds=PATIENCE_SECONDS):
            raise TimeoutError


async def test_result_of_a_post_is_the_status_without_the_body(site: Site) -> None:
    site.pages["/"] = build_response(200, b"x" * 1_000_000)
    site.pages["/cut"] = build_response(503, b"", **{"Retry-After": "7"}).replace(
        b"content-length: 0", b"content-length: 9"
    )
    site.pages["/moved"] = build_response(307, location=f"{site.url}/")
    async with open_poster(LOCAL) as connection:
        for path, status, retry_after in (("/", 200, None), ("/cut", 503, "7"), ("/moved", 307, None)):
            response = await connection.post(site.url + path, {"webhook-id": "act_1:1"}, b"{}", 5.0)
            assert response == PostResponse(status, retry_after)
    assert [head[0] for head in site.requests] == [f"POST {path} HTTP/1.1" for path in ("/", "/cut", "/moved")]
    assert {"webhook-id: act_1:1", "Content-Length: 2", "User-Agent: Punchcard"} <= set(site.requests[0])


async def test_post_is_sent_only_to_addresses_that_pass_the_check(site: Site) -> None:
    site.pages["/silent"] = None
    async with open_poster(Allowed()) as connection, expect_failure(Code.INVALID, UNREACHABLE):
        await connection.post(f"{site.url}/", {}, b"", 5.0)
    assert not site.requests
    async with open_poster(LOCAL) as connection:
        async with expect_failure(Code.INVALID, "user name"):
            await connection.post("http://me:you@127.0.0.1/", {}, b"", 5.0)
        async with expect_failure(Code.UNKNOWN, "did not answer within 0.05 s"):
            await connection.post(f"{site.url}/silent", {}, b"", 0.05)
        async with expect_failure(Code.UNKNOWN, "did not answer"):
            await connection.post("http://127.0.0.1:9/", {}, b"", 5.0)


async def test_posts_to_one_receiver_share_a_connection() -> None:
    async with run_receiver() as receiver, open_poster(LOCAL) as connections:
        for _ in range(5):
            assert await connections.post(receiver.url, {}, b"{}", 5.0) == PostResponse(200)
        assert receiver.connections == 1
