"""What every stage is given: the resources, the queries of the stages, the definitions it has seen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from app.domain.segments.segments import Definitions
from app.resources import Resources
from app.store.mongo.ids import new_id
from app.store.stages.endpoint_leases import EndpointLeases
from app.store.stages.erase import EraseQueries
from app.store.stages.fold import FoldQueries
from app.store.stages.job_leases import JobLeases
from app.store.stages.merge import MergeQueries
from app.store.stages.publish import PublishQueries

log = logging.getLogger(__name__)

MAX_CLEARED_PASSES = 100_000
MAX_DISPATCHERS = 100
"""At how many webhook endpoints a process delivers at a time."""


@dataclass
class Worker:
    """One worker process. Holds nothing that would be missed: all of it can be read again."""

    resources: Resources
    fold_queries: FoldQueries
    publish_queries: PublishQueries
    job_leases: JobLeases
    erase_queries: EraseQueries
    merge_queries: MergeQueries
    endpoint_leases: EndpointLeases
    definitions: dict[str, Definitions] = field(default_factory=dict)
    cursors: dict[str, tuple[int, str]] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    cleared_writes: dict[str, str] = field(default_factory=dict)
    epoch_changed_at: dict[frozenset[str], float] = field(default_factory=dict)
    id: str = field(default_factory=lambda: new_id("worker"))
    stopping: bool = False
    dispatchers: dict[str, asyncio.Event] = field(default_factory=dict)
    """The webhook endpoints that are delivered to, each with what tells its run that there is news."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _running: dict[tuple[str, str], bool] = field(default_factory=dict)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def on(cls, resources: Resources) -> Worker:
        """A worker over these resources."""
        db, in_chunk = resources.db, resources.in_chunk
        return cls(
            resources,
            FoldQueries(db, in_chunk),
            PublishQueries(db),
            JobLeases(db),
            EraseQueries(db, in_chunk),
            MergeQueries(db, in_chunk),
            EndpointLeases(db),
        )

    @property
    def has_no_dispatcher_left(self) -> bool:
        """Whether no more webhook endpoints can be delivered to before one is let go."""
        return len(self.dispatchers) >= MAX_DISPATCHERS

    def remember_cleared(self, pass_id: str, fid: str) -> None:
        """Notes that whatever the write `fid` of a pass had counted is marked; the oldest notes go beyond the bound.

        Sound because `alone` never lets two folds of one range overlap in a process: what is read as pending later than
        this note was not counted by that write.
        """
        self.cleared_writes.pop(pass_id, None)
        self.cleared_writes[pass_id] = fid
        if len(self.cleared_writes) > MAX_CLEARED_PASSES:
            del self.cleared_writes[next(iter(self.cleared_writes))]

    def remember_epoch_change(self, pass_ids: frozenset[str], elapsed: float) -> None:
        """Notes when (monotonic seconds) a parting was made for erased passes; the oldest notes go beyond the bound."""
        self.epoch_changed_at[pass_ids] = elapsed
        if len(self.epoch_changed_at) > MAX_CLEARED_PASSES:
            del self.epoch_changed_at[next(iter(self.epoch_changed_at))]

    async def read_definitions(self, workspace_ids: Iterable[str]) -> dict[str, Definitions]:
        """The definitions of the workspaces as they are now; only versions not yet seen are read."""
        wanted = list(workspace_ids)

        async def one(workspace_id: str) -> Definitions:
            known = self.definitions.setdefault(workspace_id, Definitions())
            newer = await self.fold_queries.versions(workspace_id, known.revision)
            if newer:
                known = self.definitions[workspace_id] = known.extended(newer)
            return known

        return dict(zip(wanted, await asyncio.gather(*map(one, wanted)), strict=True))

    async def run_alone(self, stage: str, key: str, once: Callable[[], Awaitable[bool]]) -> None:
        """Runs rounds of a stage for a key until one says that there is no more, or until this worker stops.

        Never twice at once in this process: who comes while it runs makes it run again. Overlap between processes is
        harmless and costs only time.
        """
        place = (stage, key)
        if place in self._running:
            self._running[place] = True
            return
        self._running[place] = True
        try:
            while self._running[place]:
                self._running[place] = False
                while not self.stopping and await once():
                    pass
        finally:
            del self._running[place]
            if not self._running:
                self._idle.set()

    def start_task(self, run: Coroutine[Any, Any, None]) -> None:
        """Begins what goes on beside everything else, and holds on to it until it ends."""
        task = asyncio.create_task(run)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def stop(self) -> None:
        """Begins no further round; returns when those under way have ended."""
        self.stopping = True
        for woken in self.dispatchers.values():
            woken.set()
        while self._running:
            self._idle.clear()
            await self._idle.wait()
