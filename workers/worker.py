"""The state that all stages of one worker process share: resources, queries, caches and running tasks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from app.domain.errors import Unavailable
from app.domain.rules.texts import Texts
from app.resources import Resources
from app.store.mongo.driver import last_election
from app.store.mongo.horizons import Horizon
from app.store.mongo.ids import new_id
from app.store.mongo.read_order import reading_in_order
from app.store.operations.heartbeats import Heartbeats
from app.store.stages.active_counts import ActiveCountQueries
from app.store.stages.endpoint_leases import EndpointLeases
from app.store.stages.erase import EraseQueries
from app.store.stages.fold import FoldQueries
from app.store.stages.forget import ForgetQueries
from app.store.stages.job_leases import JobLeases
from app.store.stages.merge import MergeQueries
from app.store.stages.messages import MessageLooks
from app.store.stages.pass_periods import PassPeriodQueries
from app.store.stages.pending import BacklogPosition
from app.store.stages.publish import PublishQueries
from app.store.stages.reruns import RerunQueries
from app.store.stages.restock import RestockQueries
from app.store.stages.rollup_marks import RollupMarkQueries
from app.store.stages.rollups import SealQueries
from app.store.stages.scheduled_edits import ScheduledEditLooks
from app.store.stages.superseded import SupersededQueries
from app.templates.rendering import LiquidTexts

from .definitions import DefinitionCache
from .diagnostics import RuleDiagnostics
from .laps import Lap
from .looks import Looks
from .pauses import Pauses
from .round_writes import RoundWrites, writes_of_round
from .seals import Seals
from .sharing import Sharing

log = logging.getLogger(__name__)

MAX_EPOCH_CHANGES = 100_000
"""Entries that the cache `epoch_changed_at` keeps."""
MAX_DISPATCHERS = 100
"""Webhook endpoints to which one process delivers at the same time."""
REST_SECONDS = 1.0
"""The time for which a worker leaves a key alone after another one was faster twice in a row."""
MAX_RUN_SECONDS = 20.0
"""The time after which a run of a stage for a key ends between two rounds. A wake-up, or the next sweep, continues it.

