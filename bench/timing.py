"""Timing two ways of doing the same thing, in turns, with the CPU seconds that each process spends on either."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import psutil

Act = Callable[[], Awaitable[object]]


async def _unprepared() -> Act:
    raise NotImplementedError


@dataclass
class Side:
    """One way of doing it. `prepare` makes what one run needs, outside the clock, and returns the run itself.

    A side without it is filled by who measures it.
    """

    name: str
    prepare: Callable[[], Awaitable[Act]] = _unprepared
    units: int = 1
    seconds: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)

    def percentile(self, share: float) -> float:
        """The seconds that `share` of the runs stayed under."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def median(self) -> float:
        """The seconds of the run in the middle."""
        return self.percentile(0.5)

    @property
    def mean(self) -> float:
        """The seconds of a run on average."""
        return sum(self.seconds) / len(self.seconds)

    @property
    def per_second(self) -> float:
        """Units a second, by the run in the middle."""
        return self.units / self.median

    def cpu_ms_per_unit(self, process: str) -> float:
        """CPU milliseconds that a process spent for one unit."""
        return 1000 * self.cpu.get(process, 0.0) / (self.units * len(self.seconds))


class Processes:
    """The processes whose CPU time and memory are told, by name."""

    def __init__(self) -> None:
        self._processes: dict[str, psutil.Process] = {}

    def watch(self, name: str, pid: int | None) -> None:
        """Tells of this process, too."""
        self._processes[name] = psutil.Process(pid)

    def forget(self, *names: str) -> None:
        """Tells of these no more."""
        for name in names:
            del self._processes[name]

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each so far, user and system together."""
        used = {name: process.cpu_times() for name, process in self._processes.items()}
        return {name: times.user + times.system for name, times in used.items()}

    def memory(self) -> dict[str, int]:
        """Resident bytes of each now."""
        return {name: process.memory_info().rss for name, process in self._processes.items()}

    @property
    def names(self) -> list[str]:
        """In the order given."""
        return list(self._processes)


async def compared(
    sides: Sequence[Side], processes: Processes, *, rounds: int, runs: int = 1, clean: Act | None = None
) -> None:
    """Fills each side's figures: in each round every side runs `runs` times in a row, then the next one does.

    Taking turns lets what the machine does meanwhile fall on all sides alike. One run of each comes first, unmeasured;
    `clean` is called after each round, so that what is stored stays as large as the table says.
    """
    for side in sides:
        await (await side.prepare())()
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for side in sides:
            acts = [await side.prepare() for _ in range(runs)]
            before = processes.cpu()
            for act in acts:
                started = time.perf_counter()
                await act()
                side.seconds.append(time.perf_counter() - started)
            for name, used in processes.cpu().items():
                side.cpu[name] = side.cpu.get(name, 0.0) + used - before[name]
        if clean is not None:
            await clean()
    gc.unfreeze()
