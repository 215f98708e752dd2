"""The mutation importEvents with a URL: Punchcard fetches the file only from an allowed host (SSRF guard)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.config.settings import Settings
from tests.business import Business
from tests.graphql.serving import Api, list_codes, run_api

IMPORT = """mutation Import($input: ImportEventsInput!) { importEvents(input: $input) {
  job { id progress { total } } userErrors { code message field } } }"""
ROWS = b"customer,date,type\nann,2025-11-01,purchase\nbob,2025-11-01,visit\n"


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """Run a local server that has two files and responds with 404 to any other path, and yield its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        while (await reader.readline()).strip():
            pass
        body = {b"/tills/north.csv": ROWS, b"/empty.csv": b"customer\n"}.get(line.split()[1])
        head = b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n" % (404 if body is None else 200, len(body or b""))
        writer.write(head + (body or b""))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


def replace_settings(business: Business, **settings: object) -> Business:
    """Return the business with other settings."""
    resources = business.ctx.resources
    changed: Settings = replace(resources.settings, **settings)  # type: ignore[arg-type]
    return replace(business, ctx=replace(business.ctx, resources=replace(resources, settings=changed)))


async def test_file_is_fetched_from_a_url_whose_host_the_operator_allows(business: Business, site: str) -> None:
    async with run_api(replace_settings(business, egress_allow=("127.0.0.1",))) as api:
        full = (await api.fetch_data(IMPORT, input={"url": f"{site}/tills/north.csv"}))["importEvents"]
        assert full["userErrors"] == []
        assert full["job"]["progress"]["total"] == 2
        empty = (await api.fetch_data(IMPORT, input={"url": f"{site}/empty.csv"}))["importEvents"]
        assert list_codes(empty["userErrors"]) == [("REQUIRED", ["url"])]
        missing = (await api.fetch_data(IMPORT, input={"url": f"{site}/missing.csv"}))["importEvents"]
        assert list_codes(missing["userErrors"]) == [("UNKNOWN", ["url"])]
    async with run_api(replace_settings(business, egress_allow=("127.0.0.1",), upload_bytes=20)) as api:
        large = (await api.fetch_data(IMPORT, input={"url": f"{site}/tills/north.csv"}))["importEvents"]
        assert list_codes(large["userErrors"]) == [("TOO_LONG", ["url"])]


async def test_url_of_an_internal_host_or_another_scheme_is_refused(api: Api, site: str) -> None:
    for url in (site, site.replace("127.0.0.1", "localhost"), "http://169.254.169.254/latest", "file:///etc/passwd"):
        refused = (await api.fetch_data(IMPORT, input={"url": f"{url}/tills/north.csv"}))["importEvents"]
        assert (refused["job"], list_codes(refused["userErrors"])) == (None, [("INVALID", ["url"])])


async def test_import_without_a_file_and_without_a_url_is_refused(api: Api) -> None:
    payload = (await api.fetch_data(IMPORT, input={}))["importEvents"]
    assert list_codes(payload["userErrors"]) == [("REQUIRED", ["file"])]
