"""Real servers for tests: a Mongo-wire server, a Redis, API and worker processes, with data in a temporary folder."""

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
from tests.patience import PATIENCE_SECONDS
from tests.wire.java_store import java_store

EMBEDDED, JAVA = "embedded", "java"
"""The stores that tests can start; see the option `--store`."""


@dataclass(frozen=True)
class Servers:
    """Two running servers. A test may kill and start the two child processes.

    If the store has an address of its own, `mongo` is a process that never runs, and its `pid` is None.
    """

    mongo: Child
    redis: Child
    settings: Settings


def child(server: Server) -> Child:
    """Return the server as a child process that is not started yet; its log lies beside its data."""
    server.prepare()
    return Child(
        server.kind,
        server.argv,
        log=server.folder.parent / f"{server.kind}.log",
        ready=server.answers,
        start_seconds=PATIENCE_SECONDS,
    )


def child_of_store(folder: Path) -> tuple[Child, int]:
    """Return an embedded store on the data of a folder as a child process that is not started yet, and its port."""
    server = mongo_server(folder)
    return child(server), server.port


def _store(store: str, folder: Path, *, durable: bool) -> tuple[list[Child], str]:
    """Return the processes of the store, which are not started yet, and its address. The first one has the data."""
    if store == EMBEDDED:
        server = mongo_server(folder, durable=durable)
        return [child(server)], server.url
    if store == JAVA:
        *children, url = java_store(folder)
        return children, url
    return [Child("mongo", ())], store


@asynccontextmanager
async def running_servers(folder: Path, *, durable: bool = False, store: str = EMBEDDED) -> AsyncIterator[Servers]:
    """Run both servers while the block runs, and yield them with the settings to reach them.

    With `durable`, each embedded store flushes at every commit: use it in tests that kill the store. `store` is a value
    of the option `--store`; a store that is given by its address must run already.
    """
    for attempt in range(5):
        stores, url = _store(store, folder, durable=durable)
        redis_address = redis_server(folder)
        redis = child(redis_address)
        children = [each for each in (*stores, redis) if each.argv]
        try:
            for each in children:
                await each.start()
        except StartError:
            # Another process may have bound the free port in the meantime.
            for each in children:
                await each.kill()
            if attempt == 4:
                raise
        else:
            break
    settings = Settings(mongodb_uri=url, redis_url=redis_address.url, data_dir=folder / "data")
    try:
        yield Servers(stores[0], redis, settings)
    finally:
        for each in children:
            await each.kill()


def api(settings: Settings) -> Child:
    """Return an API process on the port of the settings, not started yet; it is ready when it accepts connections."""
    return _command(settings, "api", "app.cli", "api", ready=lambda: listens(settings.host, settings.port))


def worker(settings: Settings) -> Child:
    """Return a worker process that is not started yet; it counts as ready at once."""
    return _command(settings, "worker", "workers.main")


def _command(settings: Settings, name: str, *module: str, ready: Callable[[], Awaitable[bool]] | None = None) -> Child:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return Child(
        name,
        (sys.executable, "-m", *module),
        env=dict(os.environ) | settings.to_env(),
        log=settings.data_dir / f"{name}.log",
        ready=ready,
        start_seconds=PATIENCE_SECONDS,
    )