A step of the sweep waits for the runs that it starts. If one had work without end, the other keys of the step would depend
on wake-ups.
"""
LOST_NOTE_SECONDS = 60.0
"""The time for which a worker remembers that it lost a round. Two lost rounds further apart are not in a row."""


@dataclass
class Worker:
    """One worker process. Everything in memory can be read from the store again, so a crash loses nothing."""

    resources: Resources
    fold_queries: FoldQueries
    publish_queries: PublishQueries
    job_leases: JobLeases
    rollup_marks: RollupMarkQueries
    erase_queries: EraseQueries
    merge_queries: MergeQueries
    pass_period_queries: PassPeriodQueries
    active_count_queries: ActiveCountQueries
    endpoint_leases: EndpointLeases
    react_leases: EndpointLeases
    channel_leases: EndpointLeases
    message_looks: MessageLooks
    rerun_queries: RerunQueries
    forget_queries: ForgetQueries
    restock_queries: RestockQueries
    seal_queries: SealQueries
    superseded_queries: SupersededQueries
    scheduled_edit_looks: ScheduledEditLooks
    cursors: dict[str, BacklogPosition] = field(default_factory=dict)
    """The pass after which the next fold of a slot range begins, by range."""
    long_backlogs: set[str] = field(default_factory=set)
    """The slot ranges of which the last read of pending events was full."""
    turns: dict[str, str] = field(default_factory=dict)
    """The workspace that had the last turn in a slot range with a long backlog, by range."""
    positions: dict[str, int] = field(default_factory=dict)
    """The last position of a workspace's log that publish has read, by workspace id."""
    histories: dict[str, int] = field(default_factory=dict)
    """The position up to which publish has found the history of segments to follow the log, by workspace id."""
    laps: dict[tuple[str, str], Lap] = field(default_factory=dict)
    """The laps under way of the stages due and backfill, by stage and key."""
    words: dict[str, tuple[float, frozenset[tuple[str, str]]]] = field(default_factory=dict)
    """Types and sources of events that walks made and that publish stored, since when (monotonic), by workspace id."""
    horizons: dict[str, Horizon] = field(default_factory=dict)
    """How far the next round of publish looks in a workspace whose backlog is longer than a round, by workspace id."""
    epoch_changed_at: dict[frozenset[str], float] = field(default_factory=dict)
    """The time (monotonic seconds) at which erase changed the erasure epoch, by the ids of the pass and its aliases."""
    texts: Texts = field(default_factory=LiquidTexts)
    """The renderer of the texts in effects of rules."""
    pauses: Pauses = field(default_factory=Pauses)
    """The pauses of stages that failed again and again."""
    id: str = field(default_factory=lambda: new_id("worker"))
    definitions: DefinitionCache = field(init=False)
    """The definitions of workspaces that were read so far."""
    diagnostics: RuleDiagnostics = field(init=False)
    """What rules were asked about, until it is stored."""
    sharing: Sharing = field(init=False)
    """The share that this worker has of the work of all."""
    stopping: bool = False
    """True once the process is stopping: no further round starts."""
    progressed_at: float = field(default_factory=time.monotonic)
    """The time (monotonic seconds) at which a round or a look of the sweep ended last."""
    has_waiting_workspace: bool = False
    """True while a job of a workspace without a running job finds no place: the running jobs then end their slices."""
    senders: dict[str, asyncio.Event] = field(default_factory=dict)
    """The event that wakes the run at a channel, by channel id."""
    dispatchers: dict[str, asyncio.Event] = field(default_factory=dict)
    """The event that wakes the run at a webhook endpoint, by endpoint id."""
    reactors: dict[str, asyncio.Event] = field(default_factory=dict)
    """The event that wakes the run of react in a workspace, by workspace id."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """Background tasks. asyncio keeps only weak references to tasks, so they are kept here until they end."""
    seals: Seals = field(default_factory=Seals)
    """The workspaces with dirty hours, and when this worker looks at them."""
    looks: Looks = field(default_factory=Looks)
    """The workspaces of which the next rounds of the fold read pending events, on a sharded store."""
    _running: dict[tuple[str, str], bool] = field(default_factory=dict)
    """Stages under way, by stage and key. True means that a call has asked for another run meanwhile."""
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _lost_at: dict[tuple[str, str], float] = field(default_factory=dict)
    """The time (monotonic seconds) at which the last round was lost to another worker, by stage and key."""
    _resting_until: dict[tuple[str, str], float] = field(default_factory=dict)
    """The time (monotonic seconds) until which no round of a stage and key starts."""

    def __post_init__(self) -> None:
        self.definitions = DefinitionCache(self.fold_queries)
        self.rollup_marks.note_marked = self.seals.note_marked
        self.diagnostics = RuleDiagnostics(self.resources.db, self.id)
        self.sharing = Sharing(self.id, Heartbeats(self.resources.essential_db), running=lambda: self._running)

    @classmethod
    def on(cls, resources: Resources) -> Worker:
        """Return a worker that uses these resources."""
        db, in_chunk, is_sharded = resources.db, resources.in_chunk, resources.is_sharded
        return cls(
            resources=resources,
            fold_queries=FoldQueries(db, in_chunk, is_sharded=is_sharded),
            publish_queries=PublishQueries(db, in_chunk, is_sharded=is_sharded),
            job_leases=JobLeases(resources.essential_db),
            rollup_marks=RollupMarkQueries(db, in_chunk, is_sharded=is_sharded),
            erase_queries=EraseQueries(db, in_chunk, is_sharded=is_sharded),
            merge_queries=MergeQueries(db, in_chunk, is_sharded=is_sharded),
            pass_period_queries=PassPeriodQueries(db, in_chunk, is_sharded=is_sharded),
            active_count_queries=ActiveCountQueries(db, in_chunk, is_sharded=is_sharded),
            endpoint_leases=EndpointLeases(db),
            react_leases=EndpointLeases(db, "react_lanes"),
            channel_leases=EndpointLeases(db, "channel_lanes"),
            message_looks=MessageLooks(db),
            rerun_queries=RerunQueries(db),
            forget_queries=ForgetQueries(db),
            restock_queries=RestockQueries(db),
            seal_queries=SealQueries(db, in_chunk, is_sharded=is_sharded),
            superseded_queries=SupersededQueries(db, in_chunk),
            scheduled_edit_looks=ScheduledEditLooks(db),
        )

    @property
    def has_no_dispatcher_left(self) -> bool:
        """Whether no run at another webhook endpoint can start before one ends."""
        return len(self.dispatchers) >= MAX_DISPATCHERS

    def remember_epoch_change(self, pass_ids: frozenset[str], at_seconds: float) -> None:
        """Note the time (monotonic) of an epoch change for erased passes. Beyond the limit, drop the oldest notes."""
        self.epoch_changed_at[pass_ids] = at_seconds
        if len(self.epoch_changed_at) > MAX_EPOCH_CHANGES:
            del self.epoch_changed_at[next(iter(self.epoch_changed_at))]

    async def run_alone(self, stage: str, key: str, once: Callable[[], Awaitable[bool]]) -> None:
        """Run rounds of a stage for a key until a round returns False, until MAX_RUN_SECONDS are over, or the worker stops.

        The stage never runs twice at the same time for a key in this process. If a call finds it running, the call
        returns at once, and the running one starts again at its end. Overlap between processes is safe and costs only
        time. After two lost rounds in a row, or one at a key that another worker prefers, the key rests for a second.
        """
        running = (stage, key)
        if self._resting_until.get(running, 0.0) > time.monotonic():
            return
        self._resting_until.pop(running, None)
        if running in self._running:
            self._running[running] = True
            return
        self._running[running] = True
        ends_at = time.monotonic() + MAX_RUN_SECONDS
        try:
            while self._running[running] and time.monotonic() < ends_at:
                self._running[running] = False
                while not self.stopping and await self._run_round(running, once):
                    if time.monotonic() >= ends_at:
                        self._running[running] = True
                        break
        finally:
            has_more = self._running.pop(running)
            if not self._running:
                self._idle.set()
        if has_more:
            self.resources.bus.wake(stage, key)

    async def _run_round(self, running: tuple[str, str], once: Callable[[], Awaitable[bool]]) -> bool:
        """Run one round and return whether another follows at once."""
        writes = RoundWrites()
        token = writes_of_round.set(writes)
        try:
            # On a sharded store, a pass and its events may lie on two shards.
            with reading_in_order() if self.resources.is_sharded else contextlib.nullcontext():
                has_more = await once()
        finally:
            writes_of_round.reset(token)
            self.progressed_at = time.monotonic()
        was_lost_before = self._lost_at.pop(running, None) is not None
        if not writes.is_lost:
            return has_more
        self._drop_old_notes()
        if not was_lost_before and not self.sharing.is_helping(*running):
            self._lost_at[running] = time.monotonic()
            return has_more
        log.info("%s %s is left alone for a moment, because others changed the same documents first", *running)
        if REST_SECONDS > 0:
            self._resting_until[running] = time.monotonic() + REST_SECONDS
            self._running[running] = False
        return False

    def _drop_old_notes(self) -> None:
        """Forget old losses and rests. The stage may never run again for a key, for example for a pass that was erased."""
        now = time.monotonic()
        self._lost_at = {key: at for key, at in self._lost_at.items() if at + LOST_NOTE_SECONDS > now}
        self._resting_until = {key: until for key, until in self._resting_until.items() if until > now}

    def last_election(self) -> object:
        """Return a value that differs after each election of a primary. `require_same_primary` takes it."""
        return last_election(self.resources.db)

    def has_same_primary(self, election: object, *, essential: bool = False) -> bool:
        """Return whether no primary was elected since. With `essential`, also ask the essential client.

        The first reads from a new primary may be older than the last reads from the old primary, and older than
        acknowledged writes. So what they do not show may exist.
        """
        elections = {self.last_election()}
        if essential:
            elections.add(last_election(self.resources.essential_db))
        return elections == {election}

    def require_same_primary(self, election: object, *, essential: bool = False) -> None:
        """Raise Unavailable if a primary was elected since: what was read before and after does not fit together."""
        if not self.has_same_primary(election, essential=essential):
            raise Unavailable("store", "a new primary was elected between two reads")

    def count_writes(self, sent: int, lost: int) -> None:
        """Count compare-and-sets that the present round sent and lost to other workers. Does nothing outside a round."""
        writes = writes_of_round.get(None)
        if writes is not None:
            writes.sent += sent
            writes.lost += lost

    def is_running(self, stage: str, key: str) -> bool:
        """Return whether `run_alone` runs the stage for the key now."""
        return (stage, key) in self._running

    def is_stage_running(self, stage: str) -> bool:
        """Return whether `run_alone` runs the stage for any key now."""
        return any(name == stage for name, _ in self._running)

    def start_task(self, run: Coroutine[Any, Any, None]) -> None:
        """Start a background task and keep a reference to it until it ends."""
        task = asyncio.create_task(run)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def stop(self) -> None:
        """Start no further round, and return when the rounds under way have ended."""
        self.stopping = True
        for wake_up in (*self.dispatchers.values(), *self.reactors.values()):
            wake_up.set()
        await self.wait_until_idle()

    async def wait_until_idle(self) -> None:
        """Return when no round is under way."""
        while self._running:
            self._idle.clear()
            await self._idle.wait()
