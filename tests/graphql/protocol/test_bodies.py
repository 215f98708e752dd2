"""Bodies of requests: they arrive in time or are cut, and one client holds only so many of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.graphql.protocol import bodies, body_stream, http
from app.store.workspace.finding import FindQueries
from app.store.workspace.jobs import JobQueries
from tests.business import Business
from tests.graphql.execution.test_limits import replace_settings
from tests.graphql.jobs.test_imports import import_file
from tests.graphql.serving import Api, run_api
from tests.patience import PATIENCE_SECONDS

JSON = "application/json"
UPLOAD = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="0"; filename="a.csv"\r\n\r\n'


class RawRequest:
    """A POST whose body the test sends piece by piece."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def read_answer(self) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of the response."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            length = next(line for line in head.lower().splitlines() if line.startswith("content-length"))
            body: dict[str, Any] = json.loads(await self._reader.readexactly(int(length.split(":")[1])))
            return int(head.split()[1]), body

    async def read_end(self) -> bytes:
        """Return all bytes until the server closes the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._reader.read()


@asynccontextmanager
async def begin(api: Api, secret: str, length: int | None, content_type: str = JSON) -> AsyncIterator[RawRequest]:
    """Send the headers of a POST with that length of its body, or with chunks."""
    address = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = (
        "POST /graphql HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {secret}",
        f"Content-Type: {content_type}",
        "graphql-require-preflight: 1",
        size,
    )
    try:
        writer.write("\r\n".join((*lines, "", "")).encode())
        yield RawRequest(reader, writer)
    finally:
        writer.close()


def error_code(body: dict[str, Any]) -> str:
    code: str = body["errors"][0]["extensions"]["code"]
    return code


@pytest.mark.parametrize("content_type", [JSON, UPLOAD])
async def test_body_that_stops_to_arrive_gets_408_and_the_connection_is_closed(
    api: Api, monkeypatch: pytest.MonkeyPatch, content_type: str
) -> None:
    monkeypatch.setattr(body_stream, "SILENCE_TIMEOUT_SECONDS", 0.05)
    async with begin(api, api.secret, 4_000_000, content_type) as request:
        await request.send(PART if content_type == UPLOAD else b"{")
        status, body = await request.read_answer()
        assert (status, error_code(body)) == (408, "BAD_REQUEST")
        assert await request.read_end() == b""


async def test_body_that_arrives_too_slowly_gets_408(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_stream, "BODY_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(body_stream, "MIN_BYTES_PER_SECOND", 1_000_000_000)
    async with begin(api, api.secret, 4_000_000) as request:
        answer = asyncio.create_task(request.read_answer())
        while not answer.done():
            await request.send(b" ")
            await asyncio.sleep(0.01)
        assert answer.result()[0] == 408


async def test_rest_of_a_body_that_is_answered_already_is_not_awaited_for_ever(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.slow_clients.HEADER_TIMEOUT_SECONDS", 0.1)
    async with begin(api, "invalid", 4_000_000) as request:
        assert (await request.read_answer())[0] == 401
        end = asyncio.create_task(request.read_end())
        with contextlib.suppress(ConnectionError):
            while not end.done():
                await request.send(b" ")
                await asyncio.sleep(0.01)
            await end


async def test_one_key_holds_only_so_many_bytes_of_bodies(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 requests that never completed their bodies held 173 MB before."""
    monkeypatch.setattr(bodies, "MAX_HELD_BYTES_PER_KEY", 1)
    async with run_api(replace_settings(business, body_bytes=131_072)) as api, AsyncExitStack() as stack:
        requests = [await stack.enter_async_context(begin(api, api.secret, 131_072)) for _ in range(5)]
        for request in requests:
            await request.send(b" " * 131_071)
        answered, _ = await asyncio.wait(
            [asyncio.create_task(request.read_answer()) for request in requests], return_when=asyncio.FIRST_COMPLETED
        )
        status, body = answered.pop().result()
        assert (status, error_code(body)) == (429, "THROTTLED")
        other = await api.create_key("read")
        response = await api.post('{"query": "{ __typename }"}', authorization=f"Bearer {other}")
        assert response.status_code == 200


