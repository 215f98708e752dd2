"""The routes for operators over real HTTP: /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request

from app.api.health import OUTAGE_PATIENCE_SECONDS, READINESS_TTL_SECONDS, HealthChecks
from app.api.shutdown import Shutdown
from app.clock import FixedClock, SystemClock
from app.config.settings import Settings
from app.resources import Resources, open_resources
from tests.business import Business, open_business
from tests.graphql.serving import Api, run_api
from tests.patience import PATIENCE_SECONDS, running
from tests.servers import running_servers
from tests.store_proxy import StoreProxy
from workers.main import GUARDED
from workers.sweep import Sweep


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    return await open_business(resources, clock)


@pytest.fixture
async def api(business: Business) -> AsyncIterator[Api]:
    async with run_api(business) as running:
        yield running


def join_url(api: Api, path: str) -> str:
    return api.url.removesuffix("/graphql") + path


async def get_readiness(api: Api) -> httpx.Response:
    return await api.http.get(join_url(api, "/readyz"))


async def wait_for_readiness(api: Api, matches: Callable[[httpx.Response], bool]) -> httpx.Response:
    """Repeat /readyz until its response matches, and return the response."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not matches(response := await get_readiness(api)):
            await asyncio.sleep(0.05)
    return response


def parse_states(response: httpx.Response) -> dict[str, str]:
    return {name: check["status"] for name, check in response.json()["checks"].items()}


@asynccontextmanager
async def run_sweep(business: Business) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    async with running(Sweep(business.worker, GUARDED).run(stopping), stopping):
        yield


async def test_readyz_returns_the_state_of_each_dependency(api: Api) -> None:
    async with run_sweep(api.business):
        response = await wait_for_readiness(api, lambda response: bool(response.json()["status"] == "ok"))
    assert response.status_code == 200
    assert parse_states(response) == {"store": "ok", "indexes": "ok", "schema": "ok", "redis": "ok", "workers": "ok"}
    assert response.json()["checks"]["workers"]["alive"] == 1
    assert all(check["seconds"] >= 0 for check in response.json()["checks"].values())


async def test_api_without_a_worker_is_degraded_and_still_ready(api: Api) -> None:
    async with run_sweep(api.business):
        await wait_for_readiness(api, lambda response: parse_states(response)["workers"] == "ok")
    response = await wait_for_readiness(api, lambda response: parse_states(response)["workers"] == "down")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")


@pytest.mark.unused_database
async def test_missing_index_makes_the_api_unready_and_is_listed(business: Business) -> None:
    await business.ctx.resources.db["events"].drop_index("workspace_1_occurred_at_1__id_1")
    async with run_api(business) as api:
        response = await get_readiness(api)
    assert (response.status_code, response.json()["status"]) == (503, "unavailable")
    assert response.json()["checks"]["indexes"]["missing"] == ["events.workspace_1_occurred_at_1__id_1"]


async def test_api_is_degraded_without_redis_and_unready_but_alive_without_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_servers(tmp_path) as own, open_resources(own.settings) as resources:
        business = await open_business(resources, FixedClock(await SystemClock().now()))
        async with run_api(business) as api:
            await own.redis.kill()
            response = await wait_for_readiness(api, lambda response: parse_states(response)["redis"] == "down")
            assert (response.status_code, response.json()["status"]) == (200, "degraded")
            monkeypatch.setattr("app.api.health.OUTAGE_PATIENCE_SECONDS", 0.0)
            monkeypatch.setattr("app.api.health.CHECK_TIMEOUT_SECONDS", 0.5)
            await own.mongo.kill()
            response = await wait_for_readiness(api, lambda response: parse_states(response)["store"] == "down")
            assert (response.status_code, response.json()["status"]) == (503, "unavailable")
            assert (await api.http.get(join_url(api, "/healthz"))).json() == {"status": "ok"}
            assert re.search(r"\d+\.\d+\.\d+\.\d+", response.text) is None, "the response must hold no internal address"
            samples = await scrape_metrics(api)
            assert samples["punchcard_backlog_up", ""] == 0
            await own.mongo.start()
            monkeypatch.setattr("app.api.health.CHECK_TIMEOUT_SECONDS", PATIENCE_SECONDS)
            await wait_for_readiness(api, lambda response: response.status_code == 200)


async def test_api_stays_ready_for_20_s_while_the_store_elects_a_primary(proxied: Business, proxy: StoreProxy) -> None:
    """All instances see the election at once, so none would be left."""
    clock = [100.0]
    checks = HealthChecks(proxied.ctx.resources, Shutdown(), lambda: clock[0])

    async def ask() -> tuple[int, str, str]:
        clock[0] += READINESS_TTL_SECONDS
        response = await checks.readyz(Request({"type": "http"}))
        body = json.loads(bytes(response.body))
        return response.status_code, body["status"], body["checks"]["store"]["status"]

    assert await ask() == (200, "degraded", "ok")
    proxy.fail("update", "constants", code=10107, code_name="NotWritablePrimary", times=2)
    assert await ask() == (200, "degraded", "down")
    clock[0] += OUTAGE_PATIENCE_SECONDS
    assert await ask() == (503, "unavailable", "down")
    assert await ask() == (200, "degraded", "ok")


async def test_api_that_the_store_refuses_is_unready_at_once(proxied: Business, proxy: StoreProxy) -> None:
    checks = HealthChecks(proxied.ctx.resources, Shutdown(), lambda: 100.0)
    proxy.fail("update", "constants", code=13, code_name="Unauthorized")
    response = await checks.readyz(Request({"type": "http"}))
    store = json.loads(bytes(response.body))["checks"]["store"]
    assert (response.status_code, store["problem"]) == (503, "the store refuses a command; see the log")


