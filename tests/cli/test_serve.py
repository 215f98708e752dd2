"""`punchcard up`: servers that other users cannot reach, a key that is never lost, and a stop that always works."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import OperationFailure
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from app.domain.ids import SLOTS
from app.local.servers import Servers, command_of, free_port
from app.resources import Resources, open_resources
from app.store.operations.indexes import SlotsChanged
from tests.cli.test_main import ROOT, Up, clean_environment, run_command, run_up, start_up
from tests.patience import PATIENCE_SECONDS
from tests.servers import worker
from workers.main import run as run_worker


@pytest.fixture(scope="module")
async def first(tmp_path_factory: pytest.TempPathFactory) -> Up:
    """Return the first `punchcard up` on a folder, stopped. The tests start on its data, which takes less time."""
    folder = tmp_path_factory.mktemp("first")
    folder.chmod(0o755)
    up = await start_up(folder / "data")
    await up.stop(signal.SIGINT)
    return up


async def test_other_users_can_neither_read_the_folder_nor_use_the_servers(first: Up) -> None:
    async with run_up(first.folder) as up:
        servers = Servers.read(up.folder)
        assert stat.S_IMODE(up.folder.stat().st_mode) == 0o700
        for path in up.folder.rglob("*"):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
        client: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient("127.0.0.1", servers.mongo_port)
        for collection in (client["punchcard"]["passes"], client["punchcard"]["api_keys"], client["local"]["oplog.rs"]):
            with pytest.raises(OperationFailure, match="requires authentication"):
                await collection.find_one()
            with pytest.raises(OperationFailure, match="requires authentication"):
                await collection.insert_one({"planted": 1})
        with pytest.raises(OperationFailure, match="requires authentication"):
            await client.admin.command("createUser", "me", pwd="me", roles=["root"])
        client.close()
        stranger = Redis(port=servers.redis_port or 0)
        with pytest.raises(AuthenticationError):
            await stranger.ping()
        await stranger.aclose()
        # Every user can read the arguments of a process.
        passwords = (servers.mongo_password, servers.redis_url.split("@")[0].rpartition(":")[2])
        assert all(passwords)
        arguments = [command_of(pid) for pid in up.pids.values()]
        assert not any(password in text for password in passwords for text in arguments)
        assert not any(password in up.output for password in passwords)


async def test_store_whose_password_was_lost_gets_a_new_one(first: Up) -> None:
    key = first.key
    (first.folder / "servers.json").unlink()
    async with run_up(first.folder) as second:
        assert second.key == key
        assert second.key not in second.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_up_after_a_refused_start_keeps_its_key_and_stops_with_a_closed_output(
    first: Up, number: signal.Signals
) -> None:
    """A start with another database is refused. `punchcard up 2>&1 | head` closes the pipe after a few lines."""
    key, folder = first.key, first.folder
    status, output = await run_command(
        *("up", "--port", str(free_port()), "--data-dir", str(folder)), PUNCHCARD_DATABASE="other"
    )
    assert status == 1
    assert "was made for the database punchcard of secantusd-py" in output
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "up", "--port", str(free_port()), "--data-dir", str(folder)),
        cwd=ROOT,
        env=clean_environment(),
        stdout=writing,
        stderr=writing,
    )
    os.close(writing)
    printed = b""
    while b"Ctrl-C" not in printed:
        printed += await asyncio.to_thread(os.read, reading, 4_096)
    os.close(reading)
    assert first.key == key
    process.send_signal(number)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await process.wait()
    assert [pid for pid in Servers.read(folder).pids.values() if command_of(pid)] == []


async def test_folder_that_cannot_be_used_is_refused_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "data", Path("/proc/punchcard")):
        status, output = await run_command("up", "--port", str(free_port()), "--data-dir", str(folder))
        assert status == 1
        assert output.startswith(f"Error: The data folder {folder} cannot be used: ")
        assert len(output.splitlines()) == 1


async def test_client_variables_cause_no_warning(tmp_path: Path) -> None:
    _, output = await run_command(
        *("clock", "show", "--data-dir", str(tmp_path)),
        PUNCHCARD_KEY="x",
        PUNCHCARD_ENDPOINT="http://127.0.0.1/graphql",
    )
    assert "Warning" not in output


async def test_worker_refuses_a_database_with_another_number_of_slots(resources: Resources) -> None:
    """With another number, the worker would not find pending events."""
    await resources.db["constants"].update_one({"_id": "slots"}, {"$set": {"value": SLOTS * 2}})
    with pytest.raises(SlotsChanged, match=f"created with {SLOTS * 2} slots"):
        await run_worker(resources.settings, asyncio.Event())
    async with open_resources(resources.settings) as same:
        assert same.settings.database == resources.settings.database
    process = worker(resources.settings)
    await process.start()
    assert await process.wait() == 1


async def test_local_installation_begins_an_epoch_while_it_runs_without_workers(tmp_path: Path) -> None:
    async with run_up(tmp_path, "--workers", "0") as up:
        assert set(up.pids) == {"mongo", "redis", "api"}
        status, output = await run_command("restored", "--data-dir", str(tmp_path))
    assert status == 0, output
    assert "begins in 1 workspace of the database punchcard." in output
