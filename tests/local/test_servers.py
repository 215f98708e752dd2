"""Embedded servers: their folder, ports and addresses, and that acknowledged writes survive a kill."""

from __future__ import annotations

import asyncio
import re
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ResponseError

from app.config.settings import ConfigError, Settings
from app.local.folder import lock_folder
from app.local.key_file import KeyFile, KeyOrigin
from app.local.servers import (
    PORTS,
    Servers,
    command_of,
    free_port,
    is_free,
    locate_servers,
    mongo_server,
)
from app.resources import Resources, open_resources
from app.store.mongo.oplog import prune_oplog
from app.store.mongo.queries import Collection
from tests.servers import running_servers


def without_password(url: str) -> str:
    return re.sub(r"//[^@]*@", "//", url)


async def test_embedded_servers_execute_commands(resources: Resources) -> None:
    await resources.db.get_collection("things").insert_one({"_id": 1})
    assert await resources.db.get_collection("things").count_documents({}) == 1
    assert await resources.redis.ping()


@pytest.mark.embedded_only("other servers get long lists")
async def test_queries_to_the_embedded_server_have_short_lists_of_values(resources: Resources) -> None:
    assert resources.in_chunk == 100


WRITES: Mapping[str, Callable[[Collection], Awaitable[object]]] = {
    "insert": lambda things: things.insert_many([{"_id": number} for number in range(300)]),
    "update": lambda things: things.update_many({"_id": {"$lt": 40}}, {"$set": {"new": True}}),
    "find and update": lambda things: things.find_one_and_update({"_id": 45}, {"$set": {"new": True}}),
    "delete": lambda things: things.delete_many({"_id": {"$lt": 10}}),
}


async def test_acknowledged_writes_survive_a_kill_of_the_server(tmp_path: Path) -> None:
    async with running_servers(tmp_path, durable=True) as servers:
        async with open_resources(servers.settings) as resources:
            for number in range(50):
                await resources.db.get_collection("things").insert_one({"_id": number})
        await servers.mongo.kill()
        await servers.mongo.start()
        async with open_resources(servers.settings) as resources:
            assert await resources.db.get_collection("things").count_documents({}) == 50


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts the writes of a process")
async def test_acknowledged_writes_are_flushed_and_deletions_from_the_oplog_are_not(tmp_path: Path) -> None:
    """While the server flushes, other calls wait, so that a flush for each entry of the oplog would stop all work."""
    async with running_servers(tmp_path, durable=True) as servers, open_resources(servers.settings) as resources:
        for kind, write in WRITES.items():
            before = count_writes(servers.mongo.pid)
            await write(resources.db.get_collection("things"))
            assert count_writes(servers.mongo.pid) > before, kind
        before = count_writes(servers.mongo.pid)
        await prune_oplog(resources.db.client)
        assert count_writes(servers.mongo.pid) - before < 100


def count_writes(pid: int | None) -> int:
    """Return how often a process has written to a file so far."""
    counters = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(counters["syscw"])


def test_folder_with_data_of_an_engine_is_opened_with_the_same_engine(tmp_path: Path) -> None:
    (tmp_path / "secantusd-py").mkdir()
    assert mongo_server(tmp_path).engine == "secantusd-py"


def test_folder_with_data_of_a_missing_engine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another engine would start with an empty database, and the data would seem lost."""
    (tmp_path / "secantusd-rs").mkdir()
    (tmp_path / "secantusd-rs" / "WiredTiger").touch()
    monkeypatch.setattr("app.local.servers._executable", {"secantusd-py": "/bin/secantusd-py"}.get)
    with pytest.raises(
        ConfigError, match=r"has data of secantusd-rs, which is not on PATH\. Install it again, or choose"
    ):
        mongo_server(tmp_path)


def test_folder_with_data_of_two_engines_is_opened_with_that_of_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"secantusd-rs": "/bin/secantusd-rs", "secantusd-py": "/bin/secantusd-py"}
    monkeypatch.setattr("app.local.servers._executable", installed.get)
    for engine in installed:
        (tmp_path / engine).mkdir()
        (tmp_path / engine / "WiredTiger").touch()
    KeyFile(tmp_path).write("punch_a", KeyOrigin("secantusd-py", "punchcard"))
    assert mongo_server(tmp_path).engine == "secantusd-py"
    del installed["secantusd-py"]
    with pytest.raises(ConfigError, match="has data of secantusd-py"):
        mongo_server(tmp_path)


async def test_redis_refuses_who_does_not_know_its_password_and_all_dangerous_commands(tmp_path: Path) -> None:
    async with running_servers(tmp_path) as servers:
        stranger, friend = (
            Redis.from_url(without_password(servers.settings.redis_url or "")),
            Redis.from_url(servers.settings.redis_url or ""),
        )
        for words in (["PING"], ["CONFIG", "SET", "dir", "/tmp"], ["EVAL", "return 1", "0"], ["KEYS", "*"]):
            with pytest.raises(AuthenticationError):
                await stranger.execute_command(*words)
        for words in (
            ["CONFIG", "SET", "dir", "/tmp"],
            ["DEBUG", "SLEEP", "0"],
            ["MODULE", "LIST"],
            ["SLAVEOF", "a", "1"],
            ["MIGRATE", "127.0.0.1", "1", "key", "0", "100"],
            ["SAVE"],
            ["SYNC"],
        ):
            with pytest.raises(ResponseError, match="unknown command"):
                await friend.execute_command(*words)
        await stranger.aclose()
        await friend.aclose()
    assert stat.S_IMODE((tmp_path / "redis" / "redis.conf").stat().st_mode) == 0o600


def test_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    port = free_port()
    assert port in PORTS
    assert is_free("127.0.0.1", port)


async def test_port_in_use_is_not_free() -> None:
    port = free_port()
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", port)
    async with server:
        assert not is_free("127.0.0.1", port)


def test_error_without_addresses_and_running_servers_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="punchcard up"):
        locate_servers(Settings(data_dir=tmp_path / "none"))
    with pytest.raises(ConfigError, match="set REDIS_URL, too"):
        locate_servers(Settings(mongodb_uri="mongodb://elsewhere", data_dir=tmp_path / "none"))


def test_missing_addresses_are_taken_from_the_running_servers(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        Servers(mongodb_uri="mongodb://127.0.0.1:20001/", redis_url="redis://127.0.0.1:20002/0").write(tmp_path)
        found = locate_servers(Settings(redis_url="redis://elsewhere/0", data_dir=tmp_path))
    assert found.mongodb_uri == "mongodb://127.0.0.1:20001/"
    assert found.redis_url == "redis://elsewhere/0"


def test_unreadable_servers_file_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text('{"mongodb_')
    assert Servers.read(tmp_path) == Servers()


def test_command_of_a_process_that_does_not_run_is_empty() -> None:
    assert command_of(2**22 + 1) == ""