async def test_api_that_shuts_down_is_unready_and_closes_the_connection(business: Business) -> None:
    shutdown = Shutdown()
    async with run_api(business, draining=shutdown) as api:
        assert (await get_readiness(api)).json()["status"] != "stopping"
        await shutdown.begin()
        response = await get_readiness(api)
    assert (response.status_code, response.json()["status"]) == (503, "stopping")
    assert response.headers["connection"] == "close"


async def scrape_metrics(api: Api) -> dict[tuple[str, str], float]:
    """Return the samples by name and labels; the labels are written as `a=1,b=2`."""
    response = await api.http.get(join_url(api, "/metrics"))
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


async def test_metrics_count_operations_by_name_type_and_outcome_and_errors_by_code(api: Api) -> None:
    before = await scrape_metrics(api)
    await api.fetch_data("query CountedOnce { viewer { workspace { name } } }")
    await api.execute("query Unknown { nope }")
    refused = await api.fetch_data('mutation { createPass(input: {externalId: ""}) { userErrors { code } } }')
    [error] = refused["createPass"]["userErrors"]
    after = await scrape_metrics(api)

    def increase(name: str, labels: str) -> float:
        return after.get((name, labels), 0) - before.get((name, labels), 0)

    assert increase("punchcard_operations_total", "operation=CountedOnce,outcome=ok,transport=http,type=query") == 1
    assert increase("punchcard_operations_total", "operation=none,outcome=refused,transport=http,type=unknown") == 1
    assert increase("punchcard_cost_points_total", "operation=CountedOnce,type=query") >= 1
    assert increase("punchcard_operation_seconds_count", "operation=CountedOnce,type=query") == 1
    assert increase("punchcard_errors_total", "code=GRAPHQL_VALIDATION_FAILED") == 1
    assert increase("punchcard_user_errors_total", f"code={error['code']}") == 1
    assert increase("punchcard_http_requests_total", "route=graphql,status=200") == 3
    assert after["process_cpu_seconds_total", ""] > 0
    assert after["process_resident_memory_bytes", ""] > 0


async def test_metrics_count_open_sockets_and_subscriptions(api: Api) -> None:
    async with api.open_socket() as socket:
        await socket.subscribe("subscription { activity { __typename } }")
        await socket.receive_data()
        samples = await scrape_metrics(api)
        assert (samples["punchcard_sockets_open", ""], samples["punchcard_subscriptions_open", ""]) == (1, 1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while samples["punchcard_sockets_open", ""] or samples["punchcard_subscriptions_open", ""]:
            samples = await scrape_metrics(api)


async def test_metrics_show_the_backlog_and_count_folded_and_published_items(
    business: Business, clock: FixedClock
) -> None:
    await business.record({"external_id": "1", "amount": 1}, {"external_id": "2", "amount": 1})
    clock.set((await clock.now()).replace(minute=1))
    async with run_api(business) as api:
        samples = await scrape_metrics(api)
        assert samples["punchcard_backlog_up", ""] == 1
        assert samples["punchcard_pending_events", ""] == 2
        assert samples["punchcard_fold_lag_seconds", ""] == 60
        assert samples["punchcard_queued_wake_ups", "queue=flow"] >= 0
    await business.run_worker()
    async with run_api(business) as api:
        after = await scrape_metrics(api)
    assert (after["punchcard_pending_events", ""], after["punchcard_fold_lag_seconds", ""]) == (0, 0)
    assert after["punchcard_unpublished_passes", ""] == 0
    for name, count in {"events_folded": 2, "activities_published": 3}.items():
        assert after[f"punchcard_{name}_total", ""] - samples[f"punchcard_{name}_total", ""] >= count


async def _get_metrics_status(business: Business, settings: Settings, **headers: str) -> int:
    ctx = dataclasses.replace(business.ctx, resources=dataclasses.replace(business.ctx.resources, settings=settings))
    async with run_api(dataclasses.replace(business, ctx=ctx)) as api:
        return (await api.http.get(join_url(api, "/metrics"), headers=headers)).status_code


@pytest.mark.parametrize(
    ("allowed", "headers", "status"),
    [
        ("local", {}, 200),
        ("local", {"x-forwarded-for": "127.0.0.1"}, 404),
        ("local", {"forwarded": "for=10.0.0.1"}, 404),
        ("local", {"via": "1.1 proxy"}, 404),
        ("local", {"x-real-ip": "10.0.0.1"}, 404),
        ("local", {"x-forwarded-proto": "https"}, 404),
        ("local", {"cf-connecting-ip": "10.0.0.1"}, 404),
        ("local", {"true-client-ip": "10.0.0.1"}, 404),
        ("local", {"x-envoy-external-address": "10.0.0.1"}, 404),
        ("local", {"x-forwarded-host": "shop.example"}, 404),
        ("local", {"host": "shop.example"}, 404),
        ("local", {"host": "127.0.0.1.shop.example:8000"}, 404),
        ("local", {"host": "[::1]:8000"}, 200),
        ("local", {"host": "localhost"}, 200),
        ("on", {"x-forwarded-for": "10.0.0.1"}, 200),
        ("off", {}, 404),
    ],
)
async def test_metrics_are_local_only_unless_the_settings_open_or_close_them(
    business: Business, settings: Settings, allowed: Any, headers: dict[str, str], status: int
) -> None:
    assert await _get_metrics_status(business, dataclasses.replace(settings, metrics=allowed), **headers) == status
