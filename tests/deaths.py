"""Workers that die: at random steps of what they do to the store, before it, after it, or with half of it done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any

from workers.worker import Worker

WRITES = {"save", "clear", "append", "published", "mark_caught_up"}
READS = {"pending", "with_pending", "passes", "still_pending", "due", "passes_behind", "versions", "waiting"}


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the product catches it."""


class Reaper:
    """Decides, by its seed, at which of the steps it is asked about the worker dies; counts the deaths by step."""

    def __init__(self, seed: int, chance: float) -> None:
        self.deaths: dict[str, int] = {}
        self._random = Random(seed)
        self._chance = chance

    def over(self, worker: Worker) -> Worker:
        """The worker, mortal from now on."""
        for target in (worker.fold_queries, worker.publish_queries):
            for name in (WRITES | READS) & set(dir(target)):
                setattr(target, name, self.mortal(name, getattr(target, name)))
        return worker

    def mortal(self, name: str, step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The step, which may now die; a write may also die with a part of it done."""

        async def wrapper(*args: Any) -> Any:
            if self._random.random() >= self._chance:
                return await step(*args)
            self.deaths[name] = self.deaths.get(name, 0) + 1
            fate = self._random.choice(("before", "after", "half") if name in WRITES else ("before", "after"))
            if fate != "before":
                *first, last = args
                await step(*first, self._part_of(name, last) if fate == "half" else last)
            raise Killed(name)

        return wrapper

    def _part_of(self, name: str, work: Any) -> Any:
        """Some of what a bulk write was to do: any part of an unordered one, the beginning of one in order."""
        if name == "append":
            return work[: self._random.randrange(len(work) + 1)]
        if isinstance(work, Mapping):
            return {key: value for key, value in work.items() if self._random.random() < 0.5}
        if isinstance(work, Sequence):
            return [item for item in work if self._random.random() < 0.5]
        return work
