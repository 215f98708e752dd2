from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from app.cli.main import main
from app.local.servers import Servers, command_of, free_port

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 60


def environment() -> dict[str, str]:
    """Ours without settings: nothing of the developer's own may reach the processes under test."""
    return {
        name: text
        for name, text in os.environ.items()
        if not name.startswith("PUNCHCARD_") and name not in {"MONGODB_URI", "REDIS_URL"}
    }


async def punchcard(*arguments: str) -> tuple[int, str]:
    """The exit status and the output of a command that ends by itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", *arguments),
        cwd=ROOT,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def until(holds: Callable[[], bool]) -> None:
    """Returns when it holds; fails the test when it does not within the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


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

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode

    def is_healthy(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz").is_success
        except httpx.TransportError:
            return False


async def start(folder: Path, *options: str) -> Up:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "up", "--port", str(port), "--data-dir", str(folder), *options),
        cwd=ROOT,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    output = ""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while "Ctrl-C" not in output:
            line = await process.stdout.readline()
            assert line, f"`punchcard up` ended: {output}"
            output += line.decode()
    return Up(process, folder, port, output)


@contextlib.asynccontextmanager
async def running(folder: Path, *options: str) -> AsyncIterator[Up]:
    up = await start(folder, *options)
    try:
        yield up
    finally:
        if up.process.returncode is None:
            await up.end(signal.SIGTERM)


@pytest.fixture(scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    async with running(tmp_path_factory.mktemp("up")) as started:
        yield started


async def test_up_prints_the_endpoint_and_a_key_that_only_its_owner_can_read(up: Up) -> None:
    assert f"http://127.0.0.1:{up.port}/graphql\n" in up.output
    assert f"http://127.0.0.1:{up.port}/graphiql\n" in up.output
    assert up.key in up.output
    assert stat.S_IMODE((up.folder / "key").stat().st_mode) == 0o600


async def test_the_printed_key_opens_the_printed_endpoint(up: Up) -> None:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {up.key}"}) as client:
        answer = await client.post(f"http://127.0.0.1:{up.port}/graphql", json={"query": "{ __typename }"})
    assert answer.json()["data"] == {"__typename": "Query"}


async def test_a_second_up_on_the_folder_says_that_one_runs(up: Up) -> None:
    status, output = await punchcard("up", "--data-dir", str(up.folder))
    assert status == 1
    assert "already runs" in output
    assert "--data-dir" in output


async def test_a_taken_port_is_named_with_the_way_out(up: Up, tmp_path: Path) -> None:
    for command in (["up", "--data-dir", str(tmp_path)], ["api", "--data-dir", str(up.folder)]):
        status, output = await punchcard(*command, "--port", str(up.port))
        assert status == 1
        assert f"Port {up.port} of 127.0.0.1 is taken" in output
        assert "--port" in output


async def test_commands_in_another_terminal_find_the_running_servers(up: Up) -> None:
    folder = ["--data-dir", str(up.folder)]
    assert (await punchcard("clock", "set", "1998-07-01", *folder))[1].splitlines()[0] == "1998-07-01T00:00:00.000Z"
    assert await punchcard("clock", "set", "1998-06-30T23:00:00Z", *folder) == (
        1,
        "Error: instant: The clock stands at 1998-07-01T00:00:00+00:00 and only moves forward.\n",
    )
    status, key = await punchcard("workspace", "create", "Corner Coffee", *folder)
    assert status == 0
    assert key.strip() != up.key


@pytest.mark.parametrize("name", ["worker", "redis", "mongo", "api"])
async def test_a_child_that_is_killed_is_started_again(up: Up, name: str) -> None:
    killed = up.pids[name]
    os.kill(killed, signal.SIGKILL)
    await until(lambda: up.pids.get(name, killed) != killed)
    await until(up.is_healthy)


async def test_everything_ends_with_ctrl_c_or_is_killed_and_starts_again_with_the_same_data(tmp_path: Path) -> None:
    up = await start(tmp_path, "--workers", "2")
    pids = up.pids
    assert set(pids) == {"mongo", "redis", "worker 1", "worker 2", "api"}
    assert await up.end(signal.SIGINT) == 0
    assert [pid for pid in pids.values() if command_of(pid)] == []
    again = await start(tmp_path)
    assert again.key == up.key
    # What is killed leaves its children, and yet nothing in the way of the next.
    await again.end(signal.SIGKILL)
    async with running(tmp_path) as third:
        assert third.key == up.key


def test_help_teaches_every_command() -> None:
    for arguments in ([], ["up"], ["api"], ["worker"], ["schema"], ["clock"], ["workspace", "create"]):
        shown = CliRunner().invoke(main, [*arguments, "--help"])
        assert shown.exit_code == 0
        assert re.search(r"^  +(MONGODB_URI=\S+ .*)?punchcard ", shown.output, re.MULTILINE), arguments


def test_bad_settings_are_listed_without_a_trace(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["clock", "show"], env={"PUNCHCARD_PORT": "x", "PUNCHCARD_CLOCK": "y"})
    assert shown.exit_code == 1
    assert shown.output.startswith("Error: PUNCHCARD_PORT must ")
    assert "\nPUNCHCARD_CLOCK must " in shown.output


def test_without_servers_a_command_says_what_to_start(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["clock", "show", "--data-dir", str(tmp_path)], env={"MONGODB_URI": None})
    assert shown.exit_code == 1
    assert "punchcard up" in shown.output


def test_an_instant_that_is_none_is_refused_with_an_example(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["clock", "set", "tomorrow", "--data-dir", str(tmp_path)])
    assert shown.exit_code == 2
    assert "1998-07-01" in shown.output


def test_a_variable_that_is_no_setting_is_warned_of_with_the_one_that_was_meant(tmp_path: Path) -> None:
    shown = CliRunner().invoke(
        main, ["clock", "show", "--data-dir", str(tmp_path)], env={"PUNCHCARD_CLOK": "manual", "MONGODB_URI": None}
    )
    assert "Warning: PUNCHCARD_CLOK is no setting and does nothing; did you mean PUNCHCARD_CLOCK?" in shown.output


@pytest.mark.parametrize("command", ["api", "worker", "up"])
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MONGODB_URI": "mongodb://127.0.0.1:no"}, "MONGODB_URI cannot be used"),
        ({"REDIS_URL": "redis://127.0.0.1:no"}, "REDIS_URL cannot be used"),
        ({"MONGODB_URI": "mongodb://127.0.0.1:1"}, "The store did not answer. Does it run, and is its address right?"),
        ({"PUNCHCARD_METRICS": "yes"}, "PUNCHCARD_METRICS must be one of off, local, on"),
    ],
)
def test_what_cannot_start_says_which_setting_to_change_and_nothing_of_passwords(
    tmp_path: Path, command: str, variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.resources.SERVER_SELECTION_TIMEOUT_MS", 100)
    reachable = {"MONGODB_URI": "mongodb://u:hunter2@127.0.0.1:1", "REDIS_URL": "redis://:hunter2@127.0.0.1:1"}
    options = [] if command == "worker" else ["--port", str(free_port())]
    shown = CliRunner().invoke(
        main, [command, "--data-dir", str(tmp_path), *options], env={**reachable, "PUNCHCARD_PORT": None, **variables}
    )
    assert shown.exit_code == 1
    assert f"Error: {said}" in shown.output
    assert "hunter2" not in shown.output
    assert "Traceback" not in shown.output
