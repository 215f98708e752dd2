"""Resources of a process: the connections to the store and to Redis, the bus and the clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from typing import cast

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import MongoClient, ReadPreference
from pymongo.errors import ConfigurationError
from redis.asyncio import Redis

from app.bus import REDIS_TIMEOUT_SECONDS, Bus
from app.clock import Clock, SystemClock
from app.config.settings import ConfigError, Settings
from app.domain.ids import slot_of
from app.flow import range_of
from app.local.servers import locate_servers
from app.shared_looks import SharedLook
from app.store.cache import WorkspaceCache
from app.store.clock import MongoClock
from app.store.mongo.capacity import EMBEDDED_CAPACITY, StoreCapacity
from app.store.mongo.driver import ESSENTIAL_THREADS, OPERATION_THREADS, limit_calls, open_client
from app.store.mongo.queries import CHUNK, EMBEDDED_CHUNK, Database, Doc, translating_errors
from app.store.workspace.workspace import Workspace

SELECTION_SECONDS = 15.0
"""How long a call waits for a primary before it raises Unavailable. An election takes about 12 s."""
ESSENTIAL_SELECTION_SECONDS = 5.0
"""How long the reading of a key and a health check wait for a primary."""
START_TIMEOUT_SECONDS = 5.0
"""How long a process looks for the store when it starts."""
WRITE_CONCERN_TIMEOUT_MS = 15_000
"""How long the store waits for a majority. Then the write is Unavailable, although it may be stored: safe to repeat."""
SOCKET_TIMEOUT_MS = 20_000
READ_SECONDS = 18.0
"""How long a read outside of operations may take. The store ends it (maxTimeMS) before the connection is given up."""
OLDEST_VERSION = (6, 0)
"""The oldest MongoDB on which Punchcard runs."""
STANDALONE_WARNING = (
    "MongoDB is no replica set: acknowledged events are lost with this one server. Start it with --replSet; one member is"
    " enough to begin."
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resources:
    """What commands, queries and stages work with.

    `in_chunk` is the number of values in one `$in`: 100 on the embedded server, whose cost grows with their square.
    `capacity` is what the store can do for the operations of clients. `is_embedded` is true if the store is SecantusDB.
    `is_sharded` is true if the store is the router of a sharded MongoDB, as it said at the start.
    """

    db: Database
    redis: Redis
    clock: Clock
    settings: Settings
    bus: Bus
    in_chunk: int
    cache: WorkspaceCache = field(default_factory=WorkspaceCache)
    capacity: StoreCapacity = field(default_factory=StoreCapacity)
    essential_client: AsyncIOMotorClient[Doc] | None = None
    is_embedded: bool = False
    is_sharded: bool = False
    looks: dict[tuple[str, bool], SharedLook] = field(default_factory=dict)
    """Looks of callers that wait for events, by workspace id and whether they wait for the feed."""

    @property
    def essential_db(self) -> Database:
        """The database by way of the essential client, which never waits behind the calls of operations.

        Read keys, answer health checks and store heartbeats with it, and nothing whose size a tenant decides.
        """
        if self.essential_client is None:
            return self.db
        return _database(self.essential_client, self.db.name)

    def wake_fold(self, workspace_id: str, pass_ids: Iterable[str]) -> None:
        """Wake the fold for these passes of a workspace. On a sharded store, its rounds then read this workspace only."""
        keys = {range_of(slot_of(pass_id)) for pass_id in pass_ids}
        self.bus.wake("fold", *({f"{key}/{workspace_id}" for key in keys} if self.is_sharded else keys))

    def workspace(self, workspace_id: str) -> Workspace:
        """Return the named queries of one workspace."""
        return Workspace(self.db, workspace_id, self.in_chunk, cache=self.cache, is_sharded=self.is_sharded)


@asynccontextmanager
async def open_resources(
    settings: Settings, *, selection_seconds: float = SELECTION_SECONDS, has_socket_timeout: bool = True
) -> AsyncIterator[Resources]:
    """Open the resources, and close them when the block ends. Redis may be unreachable, now or later.

    A call to the store waits `selection_seconds` for a primary, unless MONGODB_URI says otherwise. Without
    `has_socket_timeout`, a call may take any time, as the build of an index does. Raises ConfigError if neither addresses
    nor local servers are known, if an address cannot be read, or for a MongoDB below 6.0. Raises Unavailable if the store
    does not answer within a few seconds, safe to repeat, and StoreRefused.
    """
    settings = locate_servers(settings)
    redis = open_redis(settings)
    client = open_mongo(settings, selection_seconds, has_socket_timeout=has_socket_timeout)
    essential_client = open_mongo(settings, min(selection_seconds, ESSENTIAL_SELECTION_SECONDS), essential=True)
    try:
        # The command that opens the resources shows why it cannot start.
        with translating_errors(logs=False), limit_calls(START_TIMEOUT_SECONDS):
            build, hello = [await client.admin.command(name) for name in ("buildInfo", "hello")]
        topology = cast("MongoClient[Doc]", client.delegate).topology_description
        check_server(
            build["versionArray"], [server.server_type_name for server in topology.server_descriptions().values()]
        )
        db, is_embedded = _database(client, settings.database), "secantusVersion" in build
        clock: Clock = MongoClock(db) if settings.clock == "manual" else SystemClock()
        bus = Bus(redis, settings.database)
        try:
            yield Resources(
                db=db,
                redis=redis,
                clock=clock,
                settings=settings,
                bus=bus,
                in_chunk=EMBEDDED_CHUNK if is_embedded else CHUNK,
                capacity=EMBEDDED_CAPACITY if is_embedded else StoreCapacity(),
                essential_client=essential_client,
                is_embedded=is_embedded,
                is_sharded=is_router(hello),
            )
        finally:
            await bus.aclose()
    finally:
        await redis.aclose()
        # The driver ends its sessions in the store, and waits for the answer.
        await asyncio.gather(*(asyncio.to_thread(each.close) for each in (client, essential_client)))


def is_router(hello: Doc) -> bool:
    """Return whether the answer to `hello` is that of mongos, the router of a sharded MongoDB."""
    return hello.get("msg") == "isdbgrid"


def check_server(version: Sequence[int], server_types: Iterable[str]) -> None:
    """Raise ConfigError for a version of MongoDB that lacks something, and warn of a server that is no replica set.

    The driver names the types.
    """
    if tuple(version[:2]) < OLDEST_VERSION:
        found, oldest = (".".join(map(str, numbers)) for numbers in (version[:3], OLDEST_VERSION))
        raise ConfigError(
            [f"MONGODB_URI leads to MongoDB {found}, and Punchcard needs {oldest} or later. Upgrade MongoDB."]
        )
    if "Standalone" in server_types:
        log.warning(STANDALONE_WARNING)


def _database(client: AsyncIOMotorClient[Doc], name: str) -> Database:
    return client.get_database(name, read_preference=ReadPreference.PRIMARY)


def open_mongo(
    settings: Settings, selection_seconds: float, *, essential: bool = False, has_socket_timeout: bool = True
) -> AsyncIOMotorClient[Doc]:
    """Return a client of the store. Options in MONGODB_URI win, except for those that the protocol needs.

    Raises ConfigError.
    """
    threads = ESSENTIAL_THREADS if essential else settings.store_threads
    defaults: dict[str, object] = {
        "appname": "punchcard",
        # Each thread needs a connection, so that none waits for another.
        "maxPoolSize": threads if essential else threads + OPERATION_THREADS,
        "serverSelectionTimeoutMS": round(selection_seconds * 1000),
        "connectTimeoutMS": 2_000,
        "socketTimeoutMS": SOCKET_TIMEOUT_MS if has_socket_timeout else 0,
        "waitQueueTimeoutMS": 5_000,
        "wTimeoutMS": WRITE_CONCERN_TIMEOUT_MS,
    }
    named = _options_in(settings.mongodb_uri or "")
    # With an option of its own, the driver limits the reads already, or the operator wants them to take longer.
    is_limited = has_socket_timeout and not named & {"sockettimeoutms", "timeoutms"}
    try:
        return open_client(
            settings.mongodb_uri,
            essential=essential,
            threads=threads,
            read_seconds=READ_SECONDS if is_limited else None,
            **{name: value for name, value in defaults.items() if name.lower() not in named},
            tz_aware=True,
            # With the driver's own zone object, every subtraction of two instants computes both offsets.
            tzinfo=UTC,
            w="majority",
            journal=True,
            readConcernLevel="majority",
            # A write without an answer may have been applied. The protocol decides what to do, not the driver.
            retryWrites=False,
        )
    except (ConfigurationError, OSError, ValueError) as error:
        # OSError: a certificate file that does not exist or is none. The address is left out of the message, because it
        # may contain a password.
        raise ConfigError([f"MONGODB_URI cannot be used: {error}"]) from error


def _options_in(uri: str) -> set[str]:
    """Return the names of the options in an address, in lower case."""
    _, _, query = uri.partition("?")
    return {option.partition("=")[0].lower() for option in query.split("&")}


def open_redis(settings: Settings) -> Redis:
    """Return a Redis client that connects on first use and waits at most a quarter of a second for any answer.

    Raises ConfigError if the address cannot be read.
    """
    try:
        redis: Redis = Redis.from_url(
            settings.redis_url or "",
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            socket_timeout=REDIS_TIMEOUT_SECONDS,
            client_name="punchcard",
        )
    except ValueError as error:
        raise ConfigError([f"REDIS_URL cannot be used: {error}"]) from error
    return redis
