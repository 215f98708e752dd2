"""The commands `up`, `api` and `worker`, which run Punchcard."""

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
from app.config.settings import ConfigError, Settings
from app.local.folder import lock_folder, only_for_owner
from app.local.key_file import KeyFile, KeyOrigin
from app.local.processes import Child, Supervisor
from app.local.servers import Servers, command_of, hosts_of, is_free, listens, locate_servers
from app.resources import open_resources
from app.store.operations.indexes import ensure_indexes
from app.store.operations.migration import require_indexes
from app.store.operations.pass_names import require_names
from app.store.operations.schema_version import raise_schema, require_writable
from app.telemetry import logs

from .development_key import describe_key
from .local_servers import start_mongo, start_redis
from .settings import child_environment, override, say, with_address, with_settings

MAILBOX = "mailbox.mbox"
"""File in the data folder to which channels for development append their mails."""


@click.command()
@with_address
@with_settings
@click.option(
    "--workers",
    type=click.IntRange(0, 16),
    default=1,
    show_default=True,
    help="The number of workers. With 0, events are stored and not counted.",
)
def up(settings: Settings, host: str | None, port: int | None, workers: int) -> None:
    """Run the API, a worker and their servers until Ctrl-C.

    Without MONGODB_URI, `punchcard up` starts a local Mongo-wire server; without REDIS_URL, a local Redis. The data
    stays in the data folder. The first start creates a workspace and an API key. Then load data from another terminal
    with `punchcard demo` or `punchcard import`.

    \b
    Examples:
      punchcard up
      punchcard up --port 9000 --data-dir ~/shop
      MONGODB_URI=mongodb://db/?replicaSet=rs0 REDIS_URL=redis://cache punchcard up
    """
    # A line for every request would scroll the printed addresses off the screen, so log requests only if asked for.
    access = None if os.environ.get("PUNCHCARD_ACCESS_LOG") else "off"
    folder = settings.data_dir.resolve()
    mailbox = settings.mailbox or folder / MAILBOX
    settings = override(settings, host=host, port=port, data_dir=folder, access_log=access, mailbox=mailbox)
    with only_for_owner(), lock_folder(settings.data_dir):
        asyncio.run(_Up(settings, workers).run())


@click.command()
@with_address
@with_settings
def api(settings: Settings, host: str | None, port: int | None) -> None:
    """Run one API process until Ctrl-C or SIGTERM. Several may run at once, each on its own port.

    It uses MONGODB_URI and REDIS_URL, or else the servers of a running `punchcard up`. Events count only while a worker
    runs, so start `punchcard worker`, too. Check both with `curl http://127.0.0.1:8001/readyz`. The database must have
    its indexes: run `punchcard migrate` once before you start a new version.

    \b
    Example:
      punchcard api --port 8001
    """
    settings = locate_servers(override(settings, host=host, port=port))
    _require_free_port(settings)
    logs.configure(settings.log_level, settings.log_format, settings.access_log)
    asyncio.run(_require_migration(settings))
    from app.api.server import serve

    serve(settings)


@click.command()
@with_settings
def worker(settings: Settings) -> None:
    """Run one worker process until Ctrl-C or SIGTERM. Several may run at once.

    A worker counts recorded events in their passes, evaluates segments, publishes the feed, sends webhooks and runs
    jobs such as imports. It uses MONGODB_URI and REDIS_URL, or else the servers of a running `punchcard up`. Killing a
    worker loses no data, so run workers as services that restart. `punchcard parked` lists passes that they cannot
    process. The database must have its indexes: run `punchcard migrate` once before you start a new version.

    \b
    Example:
      punchcard worker
    """
    settings = locate_servers(settings)
    asyncio.run(_require_migration(settings))
    os.execve(sys.executable, _WORKER, child_environment(settings))


_API = (sys.executable, "-m", "app.cli", "api")
_WORKER = (sys.executable, "-m", "workers.main")


