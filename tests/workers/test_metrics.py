"""A worker process from outside: its metrics port, its heartbeats, and how it stops."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.clock import SystemClock
from app.config.settings import ConfigError, Settings
from app.local.processes import Child
from app.local.servers import free_port, listens
from app.resources import Resources
from app.store.operations.heartbeats import Heartbeats
from tests import servers
from tests.business import Business
from tests.patience import PATIENCE_SECONDS, running, wait_until
from workers.main import run
from workers.metrics import STUCK_AFTER_SECONDS, serve_metrics
from workers.stages.fold import fold_once
from workers.worker import Worker


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, worker_metrics_port=free_port(), sweep_seconds=0.1)


@asynccontextmanager
async def run_worker_process(settings: Settings) -> AsyncIterator[Child]:
    child = servers.worker(settings)
    child.ready = lambda: listens(settings.host, settings.worker_metrics_port)
    await child.start()
    try:
        yield child
    finally:
        await child.kill()


async def request(settings: Settings, path: str, method: str = "GET") -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.request(
            method, f"http://127.0.0.1:{settings.worker_metrics_port}{path}", timeout=PATIENCE_SECONDS
        )


async def test_worker_serves_metrics_and_healthz_on_its_own_port(business: Business, settings: Settings) -> None:
    resources = business.ctx.resources

    async def has_folded() -> bool:
        families = text_string_to_metric_families((await request(settings, "/metrics")).text)
        values = {sample.name: sample.value for family in families for sample in family.samples}
        return values["punchcard_events_folded_total"] == 3 and values["process_cpu_seconds_total"] > 0

    await business.record(*({"external_id": str(n), "amount": 1} for n in range(3)))
    async with run_worker_process(resources.settings):
        await wait_until(has_folded)
        assert (await request(settings, "/healthz")).json() == {"status": "ok"}
        assert (await request(settings, "/graphql")).status_code == 404
        rejected = await request(settings, "/metrics", "POST")
        assert (rejected.status_code, rejected.headers["allow"]) == (405, "GET, HEAD")
        head = await request(settings, "/metrics", "HEAD")
        assert (head.content, head.status_code) == (b"", 200)


async def test_malformed_requests_do_not_stop_the_metrics_server(resources: Resources) -> None:
    port = resources.settings.worker_metrics_port
    async with serve_metrics(Worker.on(resources)):
        for data in (b"", b"\x00" * 100, b"A" * 40_000, b"\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            writer.write_eof()
            async with asyncio.timeout(PATIENCE_SECONDS):
                with suppress(ConnectionError):
                    await reader.read()
            writer.close()
        assert (await request(resources.settings, "/healthz")).status_code == 200


async def test_health_fails_after_a_minute_without_an_end_of_a_look_or_round(resources: Resources) -> None:
    worker = Worker.on(resources)
    async with serve_metrics(worker):
        worker.progressed_at -= STUCK_AFTER_SECONDS - 1
        assert (await request(resources.settings, "/healthz")).json() == {"status": "ok"}
        worker.progressed_at -= 2
        stuck = await request(resources.settings, "/healthz")
        assert (stuck.status_code, stuck.json()) == (503, {"status": "stuck"})
        await worker.run_alone("fold", "0-15", lambda: fold_once(worker, "0-15"))
        assert (await request(resources.settings, "/healthz")).status_code == 200


async def test_metrics_port_zero_listens_nowhere_and_a_used_port_is_named(resources: Resources) -> None:
    disabled = dataclasses.replace(resources, settings=dataclasses.replace(resources.settings, worker_metrics_port=0))
    async with serve_metrics(Worker.on(disabled)), serve_metrics(Worker.on(resources)):
        with pytest.raises(ConfigError, match=f"port {resources.settings.worker_metrics_port} of 127.0.0.1"):
            async with serve_metrics(Worker.on(resources)):
                pass


async def test_worker_sends_heartbeats_until_it_stops(resources: Resources) -> None:
    heartbeats = Heartbeats(resources.db)

    async def count_alive() -> int:
        return await heartbeats.count_alive(await SystemClock().now())

    async with run_worker_process(resources.settings) as worker:
        await wait_until(lambda: _is(count_alive(), 1))
        worker.signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await worker.wait() == 0
    assert await count_alive() == 0


async def _is(awaitable: Awaitable[int], expected: int) -> bool:
    return await awaitable == expected


async def test_stopping_worker_finishes_its_round_and_starts_no_other(resources: Resources) -> None:
    worker = Worker.on(resources)
    begun, may_end = asyncio.Event(), asyncio.Event()
    ended: list[int] = []

    async def once() -> bool:
        begun.set()
        await may_end.wait()
        ended.append(1)
        return True

    first = asyncio.create_task(worker.run_alone("fold", "0-15", once))
    await begun.wait()
    stop = asyncio.create_task(worker.stop())
    second = asyncio.create_task(worker.run_alone("fold", "0-15", once))
    await second
    assert not stop.done()
    may_end.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(first, stop)
    assert ended == [1]
    await worker.run_alone("fold", "16-31", once)
    assert ended == [1]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PUNCHCARD_SWEEP_SECONDS": "never"}, "PUNCHCARD_SWEEP_SECONDS must be a number of seconds"),
        ({"MONGODB_URI": "mongodb://a:b:c@d"}, "MONGODB_URI cannot be used"),
        ({"REDIS_URL": "redis://a:b"}, "REDIS_URL cannot be used"),
        ({"MONGODB_URI": "mongodb://127.0.0.1:1"}, "The store did not answer"),
    ],
)
async def test_worker_that_cannot_start_prints_the_reason_in_one_line(
    settings: Settings, tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    child = servers.worker(settings)
    assert child.env is not None
    child.env |= variables
    child.log = tmp_path / "worker.log"
    await child.start()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await child.wait() == 1
    [line] = child.log.read_text().splitlines()
    assert line.startswith("Error: ")
    assert message in line


async def test_worker_stops_although_a_library_swallows_the_cancellation(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ignore_first_cancellation(*_: object, **__: object) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    monkeypatch.setattr("workers.main._listen", ignore_first_cancellation)
    stopping = asyncio.Event()
    heartbeats = Heartbeats(resources.db)

    async def count_alive() -> int:
        return await heartbeats.count_alive(await SystemClock().now())

    async with asyncio.timeout(PATIENCE_SECONDS), running(run(resources.settings, stopping), stopping):
        await wait_until(lambda: _is(count_alive(), 1))