async def test_one_key_has_only_so_many_requests_at_once(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_REQUESTS_PER_KEY", 2)
    # The two requests must not end before the third one comes, on a busy machine neither.
    for name in ("SILENCE_TIMEOUT_SECONDS", "BODY_TIMEOUT_SECONDS"):
        monkeypatch.setattr(body_stream, name, 2 * PATIENCE_SECONDS)
    async with run_api(business) as api, AsyncExitStack() as stack:
        requests = [await stack.enter_async_context(begin(api, api.secret, 100)) for _ in range(2)]
        for request in requests:
            await request.send(b"{")
        refused = [asyncio.create_task(request.read_answer()) for request in requests]
        async with asyncio.timeout(PATIENCE_SECONDS):
            # The two requests may not have arrived yet. If one arrives while the third runs, it is the one too many.
            while (response := await api.post('{"query": "{ __typename }"}')).status_code == 200:
                if any(task.done() for task in refused):
                    break
        answers = [task.result()[1] for task in refused if task.done()] or [response.json()]
        assert [error_code(body) for body in answers] == ["THROTTLED"]
        for task in refused:
            task.cancel()


async def test_body_is_paid_before_it_is_read_and_a_refusal_costs_points_too(business: Business) -> None:
    async with run_api(replace_settings(business, budget_points=1_000, budget_per_second=1)) as api:
        async with begin(api, api.secret, 2_000_000) as request:
            assert error_code((await request.read_answer())[1]) == "LIMIT_EXCEEDED"
        for status in (200, 429):
            async with begin(api, api.secret, 900_000) as request:
                if status == 200:
                    await request.send(b'{"query": "{ __typename }"}'.ljust(900_000))
                assert (await request.read_answer())[0] == status
        api.secret = await api.create_key("read")
        for _ in range(3):
            assert "errors" in (await api.post('{"query": "{ nope }"}' + " " * 102_400)).json()
        left = (await api.execute("{ __typename }"))["extensions"]["cost"]["remaining"]
        assert left <= 1_000 - 3 * 100 - 1


async def test_upload_without_the_scope_write_is_refused_before_its_body(api: Api) -> None:
    """Keys that may only read filled the disk with gigabytes before."""
    for scope in ("read", "subscribe"):
        async with begin(api, await api.create_key(scope), 1_000_000_000, UPLOAD) as request:
            status, body = await request.read_answer()
            assert (status, error_code(body)) == (403, "FORBIDDEN")


async def test_uploads_cost_points_and_are_limited_in_number(business: Business) -> None:
    async with run_api(replace_settings(business, budget_points=1_000, budget_per_second=1)) as api:
        await api.execute("{ __typename }")
        async with begin(api, api.secret, 1_000_000_000, UPLOAD) as request:
            assert (await request.read_answer())[0] == 429
        async with AsyncExitStack() as stack:
            for number in range(bodies.MAX_UPLOADS_PER_KEY):
                request = await stack.enter_async_context(begin(api, api.secret, 1_000 + number, UPLOAD))
                await request.send(PART)
            async with asyncio.timeout(PATIENCE_SECONDS):
                # The other requests may not have arrived yet.
                while True:
                    async with begin(api, api.secret, len(PART) + 9, UPLOAD) as request:
                        await request.send(PART + b"\r\n--x--\r\n")
                        status, body = await request.read_answer()
                    if status == 429:
                        break
        assert "uploads may be open for one API key" in body["errors"][0]["message"]


async def test_upload_without_a_length_pays_as_it_arrives(business: Business) -> None:
    async with (
        run_api(replace_settings(business, budget_points=100, budget_per_second=1)) as api,
        begin(api, api.secret, None, UPLOAD) as request,
    ):
        await request.send(b"%x\r\n" % len(PART) + PART + b"\r\n")
        answer = asyncio.create_task(request.read_answer())
        sent = 0
        while not answer.done():
            await request.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            sent += 65_536
        assert answer.result()[0] == 429
        assert sent < 20_000_000


async def test_upload_may_not_fill_the_disk(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1_500_000))
    async with begin(api, api.secret, 5_000_000, UPLOAD) as request:
        await request.send(PART + b"x" * 4_000_000)
        status, body = await request.read_answer()
        assert (status, error_code(body)) == (503, "UNAVAILABLE")


async def test_multipart_request_has_a_time_limit_unless_an_import_stores_its_file(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same query as multipart, with an empty map, ran for 20 s where the limit was 1 s."""

    async def wait_forever(*_: object) -> None:
        await asyncio.Event().wait()

    put_input = JobQueries.put_input

    async def put_input_slowly(*arguments: Any) -> None:
        await asyncio.sleep(0.5)
        await put_input(*arguments)

    monkeypatch.setattr(FindQueries, "page", wait_forever)
    monkeypatch.setattr(JobQueries, "put_input", put_input_slowly)
    async with run_api(replace_settings(business, operation_seconds=0.3)) as api:
        parts = {"operations": (None, '{"query": "{ passes { nodes { id } } }"}'), "map": (None, "{}")}
        headers = {**api.headers, "graphql-require-preflight": "1"}
        response = await api.http.post(api.url, files=parts, headers=headers)
        assert (response.status_code, error_code(response.json())) == (504, "OPERATION_TIMEOUT")
        payload = await import_file(api, "customer_id,date,amount\nann,2025-11-01,1.50\n")
        assert payload["userErrors"] == []
