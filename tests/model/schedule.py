"""Who goes next, and who dies: a seeded schedule over everything that the actors ask of the store.

An actor stands for a process. Each of its reads and writes waits for its turn; a turn may come much later, never (the
actor was killed), or be followed by a lost answer. What was sent is out of an actor's hands: the store goes on with a
write whose sender is dead, document by document, also long afterwards.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pymongo.errors import AutoReconnect, PyMongoError

from tests.deaths import Killed


class QuietLoop(asyncio.SelectorEventLoop):
    """An event loop that can tell when everybody waits."""

    scheduled = 0

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        self.scheduled += 1
        return super().call_soon(callback, *args, context=context)

    async def quiet(self) -> None:
        """Returns when nothing can happen any more without a turn."""
        while True:
            before = self.scheduled
            await asyncio.sleep(0)
            if self.scheduled == before + 1:  # the one being this very task
                return


@dataclass(eq=False)
class Actor:
    """One life of a process; `mortal` ones may be killed, `slow` ones often wait."""

    name: str
    mortal: bool
    slow: bool = False
    dead: bool = False
    frozen_until: int = 0
    waiting: set[asyncio.Future[None]] = field(default_factory=set)


_acting: contextvars.ContextVar[Actor | None] = contextvars.ContextVar("acting", default=None)


@dataclass(frozen=True)
class Odds:
    """Of one turn: that the actor dies, or must wait for up to `stall` turns of others (and a slow one so much more often).

    Of one write: that its answer is lost, or that the actor dies before it hears it.
    """

    death: float = 0.01
    loss: float = 0.01
    unheard: float = 0.05
    freeze: float = 0.02
    slow: float = 0.3
    stall: int = 60


class Schedule:
    """Gives turns, one at a time, until nobody asks for one."""

    def __init__(self, random: Random, odds: Odds) -> None:
        self.turns = 0
        self.deaths = 0
        self._random = random
        self._odds = odds
        self._calm = False
        self._asking: dict[asyncio.Future[None], Actor] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def turn(self) -> None:
        """Returns when it is the caller's turn; at once outside of any actor. Raises Killed in a dead one's name."""
        actor = _acting.get()
        if actor is not None:
            await self._answer(actor, self._asking)

    async def write(self, steps: Iterable[Callable[[], bool]]) -> None:
        """Has the store take the steps, each at a turn of its own; a step says whether to go on.

        Returns when all were taken. Raises AutoReconnect where that answer was lost, Killed where nobody is left to hear.
        """
        actor = _acting.get()
        if actor is None:
            for step in steps:
                if not step():
                    return
            return
        await self.turn()
        heard: dict[asyncio.Future[None], Actor] = {}
        chance = 1.0 if self._calm else self._random.random()
        lost = chance < self._odds.loss
        unheard = actor.mortal and not lost and chance < self._odds.loss + self._odds.unheard

        async def serve() -> None:
            try:
                for place, step in enumerate(steps):
                    if place:
                        await self.turn()
                    if not step():
                        break
                if unheard and not actor.dead:
                    self._kill(actor)
            except PyMongoError as error:
                self._tell(heard, error)
            else:
                self._tell(heard, AutoReconnect("the answer was lost") if lost else None)

        self._begin(serve(), Actor("store", mortal=False))
        await self._answer(actor, heard)

    def live(self, name: str, life: Callable[[], Awaitable[None]], *, slow: bool = False) -> None:
        """Lets a process live, again and again until one of its lives ends by itself."""

        async def lives() -> None:
            while True:
                _acting.set(Actor(name, mortal=True, slow=slow))
                try:
                    await life()
                except Killed:
                    continue
                return

        self._begin(lives(), None)

    async def run(self, most: int) -> None:
        """Returns when every life has ended and the store has done all it was sent. Raises what an actor raised.

        More than `most` turns are a failure: something goes round in circles.
        """
        last = self.turns + most
        loop = asyncio.get_running_loop()
        assert isinstance(loop, QuietLoop)
        while True:
            await loop.quiet()
            for task in [task for task in self._tasks if task.done()]:
                self._tasks.remove(task)
                task.result()
            if not self._asking:
                assert not self._tasks, "an actor waits for something that is no turn"
                return
            assert self.turns < last, "it does not end"
            self._next()

    def calm(self) -> None:
        """From now on nobody dies, stalls or loses an answer."""
        self._calm = True

    def _next(self) -> None:
        self.turns += 1
        ready = [(future, actor) for future, actor in self._asking.items() if actor.frozen_until <= self.turns]
        future, actor = self._random.choice(ready or list(self._asking.items()))
        chance = self._random.random()
        if self._calm:
            pass
        elif actor.mortal and chance < self._odds.death:
            self._kill(actor)
            return
        elif chance < self._odds.death + (self._odds.slow if actor.slow else self._odds.freeze):
            actor.frozen_until = self.turns + self._random.randrange(self._odds.stall)
            return
        del self._asking[future]
        future.set_result(None)

    def _kill(self, actor: Actor) -> None:
        self.deaths += 1
        actor.dead = True
        for future in actor.waiting:
            self._asking.pop(future, None)
            if not future.done():
                future.set_exception(Killed(actor.name))

    async def _answer(self, actor: Actor, place: dict[asyncio.Future[None], Actor]) -> None:
        if actor.dead:
            raise Killed(actor.name)
        future = asyncio.get_running_loop().create_future()
        place[future] = actor
        actor.waiting.add(future)
        try:
            await future
        finally:
            actor.waiting.discard(future)

    def _tell(self, heard: dict[asyncio.Future[None], Actor], error: Exception | None) -> None:
        for future in heard:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def _begin(self, life: Coroutine[Any, Any, None], actor: Actor | None) -> None:
        context = contextvars.copy_context()
        context.run(_acting.set, actor)
        self._tasks.add(asyncio.get_running_loop().create_task(life, context=context))
