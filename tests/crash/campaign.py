"""The part of a crash run that only a run with faults of the store has: faults, further clients, and checks."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from app.local.processes import Child
from app.resources import Resources
from app.store.operations.parked_passes import ParkedPasses

from .channels import OtherChannels
from .followers import Follower
from .gates import Gate
from .load import Load
from .logs import find_log_problems, find_unlogged
from .processes import Plan, Processes
from .quiet import Readiness, find_noise
from .store_faults import StoreFaults

MAX_SECONDS_TO_CATCH_UP = 180.0
"""A stage whose commands were refused pauses for up to a minute. The machine may be busy."""


class Campaign:
    """The faults of the store in one run, and what they must not do to the processes."""

    def __init__(self, faults: StoreFaults, gates: dict[Child, Gate], resources: Resources, *, has_kills: bool) -> None:
        self.faults = faults
        self.notes: list[str] = []
        self._gates, self._resources, self._has_kills = gates, resources, has_kills
        self._tasks: list[asyncio.Task[None]] = []
        self._followers: list[Follower] = []
        self._ended_at = 0.0

    def start(self, load: Load, channels: OtherChannels) -> list[asyncio.Task[None]]:
        """Start the faults and the further clients, and return the tasks of those that end when the load stops."""
        self._load, self._channels = load, channels
        self._readiness = Readiness(load.addresses, self.faults)
        self._tasks = [
            asyncio.create_task(each) for each in (self.faults.run(), self._readiness.watch(), self._choose())
        ]
        self._followers = [Follower(load, "ws"), Follower(load, "sse")]
        clients: list[Coroutine[Any, Any, None]] = [each.follow() for each in self._followers]
        return [asyncio.create_task(each) for each in (*clients, channels.export_feed())]

    async def _choose(self) -> None:
        """Choose the pass whose document the store refuses: one that nobody removes or merges."""
        while not self.faults.chosen_pass:
            await asyncio.sleep(0.2)
            with contextlib.suppress(Exception):
                card = await self._resources.db["passes"].find_one({"external_id": "p0"})
                self.faults.chosen_pass = card["_id"] if card else ""

    async def end_faults(self) -> None:
        """End the faults: from here on the store works."""
        self._tasks[0].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tasks[0]
        self._ended_at = time.monotonic()

    def note_end_of_clients(self) -> None:
        """Note that the clients have ended: from here on the rest of the work is timed."""
        self.notes.append(f"{time.monotonic() - self._ended_at:.1f} s after the faults all clients had ended")
        self._ended_at = time.monotonic()

    async def find_problems(self, wait_until_done: Callable[[], Awaitable[None]]) -> list[str]:
        """Return what is wrong when all work is done but that of parked passes; then release these."""
        seconds = time.monotonic() - self._ended_at
        self.notes.append(f"{seconds:.1f} s after the clients all work was done")
        found = [f"the work took {seconds:.0f} s after the clients ended"] if seconds > MAX_SECONDS_TO_CATCH_UP else []
        parked = ParkedPasses(self._resources.db)
        cards = await parked.passes()
        self.notes.append(f"parked: {[(each.id, each.failure) for each in cards]}")
        if others := {each.id for each in cards} - {self.faults.chosen_pass}:
            found.append(f"{others} are parked")
        for card in cards:
            await parked.release(card, await self._resources.clock.now())
        await wait_until_done()
        last = await self._resources.db["activities"].count_documents({})
        for each in self._followers:
            if not any(each.name in error for error in self._load.errors):
                await asyncio.wait_for(each.follow(last), 60)
        found += await find_noise(self.faults)
        self.notes += [
            f"follower over {each.name}: {each.seen} in {each.connections} streams" for each in self._followers
        ]
        self.notes += [f"exported: {self._channels.exported}", f"jobs: {dict(self._load.job_ends)}"]
        self.notes.append(f"readyz: {dict(self._readiness.answers)}")
        if not self._has_kills:
            found += self._readiness.unready
        logs = {}
        for child, gate in self._gates.items():
            assert child.log is not None
            found += find_log_problems(child.log, self._load.sent)
            logs[gate.name] = child.log
        if not self._has_kills:
            found += find_unlogged(logs, self.faults.refusals)
        return found

    async def aclose(self) -> None:
        """Stop the tasks and the gates."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.faults.close()


async def open_campaign(
    processes: Processes, resources: Resources, folder: Path, plan: Plan, say: Callable[[str], None]
) -> Campaign:
    """Give each process, before it starts, a proxy as its way to the store."""
    port = int((resources.settings.mongodb_uri or "").rstrip("/").rpartition(":")[2])
    faults = StoreFaults(processes.servers.mongo, port, folder, plan.seed, say)
    gates = {}
    for kind, children in (("api", processes.apis), ("worker", processes.workers)):
        for number, child in enumerate(children, 1):
            gate = await faults.open_gate(f"{kind} {number}")
            settings = dataclasses.replace(resources.settings, mongodb_uri=gate.url, log_format="json")
            changed = {name: value for name, value in settings.to_env().items() if "MONGODB" in name or "LOG_" in name}
            child.env = {**(child.env or {}), **changed}
            gates[child] = gate
    return Campaign(faults, gates, resources, has_kills=plan.has_kills)
