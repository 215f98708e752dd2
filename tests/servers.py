"""Real servers for the tests: a Mongo-wire server and a Redis of their own, in a folder that is thrown away."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app.config.settings import Settings
from app.local.processes import Child, StartError
from app.local.servers import Server, listens, mongo_server, redis_server


@dataclass(frozen=True)
class Servers:
    """Two running servers; kill and start their children to see what the product makes of it."""

    mongo: Child
    redis: Child
    settings: Settings


def child(server: Server) -> Child:
    """The server as a child process, not yet started; its log lies beside its data."""
    server.folder.mkdir(parents=True, exist_ok=True)
    return Child(server.kind, server.argv, log=server.folder.parent / f"{server.kind}.log", ready=server.answers)


@asynccontextmanager
async def running_servers(folder: Path, *, durable: bool = False) -> AsyncIterator[Servers]:
    """Both servers, ready, and the settings to reach them; killed when the block ends.

    `durable` makes the store flush at every commit: for tests that kill it.
    """
    for attempt in range(5):
        mongo = mongo_server(folder, durable=durable)
        redis = redis_server(folder)
        children = child(mongo), child(redis)
        try:
            for each in children:
                await each.start()
        except StartError:  # another process may have taken the free port first
            for each in children:
                await each.kill()
            if attempt == 4:
                raise
        else:
            break
    settings = Settings(mongodb_uri=mongo.url, redis_url=redis.url, data_dir=folder / "data")
    try:
        yield Servers(*children, settings)
    finally:
        for each in children:
            await each.kill()


def api(settings: Settings) -> Child:
    """An API process on the settings' port, not yet started; ready when it accepts connections."""
    return _command(settings, "api", "app.cli", "api", ready=lambda: listens(settings.host, settings.port))


def worker(settings: Settings) -> Child:
    """A worker process, not yet started; it counts as ready at once."""
    return _command(settings, "worker", "workers.main")


def _command(settings: Settings, name: str, *module: str, ready: Callable[[], Awaitable[bool]] | None = None) -> Child:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return Child(
        name,
        (sys.executable, "-m", *module),
        env=dict(os.environ) | settings.to_env(),
        log=settings.data_dir / f"{name}.log",
        ready=ready,
    )