class _Up:
    """One run of `punchcard up`: starts the servers, the workers and the API, and stops them at the end."""

    def __init__(self, settings: Settings, workers: int) -> None:
        self._settings = settings
        self._workers = workers
        self._folder = settings.data_dir
        self._logs = self._folder / "logs"
        self._servers = Servers.read(self._folder)
        self._supervisor = Supervisor(say, self._write_servers)
        self._stopping = False

    async def run(self) -> None:
        """Run until Ctrl-C or SIGTERM, and stop everything. Raises ConfigError, StartError or Unavailable."""
        await _stop_orphans(self._servers, self._folder)
        _require_free_port(self._settings)
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt, task)
        try:
            await self._start()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            self._stopping = True
            await self._supervisor.stop()
            self._write_servers()
        say("All processes have stopped.")

    def _interrupt(self, run: asyncio.Task[Any]) -> None:
        if self._stopping:
            self._supervisor.kill()
            return
        self._stopping = True
        run.cancel()
        say("Stopping … (press Ctrl-C again to end all processes at once)")

    async def _start(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        settings, store = self._settings, hosts_of(self._settings.mongodb_uri or "")
        if settings.mongodb_uri is None:
            mongo, self._servers = await start_mongo(self._folder, self._servers, self._supervisor)
            settings, store = dataclasses.replace(settings, mongodb_uri=mongo.url), mongo.engine
        if settings.redis_url is None:
            redis, self._servers = await start_redis(self._folder, self._servers, self._supervisor)
            settings = dataclasses.replace(settings, redis_url=redis.url)
        self._servers = dataclasses.replace(
            self._servers,
            mongodb_uri=settings.mongodb_uri or "",
            redis_url=settings.redis_url or "",
            store=store,
            endpoint=f"{_address(settings)}/graphql",
        )
        async with open_resources(settings, has_socket_timeout=False) as resources:
            # Look for the key first: a wrong database must not get the indexes.
            key = await describe_key(resources, KeyFile(self._folder), KeyOrigin(store, settings.database))
            await raise_schema(resources.db)
            await ensure_indexes(resources.db)
        env = child_environment(settings)
        for number in range(1, self._workers + 1):
            name = "worker" if self._workers == 1 else f"worker {number}"
            # Each worker serves its metrics on a port of its own.
            metrics_port = settings.worker_metrics_port and settings.worker_metrics_port + number - 1
            worker_env = child_environment(dataclasses.replace(settings, worker_metrics_port=metrics_port))
            await self._supervisor.add(Child(name, _WORKER, env=worker_env))
        await self._supervisor.add(Child("api", _API, env=env, ready=lambda: listens(settings.host, settings.port)))
        self._print_addresses(settings, key, store)

    def _write_servers(self) -> None:
        self._servers = dataclasses.replace(self._servers, pids=self._supervisor.pids)
        self._servers.write(self._folder)

    def _print_addresses(self, settings: Settings, key: str, store: str) -> None:
        address = _address(settings)
        say(
            f"\nPunchcard is ready.\n\n"
            f"  Endpoint   {address}/graphql\n"
            f"  GraphiQL   {address}/graphiql\n"
            f"  Key        {key}\n"
            f"  Data       {settings.data_dir}   (database {settings.database} of {store})\n\n"
            f"Next, run `punchcard demo` or `punchcard import FILE` in another terminal. Ctrl-C stops everything.\n",
            err=False,
        )


def _address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


async def _require_migration(settings: Settings) -> None:
    """Check that this version may write the database, and that the database has its indexes.

    Raises SchemaTooNew, NotMigrated, SlotsChanged or Unavailable; safe to repeat.
    """
    async with open_resources(settings) as resources:
        await require_writable(resources.db)
        await require_indexes(resources.db)
        await require_names(resources.db)


async def _stop_orphans(servers: Servers, folder: Path) -> None:
    """Stop processes that a killed `up` left behind: its servers use the data folder, its API the port."""
    marks = (str(folder), "app.cli api", "workers.main")

    def find_orphans() -> list[int]:
        # An orphan that has ended may have left its process id to a foreign process, so check the command.
        return [pid for pid in servers.pids.values() if any(mark in command_of(pid) for mark in marks)]

    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in find_orphans():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + DRAIN_TIMEOUT_SECONDS
        while find_orphans() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)


def _require_free_port(settings: Settings) -> None:
    try:
        is_port_free = is_free(settings.host, settings.port)
    except OSError as error:
        raise ConfigError(
            [f"Cannot listen on {settings.host}: {error.strerror}. Choose an address of this machine with --host."]
        ) from error
    if not is_port_free:
        raise ConfigError(
            [
                f"Port {settings.port} of {settings.host} is in use. Choose another port, such as --port"
                f" {settings.port + 1}."
            ]
        )
