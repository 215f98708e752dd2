"""Fixtures: one Mongo-wire server and one Redis for each test process, and an empty database for each test."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import math
import os
import secrets
import shutil
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as laws
from motor.motor_asyncio import AsyncIOMotorClient
from redis.asyncio import Redis

from app.clock import FixedClock
from app.config.settings import Settings
from app.resources import Resources, open_resources
from app.store.cache import WorkspaceCache
from app.store.mongo.driver import open_client
from app.store.mongo.failures import failure_log
from app.store.mongo.queries import Database, Doc
from tests.business import Business, open_business
from tests.databases import create_database, drop_database, empty_database
from tests.patience import PATIENCE_SECONDS
from tests.servers import EMBEDDED, JAVA, Servers, running_servers
from tests.store_proxy import StoreProxy, running_proxy
from workers.stages import erase
from workers.worker import Worker

# The duration of an example depends on the load of the machine, so a slow example must not fail a test.
laws.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
laws.load_profile("patient")

_numbers = itertools.count(1)
DATABASES = f"test-{secrets.token_hex(4)}-"
"""How the names of this process's databases begin. Other processes may use the same store."""
_spare: dict[bool, deque[str]] = {False: deque(), True: deque()}
"""The used databases by whether they are lean."""
MIN_SPARE_DATABASES = 2
"""Used databases that wait, because a task of an earlier test may still write to its database."""

LONGEST = tuple(
    f"tests/{name}.py"
    for name in """
    scenarios/test_crashes model/test_interleavings workers/stages/test_send graphql/test_isolation
    commands/insights/test_top_passes contracts/test_queries workers/stages/test_shares workers/jobs/test_imports
    scenarios/test_replay cli/test_main cli/test_serve cli/test_import scenarios/test_import contracts/test_flow
    workers/test_laps scenarios/test_sigterm wire/test_time_limits commands/rewards/test_redemptions
    workers/stages/test_merge commands/insights/test_dimensions graphql/test_malformed workers/test_sharing
    workers/stages/test_react_crashes workers/stages/test_segment_history workers/jobs/test_simulations
    workers/stages/test_deliver workers/stages/test_fold workers/test_metrics commands/insights/test_sealed
    workers/stages/test_deliver_crashes graphql/passes/test_tokens graphql/segments/test_history contracts/test_language
    workers/stages/test_points commands/insights/test_totals workers/stages/test_rules commands/test_stale_caches
    workers/jobs/test_exports workers/stages/test_guarded_events workers/jobs/test_removals
    workers/stages/test_checkouts contracts/test_docs cli/test_start_failures scenarios/test_sample workers/test_timers
    graphql/segments/test_previews commands/insights/test_customers api/test_health graphql/execution/test_spending
    store/mongo/test_time_ranges store/workspace/test_events graphql/webhooks/test_endpoints
    commands/passes/test_passes store/workspace/test_finding commands/passes/test_pass_names
    commands/test_scheduled_edits store/workspace/test_aggregations telemetry/test_tracing
    """.split()
)
"""Slow test files, the slowest first. If a slow file started last, one process would run alone at the end."""

QUICK = (
    "tests/config/",
    "tests/domain/",
    *(
        f"tests/{name}.py"
        for name in """
        test_auth test_document_cache api/test_asgi feed/test_tailer
        store/test_cache store/test_clock store/codecs/test_events store/codecs/test_queries store/mongo/test_decimal128
        store/mongo/test_usage store/operations/test_health store/workspace/test_activities store/workspace/test_jobs
        commands/test_segments commands/events/test_corrections commands/events/test_event_types
        commands/events/test_receipts commands/events/test_record
        graphql/events/test_receipts graphql/execution/test_limits graphql/protocol/test_http
        graphql/protocol/test_ws graphql/segments/test_segments graphql/workspaces/test_keys
        workers/jobs/test_turns workers/stages/test_due workers/stages/test_erase workers/stages/test_publish
        workers/stages/test_rerun
        contracts/test_checklist contracts/test_quick contracts/test_schema
        contracts/test_settings contracts/test_test_files
        """.split()
    ),
)
"""Files and folders of the tests with the marker `quick`: some of every layer, chosen by their durations.

A new file is quick only if it is named here or lies in one of the two folders, whose tests need no servers. So the set
stays quick although nobody looks after it.
"""


