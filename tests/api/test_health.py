"""What operators and their machines ask the API, over real HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.api.shutdown import Shutdown
from app.clock import FixedClock, SystemClock
from app.config.settings import Settings
from app.resources import Resources, open_resources
from tests.business import Business, open_business
from tests.graphql.serving import Api, serving
from tests.servers import running_servers
from workers.main import GUARDED
from workers.sweep import Sweep

SECONDS = 20


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    return await open_business(resources, clock)


@pytest.fixture
async def api(business: Business) -> AsyncIterator[Api]:
    async with serving(business) as running:
        yield running


def address(api: Api, path: str) -> str:
    return api.address.removesuffix("/graphql") + path


async def ready(api: Api) -> httpx.Response:
    return await api.http.get(address(api, "/readyz"), timeout=SECONDS)


async def until_ready(api: Api, holds: Callable[[httpx.Response], bool]) -> httpx.Response:
    deadline = time.monotonic() + SECONDS
    while not holds(response := await ready(api)):
        assert time.monotonic() < deadline, response.text
        await asyncio.sleep(0.05)
    return response


def states(response: httpx.Response) -> dict[str, str]:
    return {name: check["status"] for name, check in response.json()["checks"].items()}


@asynccontextmanager
async def sweeping(business: Business) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    running = asyncio.create_task(Sweep(business.worker, GUARDED).run(stopping))
    yield
    stopping.set()
    await running


async def test_ready_says_of_each_part_how_it_is(api: Api) -> None:
    async with sweeping(api.business):
        response = await until_ready(api, lambda response: bool(response.json()["status"] == "ok"))
    assert response.status_code == 200
    assert states(response) == {"store": "ok", "indexes": "ok", "redis": "ok", "workers": "ok"}
    assert response.json()["checks"]["workers"]["alive"] == 1
    assert all(check["seconds"] >= 0 for check in response.json()["checks"].values())


async def test_without_a_worker_the_api_is_degraded_and_still_takes_requests(api: Api) -> None:
    async with sweeping(api.business):
        await until_ready(api, lambda response: states(response)["workers"] == "ok")
    response = await until_ready(api, lambda response: states(response)["workers"] == "down")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")


@pytest.mark.unused_database
async def test_a_missing_index_makes_the_api_unready_and_is_named(business: Business) -> None:
    await business.ctx.resources.db["events"].drop_index("workspace_1_occurred_at_1__id_1")
    async with serving(business) as api:
        response = await ready(api)
    assert (response.status_code, response.json()["status"]) == (503, "unavailable")
    assert response.json()["checks"]["indexes"]["missing"] == ["events.workspace_1_occurred_at_1__id_1"]


async def test_without_redis_the_api_is_degraded_and_without_the_store_unready_but_alive(tmp_path: Path) -> None:
    async with running_servers(tmp_path) as own, open_resources(own.settings) as resources:
        business = await open_business(resources, FixedClock(await SystemClock().now()))
        async with serving(business) as api:
            await own.redis.kill()
            response = await until_ready(api, lambda response: states(response)["redis"] == "down")
            assert (response.status_code, response.json()["status"]) == (200, "degraded")
            await own.mongo.kill()
            response = await until_ready(api, lambda response: states(response)["store"] == "down")
            assert (response.status_code, response.json()["status"]) == (503, "unavailable")
            assert (await api.http.get(address(api, "/healthz"))).json() == {"status": "ok"}
            assert re.search(r"\d+\.\d+\.\d+\.\d+", response.text) is None, "no address of ours is told to anybody"
            samples = await scraped(api)
            assert samples["punchcard_backlog_up", ""] == 0
            await own.mongo.start()
            await until_ready(api, lambda response: response.status_code == 200)


async def test_an_api_that_goes_away_says_so(business: Business) -> None:
    draining = Shutdown()
    async with serving(business, draining=draining) as api:
        assert (await ready(api)).json()["status"] != "stopping"
        await draining.begin()
        response = await ready(api)
    assert (response.status_code, response.json()["status"]) == (503, "stopping")
    assert response.headers["connection"] == "close"


async def scraped(api: Api) -> dict[tuple[str, str], float]:
    """Every sample by its name and its labels, written like `{"a": "1"}` without braces."""
    response = await api.http.get(address(api, "/metrics"), timeout=SECONDS)
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


async def test_requests_are_counted_by_name_type_and_outcome_and_errors_by_code(api: Api) -> None:
    before = await scraped(api)
    await api.data("query CountedOnce { viewer { workspace { name } } }")
    await api.answer("query Unknown { nope }")
    refused = await api.data('mutation { createPass(input: {externalId: ""}) { userErrors { code } } }')
    [error] = refused["createPass"]["userErrors"]
    after = await scraped(api)

    def counted(name: str, labels: str) -> float:
        return after.get((name, labels), 0) - before.get((name, labels), 0)

    assert counted("punchcard_operations_total", "operation=CountedOnce,outcome=ok,transport=http,type=query") == 1
    assert counted("punchcard_operations_total", "operation=none,outcome=refused,transport=http,type=unknown") == 1
    assert counted("punchcard_cost_points_total", "operation=CountedOnce,type=query") >= 1
    assert counted("punchcard_operation_seconds_count", "operation=CountedOnce,type=query") == 1
    assert counted("punchcard_errors_total", "code=GRAPHQL_VALIDATION_FAILED") == 1
    assert counted("punchcard_user_errors_total", f"code={error['code']}") == 1
    assert counted("punchcard_http_requests_total", "route=graphql,status=200") == 3
    assert after["process_cpu_seconds_total", ""] > 0
    assert after["process_resident_memory_bytes", ""] > 0


async def test_sockets_and_subscriptions_are_counted_while_they_are_open(api: Api) -> None:
    async with api.socket() as socket:
        await socket.subscribe("subscription { activity { __typename } }")
        await socket.next()
        samples = await scraped(api)
        assert (samples["punchcard_sockets_open", ""], samples["punchcard_subscriptions_open", ""]) == (1, 1)
    deadline = time.monotonic() + SECONDS
    while samples["punchcard_sockets_open", ""] or samples["punchcard_subscriptions_open", ""]:
        assert time.monotonic() < deadline
        samples = await scraped(api)


async def test_the_backlog_is_told_and_what_was_done_is_counted(business: Business, clock: FixedClock) -> None:
    await business.record({"external_id": "1", "amount": 1}, {"external_id": "2", "amount": 1})
    clock.set((await clock.now()).replace(minute=1))
    async with serving(business) as api:
        samples = await scraped(api)
        assert samples["punchcard_backlog_up", ""] == 1
        assert samples["punchcard_pending_events", ""] == 2
        assert samples["punchcard_fold_lag_seconds", ""] == 60
        assert samples["punchcard_queued_wake_ups", "queue=flow"] >= 0
    await business.settle()
    async with serving(business) as api:
        done = await scraped(api)
    assert (done["punchcard_pending_events", ""], done["punchcard_fold_lag_seconds", ""]) == (0, 0)
    assert done["punchcard_unpublished_passes", ""] == 0
    for name, count in {"events_folded": 2, "activities_published": 3}.items():
        assert done[f"punchcard_{name}_total", ""] - samples[f"punchcard_{name}_total", ""] >= count


async def _metrics_status(business: Business, settings: Settings, **headers: str) -> int:
    ctx = dataclasses.replace(business.ctx, resources=dataclasses.replace(business.ctx.resources, settings=settings))
    async with serving(dataclasses.replace(business, ctx=ctx)) as api:
        return (await api.http.get(address(api, "/metrics"), headers=headers)).status_code


@pytest.mark.parametrize(
    ("allowed", "headers", "status"),
    [
        ("local", {}, 200),
        ("local", {"x-forwarded-for": "127.0.0.1"}, 404),
        ("local", {"forwarded": "for=10.0.0.1"}, 404),
        ("on", {"x-forwarded-for": "10.0.0.1"}, 200),
        ("off", {}, 404),
    ],
)
async def test_metrics_are_for_this_machine_unless_the_settings_say_otherwise(
    business: Business, settings: Settings, allowed: Any, headers: dict[str, str], status: int
) -> None:
    assert await _metrics_status(business, dataclasses.replace(settings, metrics=allowed), **headers) == status
