"""The processes of a crash run: which ones run, and what keeps them running."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import Counter
from dataclasses import dataclass

from app.config.settings import Settings
from app.local.processes import Child, StartError
from app.local.servers import free_port
from tests.servers import Servers, api, worker

from .logs import START_LINE


@dataclass(frozen=True)
class Plan:
    """What runs and what happens to it.

    `seconds` is how long faults happen at least. `crash_chance` is the part of the steps of a worker at which it kills
    itself. If it is too large for the machine, workers do little but start.
    """

    seed: int
    seconds: float = 0.0
    apis: int = 2
    workers: int = 3
    crash_chance: float = 0.01
    has_kills: bool = True
    has_store_faults: bool = False


class Processes:
    """The processes of a run, each started again as soon as it has ended."""

    def __init__(self, servers: Servers, settings: Settings, plan: Plan) -> None:
        ports = [free_port() for _ in range(plan.apis)]
        self.addresses = [f"http://127.0.0.1:{port}/graphql" for port in ports]
        self.apis = [api(dataclasses.replace(settings, port=port)) for port in ports]
        self.workers = [worker(settings) for _ in range(plan.workers)]
        for child in self.workers if plan.has_kills else ():
            child.argv = (*child.argv[:-1], "tests.crash.worker_main")
            child.env = {**(child.env or {}), "CRASH_SEED": str(plan.seed), "CRASH_CHANCE": str(plan.crash_chance)}
        for kind, children in (("api", self.apis), ("worker", self.workers)):
            for number, child in enumerate(children, 1):
                child.log = settings.data_dir / f"{kind}-{number}.log"
        self.servers = servers
        self.crashes: Counter[str] = Counter()
        self.kept_down: set[Child] = set()
        self.up: set[Child] = {servers.mongo, servers.redis}
        """Processes that became ready after they last ended."""

    @property
    def children(self) -> list[Child]:
        """All processes that may be killed."""
        return [*self.apis, *self.workers, self.servers.mongo, self.servers.redis]

    async def keep_running(self, child: Child) -> None:
        """Start the child again whenever it has ended, unless it is kept down."""
        while True:
            if not child.is_running and child not in self.kept_down:
                self.up.discard(child)
                self.crashes[child.name] += 1
                if child.log is not None:
                    with child.log.open("a") as log:
                        log.write(START_LINE)
                with contextlib.suppress(StartError):
                    await child.start()
                    self.up.add(child)
            await asyncio.sleep(0.02)
