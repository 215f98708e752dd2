"""The feed as a live stream: the log, read once a process and workspace, told to everyone who follows it.

A follower has a position and nothing else. The newest entries lie in one bounded buffer; a follower that the buffer no
longer reaches is told so, and reads the log until it meets the buffer again. So a slow one costs reads, never memory, and
nobody can miss or repeat an entry: positions are dense, and position p is written only after p - 1 exists.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from app.bus import Bus
from app.domain.activities import Activity, ActivityQuery
from app.domain.errors import Code, InvalidInput, Unavailable
from app.store.mongo.paging import PageRequest
from app.store.workspace.activities import ActivityQueries
from app.store.workspace.workspace import Workspace
from app.telemetry import metrics

from .buffer import FeedBuffer

log = logging.getLogger(__name__)

MAX_BUFFERED_ENTRIES = 2_000
MAX_BUFFERED_ENTRIES_TOTAL = 20_000
MIN_BUFFERED_ENTRIES = 100
MAX_BUFFERED_BYTES = 16_777_216
"""As JSON, in all: lines that carry much metadata are fewer."""
TAIL_BATCH_SIZE = 500
REPLAY_BATCH_SIZE = 100
"""What a follower behind the buffer reads is its own, and a thousand of them may be slow at once."""
TICK_INTERVAL_SECONDS = 1.0


def topic(workspace_id: str) -> str:
    """The bus topic on which new positions of a workspace's log are announced."""
    return f"feed:{workspace_id}"


@dataclass(frozen=True, slots=True)
class FeedEntries:
    """Every entry up to `pos` was looked at; `activities` are those to show since the message before, in order."""

    pos: int
    activities: tuple[Activity, ...] = ()


@dataclass(frozen=True, slots=True)
class FeedExpired:
    """The log no longer reaches back to the position asked for; it can be followed from `pos` on."""

    pos: int


@dataclass(frozen=True, slots=True)
class FeedLagged:
    """The follower is at `pos`, `by` entries behind the log's end: too slow to be kept up with from the buffer."""

    pos: int
    by: int


class Feed:
    """The tailers of a process, each running while somebody follows its workspace."""

    def __init__(
        self,
        bus: Bus,
        *,
        tick_seconds: float = TICK_INTERVAL_SECONDS,
        buffered: int = MAX_BUFFERED_ENTRIES,
        timed: bool = False,
    ) -> None:
        self._bus = bus
        self._timed = timed
        self._tick_seconds = tick_seconds
        self._buffered = buffered
        self._tailers: dict[str, _Tailer] = {}

    async def follow(
        self, workspace: Workspace, after: int | None, shown: Callable[[Activity], bool], quiet_seconds: float
    ) -> AsyncIterator[FeedEntries | FeedLagged | FeedExpired]:
        """First where the stream starts, at once; then every entry that is `shown`; how far it got every `quiet_seconds`.

        `after` is the position to go on from; None is the end of the log. Who takes messages too slowly is told by a FeedLagged,
        and misses nothing all the same. Never ends by itself, except after FeedExpired.
        Raises InvalidInput for a position beyond the log; Unavailable only before the first message.
        """
        clock = asyncio.get_running_loop().time
        last = await workspace.activities.last_pos()
        if after is not None and after > last:
            raise InvalidInput(Code.OUT_OF_RANGE, "This position lies beyond the end of the log.", "after")
        pos = last if after is None else after
        async with self._tailing(workspace, last) as tailer:
            if pos < last:
                # Only the front of the log is ever cut off, so what follows `after` is either next or gone.
                [oldest] = await workspace.activities.after(pos, 1) or await _oldest(workspace.activities)
                if oldest.position > pos + 1:
                    yield FeedExpired(oldest.position - 1)
                    return
            # Who replays from long ago is not slow: it has to have been at the buffer to fall out of it.
            kept_up = tailer.newest.reaches(pos)
            yield FeedEntries(pos)
            tell_by = clock() + quiet_seconds
            while True:
                if kept_up and not tailer.newest.reaches(pos):
                    metrics.LAGS.inc()
                    yield FeedLagged(pos, tailer.newest.pos - pos)
                found = await tailer.read(pos, tell_by)
                if found:
                    pos = found[-1].position
                kept_up = tailer.newest.reaches(pos)
                visible = tuple(activity for activity in found if shown(activity))
                if visible or clock() >= tell_by:
                    yield FeedEntries(pos, visible)
                    tell_by = clock() + quiet_seconds

    @contextlib.asynccontextmanager
    async def _tailing(self, workspace: Workspace, last: int) -> AsyncIterator[_Tailer]:
        tailer = self._tailers.get(workspace.id)
        if tailer is None:
            tailer = self._tailers[workspace.id] = _Tailer(self._bus, workspace, last, self)
        tailer.followers += 1
        try:
            yield tailer
        finally:
            tailer.followers -= 1
            if not tailer.followers:
                del self._tailers[workspace.id]
                await tailer.aclose()

    @property
    def tick_seconds(self) -> float:
        """How often a tailer looks at the log when nothing wakes it."""
        return self._tick_seconds

    @property
    def buffered(self) -> int:
        """How many of the newest entries a workspace's tailer keeps: fewer where many workspaces are followed."""
        share = MAX_BUFFERED_ENTRIES_TOTAL // max(1, len(self._tailers))
        return min(self._buffered, max(MIN_BUFFERED_ENTRIES, share))

    @property
    def buffered_bytes(self) -> int:
        """How much that may be, as JSON."""
        return MAX_BUFFERED_BYTES // max(1, len(self._tailers))

    @property
    def kept(self) -> int:
        """How many entries are kept now, for all workspaces together."""
        return sum(len(tailer.newest) for tailer in self._tailers.values())

    @property
    def timed(self) -> bool:
        """Whether what is read is measured against the system's clock, because activities are recorded by it."""
        return self._timed