LEAN = ("tests/commands/", "tests/graphql/", "tests/workers/")
"""Folders whose tests run in a lean database on the embedded store (`tests/databases.py`).

They test what the layers above the store decide, with few documents. The tests of the store, the command line and the
scenarios have all indexes. `.ci/run` runs most of these folders on a second store, with all indexes.
"""
NOT_LEAN = tuple(
    f"tests/{name}"
    for name in """
    commands/insights/ commands/passes/test_pass_names.py commands/test_round_trips.py
    graphql/aggregations/ graphql/execution/ graphql/insights/ graphql/protocol/
    workers/test_laps.py workers/test_rollup_looks.py workers/test_seal workers/test_timers.py
    workers/stages/test_rollup_marks.py workers/stages/test_seal workers/stages/test_shares.py workers/stages/test_turns.py
    """.split()
)
"""Files and folders of them whose tests store many documents or count what a query examines, so they need indexes."""


MEMORY = Path("/dev/shm")
"""File system of Linux that is in memory. The store flushes each write that the product acknowledges: on a disk, the
tests would wait for that half of the store's time."""
MIN_FREE_MEMORY_BYTES = 2 * 1024**3
"""Free memory below which the folders of tests lie on the disk. A run of all tests needs about 0.5 GB."""

UNSUITABLE_STORES: dict[str, Callable[[str], bool]] = {
    "embedded_only": lambda store: store != EMBEDDED,
    "not_on_java": lambda store: store == JAVA,
}
"""By marker, which stores cannot run a test that has it. The argument of a marker is the reason."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that chooses the store of the tests."""
    parser.addoption(
        "--store",
        default=EMBEDDED,
        metavar="STORE",
        help=f"store of the tests: {EMBEDDED} (default), {JAVA} (mongo-java-server), or the address of a MongoDB",
    )


def pytest_configure() -> None:
    """Keep bytecode and the order of sets, and let folders of tests lie in memory if there is room.

    Variables that are set already stay as they are.
    """
    # Each process that a test starts would compile all modules again, which takes 0.4 s. Git ignores the bytecode.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # The processes that run the tests start later. A run of the model repeats only if sets have the same order in each.
    os.environ.setdefault("PYTHONHASHSEED", "0")
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MIN_FREE_MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


# Without `tryfirst`, pytest would select by marker before the markers are set.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the quick tests and skip those that another store cannot run. The second store gets only tests that use a store.

    Sort all tests into the order in which the processes take them.
    """
    store = config.getoption("store")
    if store == JAVA:
        using: dict[bool, list[pytest.Item]] = {True: [], False: []}
        for item in items:
            using["servers" in getattr(item, "fixturenames", ())].append(item)
        config.hook.pytest_deselected(items=using[False])
        items[:] = using[True]
    for item in items:
        if item.nodeid.startswith(QUICK):
            item.add_marker("quick")
        for marker in UNSUITABLE_STORES:
            found = item.get_closest_marker(marker)
            if found is not None and UNSUITABLE_STORES[marker](store):
                item.add_marker(pytest.mark.skip(reason=f"not on this store: {found.args[0]}"))
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


def pytest_collection_finish() -> None:
    """Take what collecting made out of garbage collection: it stays, and each full collection would look at all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def patient_product() -> Iterator[None]:
    """Let calls to Redis, health checks and runs of a stage in this process take as long as a test does.

    On a busy machine, Redis may take longer than the quarter of a second that the product gives it. The product then
    goes on without a wake-up or with a budget of its own, which is not what the tests are about. Nor is a run that ends
    before its work.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in ("bus", "document_cache", "rate_limits", "commands.passes.erasure"):
            patch.setattr(f"app.{module}.REDIS_TIMEOUT_SECONDS", PATIENCE_SECONDS)
        patch.setattr("app.api.health.CHECK_TIMEOUT_SECONDS", PATIENCE_SECONDS)
        patch.setattr("workers.worker.MAX_RUN_SECONDS", math.inf)
        yield


@pytest.fixture(scope="session")
async def servers(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Yield the servers of this test process. A test that kills one starts servers of its own."""
    store = pytestconfig.getoption("store")
    async with running_servers(tmp_path_factory.mktemp("servers"), store=store) as running:
        yield running


@pytest.fixture(scope="session")
async def _session_resources(servers: Servers) -> AsyncIterator[Resources]:
    """Yield connections that wait as long as a test does: these servers run until the last test has ended."""
    patience_ms = int(PATIENCE_SECONDS * 1_000)

    def open_patiently(uri: str | None, **options: Any) -> AsyncIOMotorClient[Doc]:
        limits = ("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS", "waitQueueTimeoutMS")
        return open_client(uri, **options | dict.fromkeys(limits, patience_ms))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.resources.open_client", open_patiently)
        patch.setattr("app.resources.REDIS_TIMEOUT_SECONDS", PATIENCE_SECONDS)
        async with open_resources(servers.settings) as opened:
            patch.undo()
            yield opened
            # A store that is given by its address goes on running, so no database of this process may stay.
            for name in await opened.db.client.list_database_names():
                if name.startswith(DATABASES):
                    await opened.db.client.drop_database(name)


