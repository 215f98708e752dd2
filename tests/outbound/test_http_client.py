"""Outgoing HTTP: nowhere that is not public, also by name, by redirect, by a second answer of the name server."""

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
from tests.receiver import run_receiver

LOCAL = Allowed.parse(["127.0.0.1"])
BODY = b"x" * 100_000


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Site:
    """A server that answers each path with what lies there; what is asked of it is kept."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | None] = {"/events.csv": answer(200, BODY)}
        self.asked: list[list[str]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.asked.append(head)
        page = self.pages.get(head[0].split(" ")[1].partition("?")[0], answer(404))
        if page is None:
            await reader.read()
        else:
            writer.write(page)
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A site on this machine."""
    found = Site()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()


async def read(url: str, allowed: Allowed, most: int = 1 << 20, seconds: float = 5.0) -> tuple[str | None, bytes]:
    async with fetch(url, allowed, max_bytes=most, timeout_seconds=seconds) as file:
        parts = []
        while part := await file.read(7_000):
            assert len(part) <= 7_000
            parts.append(part)
        return file.filename, b"".join(parts)


@asynccontextmanager
async def refused(code: Code, *words: str) -> AsyncIterator[None]:
    with pytest.raises(RequestFailed) as error:
        yield
    assert error.value.code == code
    assert all(word in error.value.message for word in words)


async def test_what_is_allowed_by_configuration_is_read_to_its_end(site: Site) -> None:
    assert await read(f"{site.url}/events.csv?token=1#part", LOCAL) == ("events.csv", BODY)
    [head] = site.asked
    assert head[0] == "GET /events.csv?token=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{site.port}" in head


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "localhost.", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0"]
)
async def test_this_machine_is_nowhere_under_whatever_name(site: Site, host: str) -> None:
    async with refused(Code.INVALID, UNREACHABLE):
        await read(f"http://{host}:{site.port}/events.csv", Allowed())
    assert site.asked == []


async def test_a_name_that_does_not_exist_is_refused_in_the_same_words(site: Site) -> None:
    async with refused(Code.INVALID, UNREACHABLE):
        await read("http://nobody.invalid/events.csv", LOCAL)


async def test_a_redirect_is_followed_and_judged_like_the_first_address(site: Site) -> None:
    site.pages["/there"] = answer(302, location="/events.csv")
    assert await read(f"{site.url}/there", LOCAL) == ("there", BODY)
    site.pages["/away"] = answer(307, location=f"http://127.0.0.2:{site.port}/events.csv")
    site.pages["/metadata"] = answer(301, location="http://169.254.169.254/latest/meta-data/")
    site.pages["/file"] = answer(301, location="file:///etc/passwd")
    for path in ("/away", "/metadata", "/file"):
        async with refused(Code.INVALID):
            await read(site.url + path, LOCAL)
    site.pages["/nonsense"] = answer(302, location="http://[nonsense")
    async with refused(Code.UNKNOWN, "no URL"):
        await read(f"{site.url}/nonsense", LOCAL)
    site.pages["/round"] = answer(302, location="/round")
    async with refused(Code.UNKNOWN, "redirects more than 3 times"):
        await read(f"{site.url}/round", LOCAL)


async def test_the_address_that_was_judged_is_the_one_connected_to(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["93.184.216.34"], ["127.0.0.1"], ["93.184.216.34", "127.0.0.1"]
    asked, connected = [], []

    async def lookup(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in answers[len(asked) - 1]]

    async def connect(_self: object, host: str, *_: object) -> Any:
        connected.append(host)
        raise httpcore.ConnectError

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup, raising=False)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    async with refused(Code.UNKNOWN, "did not answer"):
        await read("http://rebinding.example/", Allowed())
    assert (asked, connected) == (["rebinding.example"], ["93.184.216.34"])
    for _ in range(2):
        async with refused(Code.INVALID, UNREACHABLE):
            await read("http://rebinding.example/", Allowed())
    assert connected == ["93.184.216.34"], "one address that is shut shuts the name"


async def test_too_much_is_refused_before_and_while_it_comes(site: Site) -> None:
    async with refused(Code.TOO_LONG, "99999 bytes"):
        await read(f"{site.url}/events.csv", LOCAL, most=99_999)
    site.pages["/unsaid"] = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + BODY
    async with refused(Code.TOO_LONG):
        await read(f"{site.url}/unsaid", LOCAL, most=99_999)
    assert (await read(f"{site.url}/unsaid", LOCAL, most=100_000))[1] == BODY


