"""Fixtures: one Mongo-wire server and one Redis for each test process, an empty database for each test."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as laws
from redis.asyncio import Redis

from app.clock import FixedClock
from app.config.settings import Settings
from app.resources import Resources, open_resources
from app.store.cache import WorkspaceCache
from app.store.mongo.queries import Database
from tests.business import INDEXED, Business, open_business
from tests.servers import Servers, running_servers
from workers.stages import erase

# How long an example takes says how busy the machine is, and nothing about the law.
laws.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
laws.load_profile("patient")

_numbers = itertools.count(1)
_spare: deque[str] = deque()
MOST_DELETED = 50
SPARE = 2
"""How many emptied databases are left alone at least: what a test left running may still write to the last ones."""

LONGEST = tuple(
    f"tests/{name}.py"
    for name in """
    scenarios/test_replay scenarios/test_sample cli/test_import cli/test_main workers/jobs/test_imports scenarios/test_crashes
    scenarios/test_import contracts/test_flow workers/stages/test_merge workers/stages/test_deliver
    store/workspace/test_events workers/jobs/test_exports graphql/test_malformed graphql/test_isolation workers/test_metrics
    scenarios/test_sigterm api/test_health graphql/events/test_events graphql/webhooks/test_endpoints
    """.split()
)
"""Files that take long, the longest first: what is begun last should be short, or one process waits for the other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Brings the tests into the order in which they are handed out."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """The servers of this test process. A test that kills one uses `running_servers` for servers of its own."""
    async with running_servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture(scope="session")
async def _session_resources(servers: Servers) -> AsyncIterator[Resources]:
    async with open_resources(servers.settings) as opened:
        yield opened


@pytest.fixture(autouse=True)
def parted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that run in the test's own process let go of an erased pass without the patience that other processes need."""
    monkeypatch.setattr(erase, "CACHE_EXPIRY_SECONDS", 0.0)


@pytest.fixture
def settings(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Settings:
    """Settings naming a database that no other test uses now, or ever did where the test is marked so."""
    spare = len(_spare) > SPARE and not request.node.get_closest_marker("unused_database")
    database = _spare.popleft() if spare else f"test{os.getpid()}-{next(_numbers)}"
    return dataclasses.replace(servers.settings, database=database, data_dir=tmp_path / "data")


@pytest.fixture
def clock() -> FixedClock:
    """Stands at 2026-01-01T00:00:00Z until the test moves it."""
    return FixedClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
async def resources(
    request: pytest.FixtureRequest, _session_resources: Resources, settings: Settings, clock: FixedClock
) -> AsyncIterator[Resources]:
    """The resources of a process: an empty database, an empty Redis, the test's clock.

    The database may have its indexes already: making them takes a test longer than emptying what another one left.
    """
    shared = _session_resources
    client = shared.db.client
    db = client[settings.database]
    await shared.redis.flushall()
    bus = type(shared.bus)(shared.redis, settings.database)
    yield dataclasses.replace(shared, db=db, clock=clock, settings=settings, bus=bus, cache=WorkspaceCache())
    await bus.aclose()
    indexed = (settings.mongodb_uri, settings.database) in INDEXED
    if indexed and not request.node.get_closest_marker("unused_database") and await _emptied(db):
        _spare.append(settings.database)
    else:
        await client.drop_database(settings.database)


async def _emptied(db: Database) -> bool:
    """Whether it was emptied: not where so much is in it that dropping it and making another takes less."""
    for large in ("events", "passes", "activities"):
        if await db[large].estimated_document_count() > MOST_DELETED:
            return False
    await asyncio.gather(*(db[name].delete_many({}) for name in await db.list_collection_names()))
    return True


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    """A workspace with an actor of every scope, and a worker that settles when asked to."""
    return await open_business(resources, clock)


@pytest.fixture
def db(resources: Resources) -> Database:
    """The test's own database, empty."""
    return resources.db


@pytest.fixture
def redis(resources: Resources) -> Redis:
    """The Redis of this test process, emptied before the test."""
    return resources.redis
