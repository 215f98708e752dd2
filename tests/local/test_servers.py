from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.config.settings import ConfigError, Settings
from app.local.servers import (
    PORTS,
    Servers,
    command_of,
    free_port,
    is_free,
    is_owned,
    locate_servers,
    lock_folder,
    mongo_server,
)
from app.resources import Resources, open_resources
from tests.servers import running_servers


async def test_the_embedded_servers_take_commands(resources: Resources) -> None:
    await resources.db.get_collection("things").insert_one({"_id": 1})
    assert await resources.db.get_collection("things").count_documents({}) == 1
    assert await resources.redis.ping()


async def test_the_embedded_server_is_asked_for_short_lists(resources: Resources) -> None:
    assert resources.in_chunk == 100


async def test_acknowledged_writes_outlive_a_kill_of_the_server(tmp_path: Path) -> None:
    async with running_servers(tmp_path, durable=True) as servers:
        async with open_resources(servers.settings) as resources:
            for number in range(50):
                await resources.db.get_collection("things").insert_one({"_id": number})
        await servers.mongo.kill()
        await servers.mongo.start()
        async with open_resources(servers.settings) as resources:
            assert await resources.db.get_collection("things").count_documents({}) == 50


def test_an_engine_with_data_in_the_folder_goes_on_with_it(tmp_path: Path) -> None:
    (tmp_path / "secantusd-py").mkdir()
    assert mongo_server(tmp_path).engine == "secantusd-py"


def test_free_ports_lie_where_no_outgoing_connection_takes_them() -> None:
    port = free_port()
    assert port in PORTS
    assert is_free("127.0.0.1", port)


async def test_a_port_in_use_is_not_free() -> None:
    port = free_port()
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", port)
    async with server:
        assert not is_free("127.0.0.1", port)


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        assert is_owned(tmp_path)
        with pytest.raises(ConfigError, match="already runs"), lock_folder(tmp_path):
            pass
    assert not is_owned(tmp_path)


def test_without_addresses_and_servers_the_error_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="punchcard up"):
        locate_servers(Settings(data_dir=tmp_path / "none"))


def test_addresses_left_out_are_those_of_the_running_servers(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        Servers(mongodb_uri="mongodb://127.0.0.1:20001/", redis_url="redis://127.0.0.1:20002/0").write(tmp_path)
        found = locate_servers(Settings(redis_url="redis://elsewhere/0", data_dir=tmp_path))
    assert found.mongodb_uri == "mongodb://127.0.0.1:20001/"
    assert found.redis_url == "redis://elsewhere/0"


def test_an_unreadable_servers_file_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text('{"mongodb_')
    assert Servers.read(tmp_path) == Servers()


def test_the_command_of_a_process_that_does_not_run_is_empty() -> None:
    assert command_of(2**22 + 1) == ""