async def test_silence_and_half_answers_come_to_an_end(site: Site) -> None:
    site.pages["/silent"] = None
    async with refused(Code.UNKNOWN, "0.1 s"):
        await read(f"{site.url}/silent", LOCAL, seconds=0.1)
    site.pages["/half"] = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"
    site.pages["/junk"] = b"SSH-2.0-server\r\n\r\n"
    for path in ("/half", "/junk"):
        async with refused(Code.UNKNOWN, "did not answer"):
            await read(site.url + path, LOCAL)
    async with refused(Code.UNKNOWN, "404"):
        await read(f"{site.url}/none", LOCAL)


@pytest.mark.parametrize(
    "url",
    ["", "events.csv", "ftp://a.example/", "file:///etc/passwd", "http://", "http:///x", "http://u:p@a.example/",
     "http://a.example:99999/", "http://a.example/a b", "http://[::1/", "http://a.example/\u00e9", "http://a.example/\x7f",
     "http://a.example/" + "x" * 3_000, "http://" + "a" * 70 + ".example/", "http://a\0b/"],
)  # fmt: skip
async def test_what_is_no_url_for_a_file_is_refused(url: str) -> None:
    async with refused(Code.INVALID):
        await read(url, Allowed())


def test_messages_go_by_http_only_where_the_operator_names_the_host() -> None:
    allowed = Allowed.parse(["hooks.inside", "10.1.0.0/16"])
    for url in (
        "https://a.example/", "https://10.1.2.3/", "http://10.1.2.3:8080/", "http://hooks.inside/", "https://8.8.8.8/",
    ):  # fmt: skip
        check_url(url, allowed)
    for url in ("http://a.example/", "http://8.8.8.8/", "https://10.2.0.1/", "https://[::1]/", "ftp://hooks.inside/"):
        with pytest.raises(RequestFailed) as error:
            check_url(url, allowed)
        assert error.value.code is Code.INVALID


async def test_a_failure_of_the_reader_is_not_taken_for_the_sites(site: Site) -> None:
    with pytest.raises(TimeoutError):
        async with fetch(f"{site.url}/events.csv", LOCAL, max_bytes=1 << 20, timeout_seconds=5):
            raise TimeoutError


async def test_what_a_post_is_answered_is_its_status_whatever_follows(site: Site) -> None:
    site.pages["/"] = answer(200, b"x" * 1_000_000)
    site.pages["/cut"] = answer(503, b"", **{"Retry-After": "7"}).replace(b"content-length: 0", b"content-length: 9")
    site.pages["/moved"] = answer(307, location=f"{site.url}/")
    async with open_poster(LOCAL) as connection:
        for path, status, retry_after in (("/", 200, None), ("/cut", 503, "7"), ("/moved", 307, None)):
            answered = await connection.post(site.url + path, {"webhook-id": "act_1:1"}, b"{}", 5.0)
            assert answered == PostResponse(status, retry_after)
    assert [head[0] for head in site.asked] == [f"POST {path} HTTP/1.1" for path in ("/", "/cut", "/moved")]
    assert {"webhook-id: act_1:1", "Content-Length: 2", "User-Agent: Punchcard"} <= set(site.asked[0])


async def test_a_post_goes_only_where_a_file_may_come_from(site: Site) -> None:
    site.pages["/silent"] = None
    async with open_poster(Allowed()) as connection, refused(Code.INVALID, UNREACHABLE):
        await connection.post(f"{site.url}/", {}, b"", 5.0)
    assert not site.asked
    async with open_poster(LOCAL) as connection:
        async with refused(Code.INVALID, "user name"):
            await connection.post("http://me:you@127.0.0.1/", {}, b"", 5.0)
        async with refused(Code.UNKNOWN, "did not answer within 0.05 s"):
            await connection.post(f"{site.url}/silent", {}, b"", 0.05)
        async with refused(Code.UNKNOWN, "did not answer"):
            await connection.post("http://127.0.0.1:9/", {}, b"", 5.0)


async def test_posts_share_their_connections() -> None:
    async with run_receiver() as receiver, open_poster(LOCAL) as connections:
        for _ in range(5):
            assert await connections.post(receiver.url, {}, b"{}", 5.0) == PostResponse(200)
        assert receiver.connections == 1
