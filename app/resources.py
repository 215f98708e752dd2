"""Resources of a process: the connections to the store and to Redis, the bus and the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ReadPreference
from pymongo.errors import ConfigurationError
from redis.asyncio import Redis

from app.bus import REDIS_TIMEOUT_SECONDS, Bus
from app.clock import Clock, SystemClock
from app.config.settings import ConfigError, Settings
from app.local.servers import locate_servers
from app.store.cache import WorkspaceCache
from app.store.clock import MongoClock
from app.store.mongo.capacity import EMBEDDED_CAPACITY, StoreCapacity
from app.store.mongo.driver import open_client
from app.store.mongo.queries import Database, Doc, translating_errors
from app.store.workspace.workspace import Workspace

SERVER_SELECTION_TIMEOUT_MS = 3_000
"""How long the driver looks for the store before a call raises Unavailable."""


@dataclass(frozen=True)
class Resources:
    """What commands, queries and stages work with.

    `in_chunk` is the number of values in one `$in`: 100 on the embedded server, whose cost grows with their square.
    `capacity` is what the store can do for the operations of clients. `is_embedded` is true if the store is SecantusDB.
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

    @property
    def essential_db(self) -> Database:
        """The database by way of the essential client, which never waits behind the calls of operations.

        Read keys, answer health checks and store heartbeats with it, and nothing whose size a tenant decides.
        """
        if self.essential_client is None:
            return self.db
        return _database(self.essential_client, self.db.name)

    def workspace(self, workspace_id: str) -> Workspace:
        """Return the named queries of one workspace."""
        return Workspace(self.db, workspace_id, self.in_chunk, cache=self.cache)


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Open the resources, and close them when the block ends. Redis may be unreachable, now or later.

    Raises ConfigError if neither addresses nor local servers are known, or if an address cannot be read. Raises
    Unavailable if the store does not answer within a few seconds; safe to repeat.
    """
    settings = locate_servers(settings)
    redis = open_redis(settings)
    client, essential_client = _open_mongo(settings), _open_mongo(settings, essential=True)
    try:
        # The command that opens the resources shows why it cannot start.
        with translating_errors(logs=False):
            build = await client.admin.command("buildInfo")
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
                in_chunk=100 if is_embedded else 1_000,
                capacity=EMBEDDED_CAPACITY if is_embedded else StoreCapacity(),
                essential_client=essential_client,
                is_embedded=is_embedded,
            )
        finally:
            await bus.aclose()
    finally:
        await redis.aclose()
        client.close()
        essential_client.close()


def _database(client: AsyncIOMotorClient[Doc], name: str) -> Database:
    return client.get_database(name, read_preference=ReadPreference.PRIMARY)


def _open_mongo(settings: Settings, *, essential: bool = False) -> AsyncIOMotorClient[Doc]:
    try:
        return open_client(
            settings.mongodb_uri,
            essential=essential,
            appname="punchcard",
            tz_aware=True,
            # With the driver's own zone object, every subtraction of two instants computes both offsets.
            tzinfo=UTC,
            w="majority",
            journal=True,
            readConcernLevel="majority",
            # A write without an answer may have been applied. The protocol decides what to do, not the driver.
            retryWrites=False,
            serverSelectionTimeoutMS=SERVER_SELECTION_TIMEOUT_MS,
            connectTimeoutMS=2_000,
            socketTimeoutMS=20_000,
            waitQueueTimeoutMS=5_000,
        )
    except (ConfigurationError, OSError, ValueError) as error:
        # OSError: a certificate file that does not exist or is none. The address is left out of the message, because it
        # may contain a password.
        raise ConfigError([f"MONGODB_URI cannot be used: {error}"]) from error


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
