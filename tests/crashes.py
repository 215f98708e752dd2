"""Simulated crashes of a worker: at random store operations, before, after or halfway through one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any

from workers.worker import Worker

WRITES = {"save", "clear", "append", "published", "mark_caught_up"}
READS = {"pending", "with_pending", "passes", "still_pending", "due_within", "passes_behind", "versions", "waiting"}


class Crash(BaseException):
    """A simulated SIGKILL. It is a BaseException, so that no handler of the product catches it."""


class CrashInjector:
    """Random choice, by seed, of the store operations at which the worker crashes; counts crashes by operation."""

    def __init__(self, seed: int, chance: float) -> None:
        self.crashes: dict[str, int] = {}
        self._random = Random(seed)
        self._chance = chance

    def add_to(self, worker: Worker) -> Worker:
        """Make every store operation of the worker crash with the given chance, and return the worker."""
        for target in (worker.fold_queries, worker.publish_queries):
            for name in (WRITES | READS) & set(dir(target)):
                setattr(target, name, self.with_crashes(name, getattr(target, name)))
        return worker

    def with_crashes(self, name: str, step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return the operation, changed to crash at random; a crashing write may do a part of its work first."""

        async def wrapper(*args: Any, **options: Any) -> Any:
            if self._random.random() >= self._chance:
                return await step(*args, **options)
            self.crashes[name] = self.crashes.get(name, 0) + 1
            moment = self._random.choice(("before", "after", "half") if name in WRITES else ("before", "after"))
            if moment != "before":
                *first, last = args
                await step(*first, self._part_of(name, last) if moment == "half" else last, **options)
            raise Crash(name)

        return wrapper

    def _part_of(self, name: str, work: Any) -> Any:
        """Return a part of a bulk write: a prefix if the write is ordered, any subset if not."""
        if name == "append":
            return work[: self._random.randrange(len(work) + 1)]
        if isinstance(work, Mapping):
            return {key: value for key, value in work.items() if self._random.random() < 0.5}
        if isinstance(work, Sequence):
            return [item for item in work if self._random.random() < 0.5]
        return work
