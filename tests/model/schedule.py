"""A seeded schedule: it decides which process goes on, which crashes, stalls or loses a reply.

An actor is one run of a process. Each of its reads and writes waits for a turn. The turn may come late, may never come
because the actor crashes, and its reply may be lost. The store finishes a write document by document, also long after
the actor that sent the write has crashed. If the primary fails, it does only the first part of a write, or nothing of it.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Sequence, Sized
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pymongo.errors import AutoReconnect, PyMongoError

from tests.crashes import Crash


class NoFiles(selectors.SelectSelector):
    """A selector that asks the system for files only if a loop has nothing else to do. No process of the model has any."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return at once that no file is ready if the loop has callbacks to run."""
        return [] if timeout == 0 else super().select(timeout)


class QuietLoop(asyncio.SelectorEventLoop):
    """An event loop that detects when all tasks wait."""

    _ready: Sized
    """The callbacks that the loop runs next. asyncio sets it."""

    def __init__(self) -> None:
        super().__init__(NoFiles())

    async def wait_until_quiet(self) -> None:
        """Return when nothing more can happen without a turn."""
        while self._ready:
            await asyncio.sleep(0)


@dataclass(eq=False)
class Actor:
    """One run of a process. An actor with `can_crash` may be killed; a slow one often stalls."""

    name: str
    can_crash: bool
    is_slow: bool = False
    has_crashed: bool = False
    stalled_until_turn: int = 0
    waiting: set[asyncio.Future[None]] = field(default_factory=set)


_acting: contextvars.ContextVar[Actor | None] = contextvars.ContextVar("acting", default=None)


@dataclass(frozen=True)
class Odds:
    """Probabilities of faults.

    At a turn, the actor crashes, or stalls for up to `max_stall_turns` turns of others. At a write, the reply is lost,
    the primary fails, or the actor crashes before the reply. At the start of a stage, its reads lag by up to
    `max_lag_writes` single writes, as after an election.
    """

    crash: float = 0.01
    lost_reply: float = 0.01
    failing_primary: float = 0.01
    crash_before_reply: float = 0.05
    stall: float = 0.02
    stall_of_slow_actor: float = 0.3
    max_stall_turns: int = 60
    lagging_reads: float = 0.0
    max_lag_writes: int = 40


class Schedule:
    """A sequence of turns, given one at a time until no actor asks for one."""

    def __init__(self, random: Random, odds: Odds) -> None:
        self.turns = 0
        self.crashes = 0
        self._random = random
        self._odds = odds
        self._has_faults = True
        self._asking: dict[asyncio.Future[None], Actor] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def wait_for_turn(self) -> None:
        """Return at the caller's turn, or at once outside of any actor. Raises Crash if the actor crashes."""
        actor = _acting.get()
        if actor is not None:
            await self._wait_in(self._asking, actor)

    async def write(self, steps: Sequence[Callable[[], bool]]) -> None:
        """Let the store take the steps, each at a turn of its own; a step returns whether to go on.

        Returns after the last step. Raises AutoReconnect if the reply is lost or the primary fails, and Crash if the actor
        crashes first.
        """
        actor = _acting.get()
        if actor is None:
            for step in steps:
                if not step():
                    return
            return
        await self.wait_for_turn()
        waiting: dict[asyncio.Future[None], Actor] = {}
        odds, chance = self._odds, self._random.random() if self._has_faults else 1.0
        fails = chance < odds.failing_primary
        is_lost = chance < odds.failing_primary + odds.lost_reply
        crashes = (
            actor.can_crash
            and not is_lost
            and chance < odds.failing_primary + odds.lost_reply + odds.crash_before_reply
        )
        if fails:
            steps = steps[: int(self._random.random() * len(steps))]

        async def serve() -> None:
            try:
                for number, step in enumerate(steps):
                    if number:
                        await self.wait_for_turn()
                    if not step():
                        break
                if crashes and not actor.has_crashed:
                    self._crash(actor)
            except PyMongoError as error:
                self._reply(waiting, error)
            else:
                self._reply(waiting, AutoReconnect("the answer was lost") if is_lost else None)

        self._start_task(serve(), Actor("store", can_crash=False))
        await self._wait_in(waiting, actor)

    def start_process(self, name: str, run: Callable[[], Awaitable[None]], *, is_slow: bool = False) -> None:
        """Start a process, and start it again after each crash, until one of its runs ends by itself."""

        async def run_until_end() -> None:
            while True:
                _acting.set(Actor(name, can_crash=True, is_slow=is_slow))
                try:
                    await run()
                except Crash:
                    continue
                return

        self._start_task(run_until_end(), None)

    async def run(self, max_turns: int) -> None:
        """Return when every process has ended and the store has done all its writes. Raises what an actor raised.

        Raises AssertionError after `max_turns` turns, because an actor then repeats something without end.
        """
        last = self.turns + max_turns
        loop = asyncio.get_running_loop()
        assert isinstance(loop, QuietLoop)
        while True:
            await loop.wait_until_quiet()
            for task in [task for task in self._tasks if task.done()]:
                self._tasks.remove(task)
                task.result()
            if not self._asking:
                assert not self._tasks, "an actor waits for something other than a turn"
                return
            assert self.turns < last, "the run does not end"
            self._give_turn()

    def stop_faults(self) -> None:
        """Let no actor crash, stall or lose a reply from now on."""
        self._has_faults = False

    def _give_turn(self) -> None:
        self.turns += 1
        ready = [(future, actor) for future, actor in self._asking.items() if actor.stalled_until_turn <= self.turns]
        future, actor = self._random.choice(ready or list(self._asking.items()))
        chance = self._random.random()
        stall = self._odds.stall_of_slow_actor if actor.is_slow else self._odds.stall
        if not self._has_faults:
            pass
        elif actor.can_crash and chance < self._odds.crash:
            self._crash(actor)
            return
        elif chance < self._odds.crash + stall:
            actor.stalled_until_turn = self.turns + self._random.randrange(self._odds.max_stall_turns)
            return
        del self._asking[future]
        future.set_result(None)

    def _crash(self, actor: Actor) -> None:
        self.crashes += 1
        actor.has_crashed = True
        for future in actor.waiting:
            self._asking.pop(future, None)
            if not future.done():
                future.set_exception(Crash(actor.name))

    async def _wait_in(self, queue: dict[asyncio.Future[None], Actor], actor: Actor) -> None:
        if actor.has_crashed:
            raise Crash(actor.name)
        future = asyncio.get_running_loop().create_future()
        queue[future] = actor
        actor.waiting.add(future)
        try:
            await future
        finally:
            actor.waiting.discard(future)

    def _reply(self, waiting: dict[asyncio.Future[None], Actor], error: Exception | None) -> None:
        for future in waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def _start_task(self, coroutine: Coroutine[Any, Any, None], actor: Actor | None) -> None:
        context = contextvars.copy_context()
        context.run(_acting.set, actor)
        self._tasks.add(asyncio.get_running_loop().create_task(coroutine, context=context))
