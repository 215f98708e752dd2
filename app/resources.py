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
from app.store.mongo.queries import Database, Doc, translating_errors
from app.store.workspace.workspace import Workspace

SERVER_SELECTION_TIMEOUT_MS = 3_000
"""How long the driver looks for the store before a call raises Unavailable."""


@dataclass(frozen=True)
class Resources:
    """What commands, queries and stages work with.

    `in_chunk` is the number of values in one `$in`: 100 on the embedded server, whose cost grows with their square.
    """

    db: Database
    redis: Redis
    clock: Clock
    settings: Settings
    bus: Bus
    in_chunk: int
    cache: WorkspaceCache = field(default_factory=WorkspaceCache)

    def workspace(self, workspace_id: str) -> Workspace:
        """Return the named queries of one workspace."""
        return Workspace(self.db, workspace_id, self.in_chunk)


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Open the resources, and close them when the block ends. Redis may be unreachable, now or later.

    Raises ConfigError if neither addresses nor local servers are known, or if an address cannot be read. Raises
    Unavailable if the store does not answer within a few seconds; safe to repeat.
    """
    settings = locate_servers(settings)
    redis = open_redis(settings)
    client = _open_mongo(settings)
    try:
        db = client.get_database(settings.database, read_preference=ReadPreference.PRIMARY)
        with translating_errors():
            build = await client.admin.command("buildInfo")
        clock: Clock = MongoClock(db) if settings.clock == "manual" else SystemClock()
        bus = Bus(redis, settings.database)
        try:
            yield Resources(
                db=db,
                redis=redis,
                clock=clock,
                settings=settings,
                bus=bus,
                in_chunk=100 if "secantusVersion" in build else 1_000,
            )
        finally:
            await bus.aclose()
    finally:
        await redis.aclose()
        client.close()


def _open_mongo(settings: Settings) -> AsyncIOMotorClient[Doc]:
    try:
        return AsyncIOMotorClient(
            settings.mongodb_uri,
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
    except (ConfigurationError, ValueError) as error:
        # The address is left out of the message, because it may contain a password.
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
