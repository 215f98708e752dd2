"""Child processes: started so that they never outlive us, stopped gently, and started again when they die."""

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
"""How long a child may take to end after SIGTERM before it is killed."""
STABLE_AFTER_SECONDS = 5.0
"""A child that ran for so long is started again without growing patience."""
FIRST_RESTART_DELAY_SECONDS = 0.05
MAX_RESTART_DELAY_SECONDS = 2.0


# Only Linux can tell a process when its parent has died, and only a process can ask that for itself: this asks, sees that
# the parent had not died before, and becomes the command. (A function between fork and exec would do the same, but may
# deadlock in a process that has threads.)
_TIE = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""
_TIED = (sys.executable, "-ISc", _TIE, str(os.getpid())) if sys.platform == "linux" else ()


class StartError(RuntimeError):
    """A child ended, or did not answer in time, instead of becoming ready; the message has the end of its log."""


class Child:
    """One process and how to start it; started again with the same command after it was killed or stopped."""

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
        """The id of the running process; None where it does not run."""
        return self._process.pid if self._process and self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Returns when the process is ready. Raises StartError when it ends first or is not ready in time."""
        self.started_at = time.monotonic()
        output = self.log.open("ab") if self.log else None
        try:
            self._process = await asyncio.create_subprocess_exec(
                *_TIED,
                *self.argv,
                env=self.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C in a terminal reaches the whole group: in a session of its own a child is stopped in order.
                start_new_session=True,
            )
        finally:
            if output:
                output.close()
        while self.ready is not None and not await self.ready():
            if not self.is_running:
                raise StartError(f"{self.name} ended at its start.{self._last_words()}")
            if time.monotonic() - self.started_at > self.start_seconds:
                await self.kill()
                raise StartError(f"{self.name} was not ready after {self.start_seconds:g} s.{self._last_words()}")
            await asyncio.sleep(0.02)

    async def wait(self) -> int:
        """The exit status, when the process has ended: negative for the signal that ended it."""
        return await self._process.wait() if self._process else 0

    async def stop(self) -> None:
        """Asks the process to end, and returns when it has; it is killed if it takes too long. Safe to repeat."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.wait(), STOP_TIMEOUT_SECONDS)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """Ends the process at once (SIGKILL), and returns when it has ended. Safe to repeat."""
        self.signal(signal.SIGKILL)
        await self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Sends the signal if the process runs."""
        if self._process is not None and self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _last_words(self) -> str:
        if self.log is None or not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-5:]
        return "".join(f"\n  {line}" for line in lines) + f"\n  (from {self.log})"


class Supervisor:
    """Keeps children running, in the order given: started first to last, stopped last to first."""

    def __init__(self, say: Callable[[str], None], changed: Callable[[], None] = lambda: None) -> None:
        self._say = say
        self._changed = changed
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each child that runs, by name."""
        return {child.name: child.pid for child in self._children if child.pid is not None}

    async def add(self, child: Child) -> None:
        """Starts the child, and from then on starts it again whenever it ends. Raises StartError."""
        self._children.append(child)
        await child.start()
        self._changed()
        self._keepers.append(asyncio.create_task(self._keep(child)))

    async def stop(self) -> None:
        """Stops every child, the last started first; returns when all have ended."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for child in reversed(self._children):
            await child.stop()

    def kill(self) -> None:
        """Sends SIGKILL to every child: for who does not want to wait for `stop` any longer."""
        for child in self._children:
            child.signal(signal.SIGKILL)

    async def _keep(self, child: Child) -> None:
        failures = 0
        while True:
            status = await child.wait()
            lasted = time.monotonic() - child.started_at
            failures = 0 if lasted > STABLE_AFTER_SECONDS else failures + 1
            pause = min(FIRST_RESTART_DELAY_SECONDS * 2**failures, MAX_RESTART_DELAY_SECONDS)
            self._say(f"{child.name} ended ({_ending(status)}); starting it again.")
            await asyncio.sleep(pause)
            try:
                await child.start()
            except StartError as error:
                self._say(str(error))
            else:
                self._changed()


def _ending(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
