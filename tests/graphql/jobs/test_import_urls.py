"""importEvents from a URL: fetched where that may be, refused in userErrors where not (checklist 3.4: SSRF guard)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.config.settings import Settings
from tests.business import Business
from tests.graphql.serving import Api, codes, serving

IMPORT = """mutation Import($input: ImportEventsInput!) { importEvents(input: $input) {
  job { id progress { total } } userErrors { code message field } } }"""
ROWS = b"customer,type,order\nann,purchase,1\nbob,visit,2\n"


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """The address of a server on this machine that has two files, and answers 404 for any other."""

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


def allowing(business: Business, **settings: object) -> Business:
    """The business, with other settings."""
    resources = business.ctx.resources
    changed: Settings = replace(resources.settings, **settings)  # type: ignore[arg-type]
    return replace(business, ctx=replace(business.ctx, resources=replace(resources, settings=changed)))


async def test_a_file_may_be_named_by_a_url_where_the_operator_allows_its_host(business: Business, site: str) -> None:
    async with serving(allowing(business, egress_allow=("127.0.0.1",))) as api:
        made = (await api.data(IMPORT, input={"url": f"{site}/tills/north.csv"}))["importEvents"]
        assert made["userErrors"] == []
        assert made["job"]["progress"]["total"] == 2
        empty = (await api.data(IMPORT, input={"url": f"{site}/empty.csv"}))["importEvents"]
        assert codes(empty["userErrors"]) == [("REQUIRED", ["url"])]
        gone = (await api.data(IMPORT, input={"url": f"{site}/gone.csv"}))["importEvents"]
        assert codes(gone["userErrors"]) == [("UNKNOWN", ["url"])]
    async with serving(allowing(business, egress_allow=("127.0.0.1",), upload_bytes=20)) as api:
        large = (await api.data(IMPORT, input={"url": f"{site}/tills/north.csv"}))["importEvents"]
        assert codes(large["userErrors"]) == [("TOO_LONG", ["url"])]


async def test_a_url_that_leads_inside_is_refused(api: Api, site: str) -> None:
    for url in (site, site.replace("127.0.0.1", "localhost"), "http://169.254.169.254/latest", "file:///etc/passwd"):
        refused = (await api.data(IMPORT, input={"url": f"{url}/tills/north.csv"}))["importEvents"]
        assert (refused["job"], codes(refused["userErrors"])) == (None, [("INVALID", ["url"])])


async def test_a_file_is_sent_or_named_and_not_both_or_neither(api: Api) -> None:
    neither = (await api.data(IMPORT, input={}))["importEvents"]
    assert codes(neither["userErrors"]) == [("REQUIRED", ["file"])]
