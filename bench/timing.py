"""Timing of several ways to do the same, in turns, with the CPU seconds that each process spends on each."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import psutil

Run = Callable[[], Awaitable[object]]
"""One measured run."""


async def _prepare_nothing() -> Run:
    raise NotImplementedError


@dataclass
class Side:
    """One way to do it, and its figures.

    `prepare` creates the data of one run, outside of the measured time, and returns the run. The measuring code of a
    side without `prepare` appends to `seconds` itself. A run does `units` units of work.
    """

    name: str
    prepare: Callable[[], Awaitable[Run]] = _prepare_nothing
    units: int = 1
    seconds: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)

    def percentile(self, share: float) -> float:
        """Return the seconds that this share of the runs, from 0 to 1, stays under."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def median(self) -> float:
        """Median of the seconds of a run."""
        return self.percentile(0.5)

    @property
    def mean(self) -> float:
        """Mean of the seconds of a run."""
        return sum(self.seconds) / len(self.seconds)

    @property
    def per_second(self) -> float:
        """Units per second, by the median."""
        return self.units / self.median

    def cpu_ms_per_unit(self, process: str) -> float:
        """Return the CPU milliseconds that a process spent for one unit."""
        return 1000 * self.cpu.get(process, 0.0) / (self.units * len(self.seconds))


class Processes:
    """The processes whose CPU time and memory are measured, by name."""

    def __init__(self) -> None:
        self._processes: dict[str, psutil.Process] = {}

    def watch(self, name: str, pid: int | None) -> None:
        """Measure this process from now on."""
        self._processes[name] = psutil.Process(pid)

    def forget(self, *names: str) -> None:
        """Stop measuring these processes."""
        for name in names:
            del self._processes[name]

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds of each process so far, user and system time together."""
        times_of = {name: process.cpu_times() for name, process in self._processes.items()}
        return {name: times.user + times.system for name, times in times_of.items()}

    def memory(self) -> dict[str, int]:
        """Return the resident bytes of each process now."""
        return {name: process.memory_info().rss for name, process in self._processes.items()}

    @property
    def names(self) -> list[str]:
        """Names of the processes, in the order in which they were added."""
        return list(self._processes)


async def timed(side: Side, processes: Processes, run: Run) -> None:
    """Run once and add the seconds and the CPU seconds to the figures of the side."""
    before = processes.cpu()
    started = time.perf_counter()
    await run()
    side.seconds.append(time.perf_counter() - started)
    for name, used in processes.cpu().items():
        side.cpu[name] = side.cpu.get(name, 0.0) + used - before[name]


async def compare(
    sides: Sequence[Side], processes: Processes, *, rounds: int, runs: int = 1, clean: Run | None = None
) -> None:
    """Measure all sides in turns. In each round, every side runs `runs` times in a row.

    The sides take turns, so that other work of the machine slows all of them alike. One run of each side comes first
    and is not measured. `clean` is called after each round, so that the number of stored events stays the same.
    """
    for side in sides:
        await (await side.prepare())()
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for side in sides:
            prepared = [await side.prepare() for _ in range(runs)]
            before = processes.cpu()
            for run in prepared:
                started = time.perf_counter()
                await run()
                side.seconds.append(time.perf_counter() - started)
            for name, used in processes.cpu().items():
                side.cpu[name] = side.cpu.get(name, 0.0) + used - before[name]
        if clean is not None:
            await clean()
    gc.unfreeze()