@pytest.fixture(autouse=True)
def fresh_failure_log() -> None:
    """Forget the failures that earlier tests logged: equal ones within a minute share one line of the log."""
    failure_log._refusals.clear()
    failure_log._outage_logged_at = None


@pytest.fixture(autouse=True)
def no_cache_expiry_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the erase stage go on at once; it waits only for the pass caches of other processes, and there are none."""
    monkeypatch.setattr(erase, "CACHE_EXPIRY_SECONDS", 0.0)


@pytest.fixture
def is_lean(request: pytest.FixtureRequest) -> bool:
    """Return whether the database of the test has only the indexes that refuse or expire documents."""
    path = request.node.nodeid
    return request.config.getoption("store") == EMBEDDED and path.startswith(LEAN) and not path.startswith(NOT_LEAN)


@pytest.fixture
def settings(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path, is_lean: bool) -> Settings:
    """Return settings with a database that no other test uses now, or that no test ever used (`unused_database`)."""
    spare = _spare[is_lean]
    reuses = len(spare) > MIN_SPARE_DATABASES and not request.node.get_closest_marker("unused_database")
    database = spare.popleft() if reuses else f"{DATABASES}{next(_numbers)}"
    return dataclasses.replace(servers.settings, database=database, data_dir=tmp_path / "data")


@pytest.fixture
def clock() -> FixedClock:
    """Return a clock that shows 2026-01-01T00:00:00Z until the test sets it."""
    return FixedClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
async def resources(
    request: pytest.FixtureRequest, _session_resources: Resources, settings: Settings, clock: FixedClock, is_lean: bool
) -> AsyncIterator[Resources]:
    """Yield the resources of a process: a database with its indexes, an empty Redis and the test's clock.

    The database has no documents but the constants. It does not exist yet if the test has the marker `unused_database`.
    """
    shared = _session_resources
    uri, db = settings.mongodb_uri, shared.db.client[settings.database]
    is_unused = request.node.get_closest_marker("unused_database") is not None
    if not is_unused:
        await create_database(uri, db, is_lean=is_lean)
        # Not at the end of the test that used it last: a task of that test may write to it later.
        if not await empty_database(uri, db):
            await drop_database(uri, db)
            await create_database(uri, db, is_lean=is_lean)
    await shared.redis.flushall()
    tasks = asyncio.all_tasks()
    bus = type(shared.bus)(shared.redis, settings.database)
    yield dataclasses.replace(shared, db=db, clock=clock, settings=settings, bus=bus, cache=WorkspaceCache())
    await bus.aclose()
    await _end_tasks(asyncio.all_tasks() - tasks)
    if is_unused:
        await drop_database(uri, db)
    else:
        _spare[is_lean].append(settings.database)


async def _end_tasks(left: set[asyncio.Task[Any]]) -> None:
    """End what a test left running, as a failed one may. It would go on to write to the database of another test."""
    left.discard(asyncio.current_task())
    while left:
        # redis-py swallows a cancellation that comes while it connects, so one may not be enough.
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)


@pytest.fixture
async def business(resources: Resources, clock: FixedClock) -> Business:
    """Create a workspace with an actor of every scope, and a worker that runs on demand."""
    return await open_business(resources, clock)


@pytest.fixture
async def proxy(resources: Resources) -> AsyncIterator[StoreProxy]:
    """Yield a proxy in front of the store, which injects faults. Only `proxied` uses it."""
    async with running_proxy(resources.settings.mongodb_uri or "") as running:
        yield running


@pytest.fixture
async def proxied(proxy: StoreProxy, business: Business) -> AsyncIterator[Business]:
    """Yield the business in a process whose store is behind the proxy; `business` reaches the same data without it."""
    resources = business.ctx.resources
    async with open_resources(dataclasses.replace(resources.settings, mongodb_uri=proxy.url)) as opened:
        behind = dataclasses.replace(opened, clock=resources.clock)
        workspace = behind.workspace(business.ctx.workspace.id)
        ctx = dataclasses.replace(business.ctx, resources=behind, workspace=workspace)
        yield Business(ctx, Worker.on(behind), business.clock)


@pytest.fixture
def db(resources: Resources) -> Database:
    """Return the test's own database, which is empty."""
    return resources.db


@pytest.fixture
def redis(resources: Resources) -> Redis:
    """Return the Redis of this test process, which was emptied before the test."""
    return resources.redis
