"""A second store for the tests: mongo-java-server, which shares no code with the embedded store.

A proxy stands before it, because it claims an old version of the protocol and does not know partial indexes.
`python -m tests.wire.java_store fetch` copies its jars into the cache folder of the user, once. It needs Java and Maven.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import uvloop

from app.local.processes import Child
from app.local.servers import free_port, listens
from app.resources import OLDEST_VERSION
from tests.patience import PATIENCE_SECONDS
from tests.wire.framing import Command, Doc
from tests.wire.proxy import Forward, rule, wire_proxy

VERSION = "1.46.0"
"""The version in java/pom.xml."""
SOURCES = Path(__file__).parent / "java"
FETCH_TIMEOUT_SECONDS = 300
MIN_WIRE_VERSION = 9
"""The version of the protocol that the driver asks for at least. The commands that it then sends are understood."""


class NotInstalledError(RuntimeError):
    """Java, Maven or the jars are missing; the message says which, and what to do."""


def jars_folder() -> Path:
    """Return the folder of the jars, which may not exist."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "punchcard" / f"mongo-java-server-{VERSION}"


def fetch_jars() -> None:
    """Copy the jars into their folder, unless they are there. Raises NotInstalledError."""
    folder = jars_folder()
    if folder.exists():
        return
    maven = shutil.which("mvn")
    if maven is None:
        raise NotInstalledError("Maven (mvn) is not installed, which fetches the jars of mongo-java-server.")
    # Another process may fetch at the same time. The folder gets its name only when it is complete.
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    copy = ("dependency:copy-dependencies", f"-DoutputDirectory={unfinished}")
    try:
        done = subprocess.run(
            (maven, "-q", "-B", "-f", str(SOURCES / "pom.xml"), *copy),
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise NotInstalledError(f"Maven did not fetch mongo-java-server in {FETCH_TIMEOUT_SECONDS} s.") from error
    if done.returncode:
        raise NotInstalledError(f"Maven could not fetch mongo-java-server:\n{done.stdout[-2_000:]}")
    if folder.exists():
        shutil.rmtree(unfinished)
    else:
        unfinished.rename(folder)


def java_store(folder: Path) -> tuple[Child, Child, str]:
    """Return the store and its proxy as processes that are not started yet, and the address of the proxy.

    Their logs lie in the folder. Raises NotInstalledError if Java or the jars are missing.
    """
    java = shutil.which("java")
    if java is None:
        raise NotInstalledError("Java is not installed.")
    if not jars_folder().exists():
        raise NotInstalledError("The jars are missing. Run `python -m tests.wire.java_store fetch` first.")
    folder.mkdir(parents=True, exist_ok=True)
    upstream, port = free_port(), free_port()
    options = ("-Xmx1g", "-XX:+UseSerialGC", "-cp", f"{jars_folder()}/*")
    store = Child(
        "mongo",
        (java, *options, str(SOURCES / "InMemoryStore.java"), str(upstream)),
        log=folder / "mongo.log",
        ready=lambda: listens("127.0.0.1", upstream),
        start_seconds=PATIENCE_SECONDS,
    )
    proxy = Child(
        "proxy",
        (sys.executable, "-m", "tests.wire.java_store", str(port), str(upstream)),
        env=dict(os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])},
        log=folder / "proxy.log",
        ready=lambda: listens("127.0.0.1", port),
        start_seconds=PATIENCE_SECONDS,
    )
    return store, proxy, f"mongodb://127.0.0.1:{port}/"


@rule("hello", "isMaster", "ismaster")
async def claim_newer_version(command: Command, forward: Forward) -> Doc:
    """Let the store claim a version of the protocol that the driver takes. It knows `hello` by its former name only."""
    former = {"isMaster": 1, **{name: value for name, value in command.body.items() if name != command.name}}
    reply = await forward(replace(command, body=former))
    return reply | {"maxWireVersion": max(MIN_WIRE_VERSION, reply["maxWireVersion"])}


@rule("buildInfo", "buildinfo")
async def claim_newer_server(command: Command, forward: Forward) -> Doc:
    """Let the store claim the oldest version of MongoDB on which Punchcard runs. It says 4.0 of itself."""
    return await forward(command) | {"version": "6.0.0", "versionArray": [*OLDEST_VERSION, 0, 0]}


@rule("update", "delete")
async def compare_single_values(command: Command, forward: Forward) -> Doc:
    """Write `{"$all": [value]}` as the value: the store takes `$all` for lists only, and MongoDB for single values, too."""
    name = f"{command.name}s"
    changes = [
        {**change, "q": {field: _single_value(condition) for field, condition in change["q"].items()}}
        for change in command.items(name)
    ]
    return await forward(command.with_items(name, changes))


def _single_value(condition: object) -> object:
    match condition:
        case {"$all": [value]}:
            return value
    return condition


@rule("createIndexes")
async def drop_partial_uniqueness(command: Command, forward: Forward) -> Doc:
    """Create unique partial indexes without `unique`: the store would refuse documents that they do not contain."""
    models = command.items("indexes")
    plain = [
        {key: value for key, value in model.items() if key != "unique" or "partialFilterExpression" not in model}
        for model in models
    ]
    return await forward(command.with_items("indexes", plain))


RULES = (claim_newer_version, claim_newer_server, compare_single_values, drop_partial_uniqueness)


async def _run_proxy(port: int, upstream: int) -> None:
    async with wire_proxy(upstream, RULES, port=port):
        await asyncio.Event().wait()


def main(arguments: list[str]) -> None:
    """Fetch the jars, or run the proxy from one port to another."""
    if arguments == ["fetch"]:
        try:
            fetch_jars()
            if shutil.which("java") is None:
                raise NotInstalledError("Java is not installed.")
        except NotInstalledError as error:
            sys.exit(str(error))
        return
    port, upstream = map(int, arguments)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(_run_proxy(port, upstream))


if __name__ == "__main__":
    main(sys.argv[1:])
