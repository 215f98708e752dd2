"""Child processes and their supervisor: start, readiness, stop, restart and kill."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from app.local import processes
from app.local.processes import Child, StartError, Supervisor
from app.local.servers import command_of
from tests.patience import PATIENCE_SECONDS, wait_until

SLEEP = "import time; time.sleep(600)"


def create_sleeper(name: str = "sleeper") -> Child:
    return Child(name, [sys.executable, "-c", SLEEP])


async def test_error_of_a_child_that_ends_at_its_start_has_the_end_of_its_log(tmp_path: Path) -> None:
    async def is_ready() -> bool:
        return False

    log = tmp_path / "child.log"
    child = Child("child", [sys.executable, "-c", "print('the folder is locked')"], log=log, ready=is_ready)
    with pytest.raises(StartError, match=r"ended at its start(.|\n)*the folder is locked"):
        await child.start()


async def test_child_that_is_not_ready_in_time_is_killed(tmp_path: Path) -> None:
    async def is_ready() -> bool:
        return False

    child = Child("child", [sys.executable, "-c", SLEEP], ready=is_ready, start_seconds=0.2)
    with pytest.raises(StartError, match=r"not ready after 0\.2 s"):
        await child.start()
    assert not child.is_running


async def test_stop_and_kill_can_be_repeated() -> None:
    child = create_sleeper()
    await child.stop()
    await child.start()
    await child.stop()
    await child.stop()
    await child.kill()
    assert child.pid is None


async def test_supervisor_stops_its_children_in_reverse_order_of_their_start(tmp_path: Path) -> None:
    order = tmp_path / "order"
    supervisor = Supervisor(lambda _: None)
    for name in ("first", "second"):
        ready = tmp_path / name
        script = (
            "import pathlib, signal, sys, time\n"
            f"def end(*_):\n  pathlib.Path({str(order)!r}).open('a').write({name + ' '!r}); sys.exit()\n"
            "signal.signal(signal.SIGTERM, end)\n"
            f"pathlib.Path({str(ready)!r}).touch()\n"
            "time.sleep(600)"
        )

        async def is_ready(path: Path = ready) -> bool:
            return path.exists()

        await supervisor.add(Child(name, [sys.executable, "-c", script], ready=is_ready))
    await supervisor.stop()
    assert order.read_text().split() == ["second", "first"]


async def test_killed_child_is_started_again_and_the_restart_is_reported() -> None:
    reports: list[str] = []
    changed = asyncio.Event()
    supervisor = Supervisor(reports.append, changed.set)
    await supervisor.add(create_sleeper())
    first = supervisor.pids["sleeper"]
    changed.clear()
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await changed.wait()
    assert supervisor.pids["sleeper"] != first
    assert reports == ["sleeper ended (killed by SIGKILL); starting it again."]
    await supervisor.stop()
    assert supervisor.pids == {}


async def test_kill_ends_a_stop_whose_child_ignores_the_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The stop itself would kill the child only after this time.
    monkeypatch.setattr(processes, "STOP_TIMEOUT_SECONDS", 10 * PATIENCE_SECONDS)
    ready_file = tmp_path / "ready"
    script = (
        "import pathlib, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(ready_file)!r}).touch()\n"
        f"{SLEEP}"
    )

    async def is_ready() -> bool:
        return ready_file.exists()

    supervisor = Supervisor(lambda _: None)
    await supervisor.add(Child("deaf", [sys.executable, "-c", script], ready=is_ready))
    stopping = asyncio.create_task(supervisor.stop())
    # Let the stop send its signal and begin to wait.
    await asyncio.sleep(0)
    supervisor.kill()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await stopping
    assert supervisor.pids == {}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a child when its parent ends")
async def test_child_ends_when_its_parent_is_killed() -> None:
    script = (
        "import asyncio, sys\n"
        "from app.local.processes import Child\n"
        "async def run():\n"
        f"  child = Child('child', [sys.executable, '-c', {SLEEP!r}])\n"
        "  await child.start()\n"
        "  print(child.pid, flush=True)\n"
        "  await asyncio.sleep(600)\n"
        "asyncio.run(run())"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await wait_until(lambda: not command_of(pid))
