"""Start of the local servers of `punchcard up`: each of them answers only to who knows its password."""

from __future__ import annotations

import dataclasses
import secrets
from pathlib import Path

from app.local.processes import Child, Supervisor
from app.local.servers import STORE_USER, Server, Servers, is_free, mongo_server, redis_server
from app.store.operations.local_store import accepts_user, empty_oplog, set_only_user


async def start_mongo(folder: Path, servers: Servers, supervisor: Supervisor) -> tuple[Server, Servers]:
    """Start the store of the folder, and return it with the changed content of `servers.json`.

    The first start, and one whose stored password is wrong, sets a new password: for about a second, the server then
    runs without one. Raises ConfigError, StartError and Unavailable.
    """
    password = servers.mongo_password or secrets.token_urlsafe(24)
    server = mongo_server(folder, port=_usable(servers.mongo_port), password=password)
    if server.password is not None and not servers.mongo_password:
        servers = await _set_password(folder, servers, server, password)
    child = _child(server, folder)
    try:
        await child.start()
        is_accepted = server.password is None or await accepts_user(server.url)
    except BaseException:
        await child.kill()
        raise
    if not is_accepted:
        await child.kill()
        servers = await _set_password(folder, servers, server, password)
    await supervisor.add(child)
    # Older versions of Punchcard kept every write in the oplog. Deleting them later would block writes of clients.
    await empty_oplog(server.url)
    return server, dataclasses.replace(servers, mongo_port=server.port)


async def start_redis(folder: Path, servers: Servers, supervisor: Supervisor) -> tuple[Server, Servers]:
    """Start the Redis of the folder, and return it with the changed content of `servers.json`.

    Raises ConfigError and StartError.
    """
    server = redis_server(folder, port=_usable(servers.redis_port))
    await supervisor.add(_child(server, folder))
    return server, dataclasses.replace(servers, redis_port=server.port)


async def _set_password(folder: Path, servers: Servers, server: Server, password: str) -> Servers:
    """Run the store without authentication to set the password of its only user, and store the password."""
    open_server = mongo_server(folder, port=server.port)
    child = _child(open_server, folder)
    try:
        await child.start()
        await set_only_user(open_server.url, STORE_USER, password)
    finally:
        # The user was flushed to the disk, so nothing is lost, and a kill is faster than a stop.
        await child.kill()
    servers = dataclasses.replace(servers, mongo_password=password)
    servers.write(folder)
    return servers


def _child(server: Server, folder: Path) -> Child:
    server.prepare()
    log = folder / "logs" / f"{server.kind}.log"
    log.unlink(missing_ok=True)
    return Child(server.kind, server.argv, log=log, ready=server.answers)


def _usable(port: int | None) -> int | None:
    return port if port is not None and is_free("127.0.0.1", port) else None
