"""Child processes of `punchcard up`: they end with their parent, stop in order, and restart after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

STOP_TIMEOUT_SECONDS = 15.0
"""How long a child may take to end after SIGTERM. Then it is killed."""
STABLE_AFTER_SECONDS = 5.0
"""After a run of this length, the delay before a restart is short again."""
FIRST_RESTART_DELAY_SECONDS = 0.05
MAX_RESTART_DELAY_SECONDS = 2.0


# Linux sends a process a signal when its parent ends, if the process has asked for the signal itself. This script asks,
# checks that the parent has not ended before, and becomes the command. A function between fork and exec would do the
# same, but it may deadlock in a process that has threads.
_EXIT_WITH_PARENT_SCRIPT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""
_EXIT_WITH_PARENT = (
    (sys.executable, "-ISc", _EXIT_WITH_PARENT_SCRIPT, str(os.getpid())) if sys.platform == "linux" else ()
)


class StartError(RuntimeError):
    """Error for a child that ended or was not ready in time. The message has the end of the child's log."""


class Child:
    """One process and the command that starts it. It can be started again after it ended."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        ready: Callable[[], Awaitable[bool]] | None = None,
        start_seconds: float = 30.0,
    ) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.env = dict(env) if env is not None else None
        self.log = log
        self.ready = ready
        self.start_seconds = start_seconds
        self.started_at = 0.0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Id of the running process; None if it does not run."""
        return self._process.pid if self._process and self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process and wait until it is ready. Raises StartError if it ends first or is not ready in time."""
        self.started_at = time.monotonic()
        output = self.log.open("ab") if self.log else None
        try:
            self._process = await asyncio.create_subprocess_exec(
                *_EXIT_WITH_PARENT,
                *self.argv,
                env=self.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C in a terminal signals the whole process group. A child in its own session gets no such signal,
                # so that the supervisor stops the children in order.
                start_new_session=True,
            )
        finally:
            if output:
                output.close()
        while self.ready is not None and not await self.ready():
            if not self.is_running:
                raise StartError(f"{self.name} ended at its start.{self._log_tail()}")
            if time.monotonic() - self.started_at > self.start_seconds:
                await self.kill()
                raise StartError(f"{self.name} was not ready after {self.start_seconds:g} s.{self._log_tail()}")
            await asyncio.sleep(0.02)

    async def wait(self) -> int:
        """Wait until the process has ended and return its exit status: negative for the signal that ended it."""
        return await self._process.wait() if self._process else 0

    async def stop(self) -> None:
        """Send SIGTERM and wait for the end; kill the process after `STOP_TIMEOUT_SECONDS`. Safe to repeat."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.wait(), STOP_TIMEOUT_SECONDS)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """Send SIGKILL and wait for the end. Safe to repeat."""
        self.signal(signal.SIGKILL)
        await self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send the signal if the process runs."""
        if self._process is not None and self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _log_tail(self) -> str:
        if self.log is None or not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-5:]
        return "".join(f"\n  {line}" for line in lines) + f"\n  (from {self.log})"


class Supervisor:
    """Runner of several children: restarts each child that ends, and stops them in the opposite order of their start.

    `report` receives a sentence for each end of a child. `changed` is called when the process ids have changed.
    """

    def __init__(self, report: Callable[[str], None], changed: Callable[[], None] = lambda: None) -> None:
        self._report = report
        self._changed = changed
        self._children: list[Child] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> dict[str, int]:
        """Process id of each running child, by name."""
        return {child.name: child.pid for child in self._children if child.pid is not None}

    async def add(self, child: Child) -> None:
        """Start the child unless it runs, and restart it whenever it ends. Raises StartError if the first start fails."""
        self._children.append(child)
        if not child.is_running:
            await child.start()
        self._changed()
        self._tasks.append(asyncio.create_task(self._restart_forever(child)))

    async def stop(self) -> None:
        """Stop every child, the last one first, and wait until all have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for child in reversed(self._children):
            await child.stop()

    def kill(self) -> None:
        """Send SIGKILL to every child, to end a `stop` that takes too long."""
        for child in self._children:
            child.signal(signal.SIGKILL)

    async def _restart_forever(self, child: Child) -> None:
        failures = 0
        while True:
            status = await child.wait()
            ran_seconds = time.monotonic() - child.started_at
            failures = 0 if ran_seconds > STABLE_AFTER_SECONDS else failures + 1
            delay_seconds = min(FIRST_RESTART_DELAY_SECONDS * 2**failures, MAX_RESTART_DELAY_SECONDS)
            self._report(f"{child.name} ended ({_describe_status(status)}); starting it again.")
            await asyncio.sleep(delay_seconds)
            try:
                await child.start()
            except StartError as error:
                self._report(str(error))
            else:
                self._changed()


def _describe_status(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
