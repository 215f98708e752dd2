"""The command `punchcard`: `up` with its child processes, and the options, errors and help of the commands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from app.cli.main import main
from app.local.servers import Servers, command_of, free_port
from tests.patience import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
OPERATIONS = (["migrate"], ["restored"], ["check"], ["truncate"])


def list_settings() -> list[str]:
    """Return the names of the settings in the environment. Those of the developer must not affect the tests."""
    return [name for name in os.environ if name.startswith("PUNCHCARD_") or name in {"MONGODB_URI", "REDIS_URL"}]


def clean_environment() -> dict[str, str]:
    """Return the environment without settings."""
    settings = list_settings()
    return {name: text for name, text in os.environ.items() if name not in settings}


async def run_command(*arguments: str, **variables: str) -> tuple[int, str]:
    """Run a command with these variables until it ends, and return its exit status and output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", *arguments),
        cwd=ROOT,
        env={**clean_environment(), **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@dataclass
class Up:
    """A running `punchcard up`."""

    process: asyncio.subprocess.Process
    folder: Path
    port: int
    output: str

    @property
    def pids(self) -> dict[str, int]:
        return Servers.read(self.folder).pids

    @property
    def key(self) -> str:
        return (self.folder / "key").read_text().strip()

    async def stop(self, number: signal.Signals) -> int:
        """Send the signal, wait until the process ends, and return its exit status."""
        self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode

    def is_healthy(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=PATIENCE_SECONDS).is_success
        except httpx.TransportError:
            return False


async def start_up(folder: Path, *options: str) -> Up:
    """Start `punchcard up` on a free port, and wait until it is ready."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "up", "--port", str(port), "--data-dir", str(folder), *options),
        cwd=ROOT,
        env=clean_environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    output = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "Ctrl-C" not in output:
            line = await process.stdout.readline()
            assert line, f"`punchcard up` ended: {output}"
            output += line.decode()
    return Up(process, folder, port, output)


@contextlib.asynccontextmanager
async def run_up(folder: Path, *options: str) -> AsyncIterator[Up]:
    up = await start_up(folder, *options)
    try:
        yield up
    finally:
        if up.process.returncode is None:
            await up.stop(signal.SIGTERM)


@pytest.fixture(scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    async with run_up(tmp_path_factory.mktemp("up"), "--workers", "2") as running:
        yield running


async def test_up_prints_its_addresses_and_a_key_whose_file_only_its_owner_can_read(up: Up) -> None:
    assert f"http://127.0.0.1:{up.port}/graphql\n" in up.output
    assert f"http://127.0.0.1:{up.port}/graphiql\n" in up.output
    assert up.key in up.output
    assert stat.S_IMODE((up.folder / "key").stat().st_mode) == 0o600


async def test_key_that_up_prints_is_accepted_at_the_address_that_it_prints(up: Up) -> None:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {up.key}"}, timeout=PATIENCE_SECONDS) as client:
        answer = await client.post(f"http://127.0.0.1:{up.port}/graphql", json={"query": "{ __typename }"})
    assert answer.json()["data"] == {"__typename": "Query"}


async def test_second_up_on_the_same_folder_is_refused_with_the_next_step(up: Up) -> None:
    status, output = await run_command("up", "--data-dir", str(up.folder))
    assert status == 1
    assert "already runs" in output
    assert "--data-dir" in output


async def test_port_in_use_is_named_with_the_option_to_change_it(up: Up, tmp_path: Path) -> None:
    for command in (["up", "--data-dir", str(tmp_path)], ["api", "--data-dir", str(up.folder)]):
        status, output = await run_command(*command, "--port", str(up.port))
        assert status == 1
        assert f"Port {up.port} of 127.0.0.1 is in use" in output
        assert "--port" in output


async def test_commands_find_the_servers_of_a_running_up_by_the_folder(up: Up) -> None:
    folder = ["--data-dir", str(up.folder)]
    assert (await run_command("clock", "set", "1998-07-01", *folder))[1].splitlines()[0] == "1998-07-01T00:00:00.000Z"
    assert await run_command("clock", "set", "1998-06-30T23:00:00Z", *folder) == (
        1,
        "Error: instant: The clock stands at 1998-07-01T00:00:00.000Z and only moves forward; choose a later instant.\n",
    )
    status, key = await run_command("workspace", "create", "Corner Coffee", *folder)
    assert status == 0
    assert key.strip() != up.key


@pytest.mark.parametrize("name", ["worker 1", "redis", "mongo", "api"])
async def test_killed_child_process_is_started_again(up: Up, name: str) -> None:
    killed = up.pids[name]
    os.kill(killed, signal.SIGKILL)
    await wait_until(lambda: up.pids.get(name, killed) != killed)
    await wait_until(up.is_healthy)


async def test_up_starts_again_with_the_same_data_after_ctrl_c_and_after_a_kill(up: Up) -> None:
    """It is the last test that needs the running `punchcard up`."""
    key, pids = up.key, up.pids
    assert set(pids) == {"mongo", "redis", "worker 1", "worker 2", "api"}
    assert await up.stop(signal.SIGINT) == 0
    assert [pid for pid in pids.values() if command_of(pid)] == []
    second = await start_up(up.folder)
    assert second.key == key
    # A killed `up` leaves its children running. The next `up` on the folder starts nevertheless.
    second.process.kill()
    # Its output stays open until its children have ended, which may take half a minute without their store.
    await wait_until(lambda: second.process.returncode is not None)
    async with run_up(up.folder) as third:
        assert third.key == key


def test_help_shows_an_example_for_each_command() -> None:
    for arguments in ([], ["up"], ["api"], ["worker"], ["schema"], ["clock"], ["workspace", "create"], *OPERATIONS):
        result = CliRunner().invoke(main, [*arguments, "--help"])
        assert result.exit_code == 0
        assert re.search(r"^  +([A-Z_]+=\S+ )*punchcard ", result.output, re.MULTILINE), arguments


def test_invalid_settings_are_all_listed_without_a_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["clock", "show"], env={"PUNCHCARD_PORT": "x", "PUNCHCARD_CLOCK": "y"})
    assert result.exit_code == 1
    assert result.output.startswith("Error: PUNCHCARD_PORT must ")
    assert "\nPUNCHCARD_CLOCK must " in result.output


def test_command_without_servers_fails_with_the_command_that_starts_them(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["clock", "show", "--data-dir", str(tmp_path)], env={"MONGODB_URI": None})
    assert result.exit_code == 1
    assert "punchcard up" in result.output


def test_invalid_instant_is_refused_with_an_example(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["clock", "set", "tomorrow", "--data-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "Write it like 2025-01-01" in result.output


def test_variable_that_is_no_setting_gets_a_warning_with_the_nearest_setting(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["clock", "show", "--data-dir", str(tmp_path)], env={"PUNCHCARD_CLOK": "manual", "MONGODB_URI": None}
    )
    assert "Warning: PUNCHCARD_CLOK is not a setting and has no effect. Did you mean PUNCHCARD_CLOCK?" in result.output


@pytest.mark.parametrize("command", ["api", "worker", "up"])
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MONGODB_URI": "mongodb://127.0.0.1:no"}, "MONGODB_URI cannot be used"),
        ({"REDIS_URL": "redis://127.0.0.1:no"}, "REDIS_URL cannot be used"),
        (
            {"MONGODB_URI": "mongodb://127.0.0.1:1"},
            "The store did not answer. Check that it runs and that its address is correct.",
        ),
        ({"PUNCHCARD_METRICS": "yes"}, "PUNCHCARD_METRICS must be one of off, local, on"),
    ],
)
def test_failed_start_names_the_setting_to_change_and_shows_no_password(
    tmp_path: Path, command: str, variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.resources.START_TIMEOUT_SECONDS", 0.1)
    addresses = {"MONGODB_URI": "mongodb://u:hunter2@127.0.0.1:1", "REDIS_URL": "redis://:hunter2@127.0.0.1:1"}
    options = [] if command == "worker" else ["--port", str(free_port())]
    result = CliRunner().invoke(
        main, [command, "--data-dir", str(tmp_path), *options], env={**addresses, "PUNCHCARD_PORT": None, **variables}
    )
    assert result.exit_code == 1
    assert f"Error: {message}" in result.output
    assert "hunter2" not in result.output
    assert "Traceback" not in result.output
