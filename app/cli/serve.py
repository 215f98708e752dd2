"""The commands that run the product: all of it with `up`, or one API or one worker."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

from app.api.shutdown import DRAIN_TIMEOUT_SECONDS
from app.auth import Keyring
from app.commands.workspaces.workspaces import create_workspace
from app.config.settings import ConfigError, Settings
from app.domain.errors import Unauthenticated
from app.local.processes import Child, Supervisor
from app.local.servers import (
    Server,
    Servers,
    command_of,
    is_free,
    listens,
    locate_servers,
    mongo_server,
    redis_server,
    sole_owner,
)
from app.resources import Resources, open_resources
from app.store.operations import indexes
from app.telemetry import logs

from .settings import environment, overridden, with_address, with_settings


@click.command()
@with_address
@with_settings
@click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="How many workers to run.")
def up(settings: Settings, host: str | None, port: int | None, workers: int) -> None:
    """Run everything: the servers, the API and a worker, until Ctrl-C.

    Data stays in the data folder between runs. Without MONGODB_URI and REDIS_URL, a Mongo-wire server and a Redis are
    started as well. A first workspace with a development key is made the first time.

    \b
    Examples:
      punchcard up
      punchcard up --port 9000 --data-dir ~/shop
      MONGODB_URI=mongodb://db/?replicaSet=rs0 REDIS_URL=redis://cache punchcard up
    """
    # A line for every request would push what `up` says off the screen: only for who asked for it.
    access = None if os.environ.get("PUNCHCARD_ACCESS_LOG") else "off"
    settings = overridden(settings, host=host, port=port, data_dir=settings.data_dir.resolve(), access_log=access)
    with sole_owner(settings.data_dir):
        asyncio.run(_Up(settings, workers).run())


@click.command()
@with_address
@with_settings
def api(settings: Settings, host: str | None, port: int | None) -> None:
    """Run one API process. Several may run at once, each on its own port.

    It uses MONGODB_URI and REDIS_URL, or the servers of a running `punchcard up`.

    \b
    Example:
      punchcard api --port 8001
    """
    settings = locate_servers(overridden(settings, host=host, port=port))
    _require_free_port(settings)
    logs.configure(settings.log_level, settings.log_format, settings.access_log)
    asyncio.run(prepare(settings))
    from app.api.server import serve

    serve(settings)


@click.command()
@with_settings
def worker(settings: Settings) -> None:
    """Run one worker process. Several may run at once.

    It folds what was recorded, judges segments, publishes the feed and carries imports. It uses MONGODB_URI and
    REDIS_URL, or the servers of a running `punchcard up`. Killing it loses nothing: let something start it again.

    \b
    Example:
      punchcard worker
    """
    settings = locate_servers(settings)
    asyncio.run(prepare(settings))
    os.execve(sys.executable, _WORKER, environment(settings))


_API = (sys.executable, "-m", "app.cli", "api")
_WORKER = (sys.executable, "-m", "workers.main")


class _Up:
    """One run of `punchcard up`."""

    def __init__(self, settings: Settings, workers: int) -> None:
        self._settings = settings
        self._workers = workers
        self._folder = settings.data_dir
        self._logs = self._folder / "logs"
        self._kept = Servers.read(self._folder)
        self._supervisor = Supervisor(lambda text: click.echo(text, err=True), self._remember)
        self._stopping = False

    async def run(self) -> None:
        """Returns when everything was stopped by Ctrl-C or SIGTERM. Raises ConfigError, StartError or Unavailable."""
        await _end_orphans(self._kept, self._folder)
        _require_free_port(self._settings)
        this = asyncio.current_task()
        assert this is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt, this)
        try:
            await self._start()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            self._stopping = True
            await self._supervisor.stop()
            self._remember()

    def _interrupt(self, run: asyncio.Task[Any]) -> None:
        if self._stopping:
            self._supervisor.kill()
            return
        self._stopping = True
        click.echo("Stopping … (Ctrl-C again ends everything at once)", err=True)
        run.cancel()

    async def _start(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        settings = self._settings
        if settings.mongodb_uri is None:
            mongo = await self._start_server("mongo", self._kept.mongo_port)
            settings = dataclasses.replace(settings, mongodb_uri=mongo.url)
            self._kept = dataclasses.replace(self._kept, mongo_port=mongo.port)
        if settings.redis_url is None:
            redis = await self._start_server("redis", self._kept.redis_port)
            settings = dataclasses.replace(settings, redis_url=redis.url)
            self._kept = dataclasses.replace(self._kept, redis_port=redis.port)
        self._kept = dataclasses.replace(
            self._kept,
            mongodb_uri=settings.mongodb_uri or "",
            redis_url=settings.redis_url or "",
            endpoint=f"{_address(settings)}/graphql",
        )
        async with open_resources(settings) as resources:
            await indexes.ensure_indexes(resources.db)
            key = await _development_key(resources, self._folder / "key")
        env = environment(settings)
        for number in range(1, self._workers + 1):
            name = "worker" if self._workers == 1 else f"worker {number}"
            # Each listens on a port of its own.
            apart = settings.worker_metrics_port and settings.worker_metrics_port + number - 1
            own = environment(dataclasses.replace(settings, worker_metrics_port=apart))
            await self._supervisor.add(Child(name, _WORKER, env=own))
        await self._supervisor.add(Child("api", _API, env=env, ready=lambda: listens(settings.host, settings.port)))
        self._tell(settings, key)

    async def _start_server(self, kind: str, port: int | None) -> Server:
        make = mongo_server if kind == "mongo" else redis_server
        if port is not None and not is_free("127.0.0.1", port):
            port = None
        server = make(self._folder, port=port)
        server.folder.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{kind}.log"
        log.unlink(missing_ok=True)
        await self._supervisor.add(Child(kind, server.argv, log=log, ready=server.answers))
        return server

    def _remember(self) -> None:
        self._kept = dataclasses.replace(self._kept, pids=self._supervisor.pids)
        self._kept.write(self._folder)

    def _tell(self, settings: Settings, key: str) -> None:
        address = _address(settings)
        click.echo(
            f"\nPunchcard is ready.\n\n"
            f"  Endpoint   {address}/graphql\n"
            f"  GraphiQL   {address}/graphiql\n"
            f"  Key        {key}   (Authorization: Bearer <key>; kept in {settings.data_dir / 'key'})\n"
            f"  Data       {settings.data_dir}\n\n"
            f"Try `punchcard demo` or `punchcard import FILE` in another terminal. Ctrl-C stops everything.\n"
        )


def _address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


async def prepare(settings: Settings) -> None:
    """Returns when the database has its indexes. Raises Unavailable; safe to repeat."""
    async with open_resources(settings) as resources:
        await indexes.ensure_indexes(resources.db)


async def _development_key(resources: Resources, path: Path) -> str:
    """The key kept in the file while the database knows it; else that of a new workspace, kept there from now on."""
    if path.exists():
        key = path.read_text().strip()
        keyring = Keyring(resources)
        with contextlib.suppress(Unauthenticated):
            await keyring.actor(f"Bearer {key}")
            await keyring.aclose()
            return key
    _, key = await create_workspace(resources, "Development")
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{key}\n")
    return key


async def _end_orphans(kept: Servers, folder: Path) -> None:
    """Ends what a killed `up` left running: its servers hold the data, its API the port."""
    ours = (str(folder), "app.cli api", "workers.main")

    def left() -> list[int]:
        return [pid for pid in kept.pids.values() if any(mark in command_of(pid) for mark in ours)]

    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + DRAIN_TIMEOUT_SECONDS
        while left() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)


def _require_free_port(settings: Settings) -> None:
    try:
        free = is_free(settings.host, settings.port)
    except OSError as error:
        raise ConfigError(
            [f"Cannot listen on {settings.host}: {error.strerror}. Choose another with --host."]
        ) from error
    if not free:
        raise ConfigError(
            [
                f"Port {settings.port} of {settings.host} is taken. Choose another with --port, such as {settings.port + 1}."
            ]
        )
