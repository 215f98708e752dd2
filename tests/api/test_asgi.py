"""The ASGI application: the GraphiQL page and its headers, and readiness without Redis."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import httpx
import pytest

from app.clock import FixedClock
from app.resources import Resources, open_redis
from tests.business import Business, open_business
from tests.graphql.serving import Api, run_api


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    """Create an empty workspace."""
    return await open_business(resources, clock)


async def get(api: Api, path: str) -> httpx.Response:
    return await api.http.get(api.url.removesuffix("/graphql") + path)


async def test_api_without_redis_is_ready_and_degraded(business: Business) -> None:
    settings = dataclasses.replace(business.ctx.resources.settings, redis_url="redis://127.0.0.1:1/0")
    redis = open_redis(settings)
    business.ctx = dataclasses.replace(business.ctx, resources=dataclasses.replace(business.ctx.resources, redis=redis))
    async with run_api(business) as api:
        ready = await get(api, "/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    await redis.aclose()


async def test_graphiql_page_loads_all_its_files_from_the_api(business: Business) -> None:
    async with run_api(business) as api:
        page = await get(api, "/graphiql")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "http" not in page.text.replace('charset="utf-8"', "")
        for name in ("react.min.js", "react-dom.min.js", "graphiql.min.js", "graphiql.min.css", "page.js", "page.css"):
            assert f"/graphiql/{name}" in page.text
            assert (await get(api, f"/graphiql/{name}")).status_code == 200
        assert (await get(api, "/")).headers["location"] == "/graphiql"
        assert page.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "path", ["/healthz/", "/metrics/", "/jobs/job_1/report.csv/", "/graphiql//", "//evil.example/"]
)
async def test_no_redirect_names_the_host_of_the_request(business: Business, path: str) -> None:
    """A redirect from /healthz/ led to any host that the request named."""
    async with run_api(business) as api:
        url = api.url.removesuffix("/graphql") + path
        response = await api.http.get(url, headers={"host": "evil.example"})
        assert response.status_code == 404
        assert "location" not in response.headers


async def test_files_and_refusals_of_downloads_are_not_cached(business: Business) -> None:
    async with run_api(business) as api:
        for path, headers in (
            ("/jobs/job_none/report.csv", {}),
            ("/jobs/job_none/report.csv", api.headers),
            ("/jobs/job_none/report.csv", {"authorization": f"Bearer {await api.create_key('write')}"}),
            ("/exports/job_none?workspace=ws_none&expires=1&signature=x", {}),
            (f"/exports/job_none?workspace={business.ctx.workspace.id}&expires=1&signature=x", {}),
        ):
            response = await api.http.get(api.url.removesuffix("/graphql") + path, headers=headers)
            assert response.status_code in (401, 403, 404)
            assert response.headers["cache-control"] == "no-store"


def test_bundled_libraries_come_with_their_licences() -> None:
    folder = Path("app/api/static/graphiql")
    for name in ("LICENSE-graphiql.txt", "LICENSE-react.txt"):
        assert "Permission is hereby granted" in (folder / name).read_text()