class _Tailer:
    """Reads the new positions of one workspace and wakes its followers."""

    def __init__(self, bus: Bus, workspace: Workspace, pos: int, feed: Feed) -> None:
        self.followers = 0
        self._bus = bus
        self._workspace = workspace
        self.newest = FeedBuffer(pos)
        self._feed = feed
        self._moved = asyncio.Event()
        self._woken = asyncio.Event()
        # In a context of their own: they go on for others than the request that happened to start them.
        apart = contextvars.Context()
        self._tasks = tuple(asyncio.create_task(run, context=apart) for run in (self._listen(), self._tail()))

    async def aclose(self) -> None:
        pending = set(self._tasks)
        while pending:
            # redis-py swallows a cancellation that comes while it connects, so one may not be enough.
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.1)

    async def read(self, pos: int, deadline: float) -> tuple[Activity, ...]:
        """The entries after `pos`, at most 500; none when there were none by the deadline (in the loop's time)."""
        while True:
            moved = self._moved
            if pos < self.newest.pos:
                if self.newest.reaches(pos):
                    return self.newest.after(pos, TAIL_BATCH_SIZE)
                try:
                    found = tuple(await self._workspace.activities.after(pos, REPLAY_BATCH_SIZE))
                except Unavailable:
                    await asyncio.sleep(self._feed.tick_seconds)
                    found = ()
                if found:
                    self._report_hole(pos, found)
                    return found
            if asyncio.get_running_loop().time() >= deadline:
                return ()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await moved.wait()

    async def _listen(self) -> None:
        async with contextlib.aclosing(self._bus.listen(topic(self._workspace.id))) as messages:  # type: ignore[type-var]
            async for _ in messages:
                self._woken.set()

    async def _tail(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._feed.tick_seconds):
                    await self._woken.wait()
            self._woken.clear()
            try:
                while await self._advance():
                    pass
            except Unavailable as error:
                log.debug("the feed of %s waits: %s", self._workspace.id, error)
            except Exception:
                # Followers would take a tailer that died for a quiet workspace.
                log.exception("the feed of %s could not be read", self._workspace.id)

    async def _advance(self) -> bool:
        found = await self._workspace.activities.after(self.newest.pos, TAIL_BATCH_SIZE)
        if not found:
            return False
        if self._report_hole(self.newest.pos, found):
            # The buffer is indexed by position; without it, followers read the log.
            self.newest.skip_to(found[-1].position)
        else:
            self.newest.take(found, self._feed.buffered, self._feed.buffered_bytes)
        if self._feed.timed:
            now = time.time()
            for activity in found:
                metrics.FEED_SECONDS.observe(max(0.0, now - activity.recorded_at.timestamp()))
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        return len(found) == TAIL_BATCH_SIZE

    def _report_hole(self, pos: int, found: Sequence[Activity]) -> bool:
        if found[-1].position - pos == len(found):
            return False
        there = {activity.position for activity in found}
        missing = [p for p in range(pos + 1, found[-1].position) if p not in there]
        log.critical("The log of %s has holes at positions %s: a bug, please report it.", self._workspace.id, missing)
        return True


async def _oldest(activities: ActivityQueries) -> list[Activity]:
    return (await activities.page(ActivityQuery(include_silent=True), PageRequest(limit=1))).items
