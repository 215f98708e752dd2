"""Live streams of the activity log: each process reads the log of a workspace once, for all its followers.

A follower holds only a position. One bounded buffer holds the newest entries. A follower that falls out of the buffer
gets a `FeedLagged` and reads the log until it reaches the buffer again. So a slow follower costs reads, not memory.
No follower misses or repeats an entry: positions are dense, and position p is written only after p - 1 exists.
(Source: docs/explanation/exactly-once.md.)
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
from app.domain.activities import Activity
from app.domain.activity_queries import ActivityQuery
from app.domain.errors import STORE_FAILURES, Code, InvalidInput
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
"""Most data in all buffers of a process together, as JSON. A buffer holds fewer entries if they are large."""
TAIL_BATCH_SIZE = 500
REPLAY_BATCH_SIZE = 100
"""Entries that a follower behind the buffer reads at once. A thousand such followers may read at once."""
TICK_INTERVAL_SECONDS = 1.0


def topic(workspace_id: str) -> str:
    """Return the bus topic on which workers announce new entries of a workspace's log."""
    return f"feed:{workspace_id}"


@dataclass(frozen=True, slots=True)
class FeedEntries:
    """The matching activities since the previous message, in order. The stream has examined every entry up to `pos`."""

    pos: int
    activities: tuple[Activity, ...] = ()


@dataclass(frozen=True, slots=True)
class FeedExpired:
    """Message that the log no longer holds the requested position. It can be followed from `pos` on."""

    pos: int


@dataclass(frozen=True, slots=True)
class FeedLagged:
    """Message that the follower at `pos` fell out of the buffer. It is `by` entries behind the end of the log."""

    pos: int
    by: int


class Feed:
    """The tailers of a process. The tailer of a workspace runs while the workspace has followers."""

    def __init__(
        self,
        bus: Bus,
        *,
        tick_seconds: float = TICK_INTERVAL_SECONDS,
        max_buffered: int = MAX_BUFFERED_ENTRIES,
        measures_lag: bool = False,
    ) -> None:
        self._bus = bus
        self._measures_lag = measures_lag
        self._tick_seconds = tick_seconds
        self._max_buffered = max_buffered
        self._tailers: dict[str, _Tailer] = {}

    async def follow(
        self,
        workspace: Workspace,
        after: int | None,
        matches: Callable[[Activity], bool],
        quiet_seconds: float,
        *,
        pass_ids: Sequence[str] = (),
    ) -> AsyncIterator[FeedEntries | FeedLagged | FeedExpired]:
        """Yield the start of the stream at once, then every entry that matches, in order.

        `after` is the position to continue from; None means the end of the log. `pass_ids` are the passes of all entries
        that match; if it is empty, they may be of any pass. If no entry matches for
        `quiet_seconds`, the stream yields a message without activities, so that the follower's position moves on. A
        slow follower gets a FeedLagged and misses nothing. The stream ends by itself only after FeedExpired.
        Raises InvalidInput for a position beyond the end of the log; Unavailable, only before the first message.
        """
        clock = asyncio.get_running_loop().time
        last = await workspace.last_position()
        if after is not None and after > last:
            last = await workspace.current_last_position()
        if after is not None and after > last:
            raise InvalidInput(
                Code.OUT_OF_RANGE,
                "This cursor lies beyond the end of the feed. Use a cursor that this workspace returned.",
                "after",
            )
        pos = last if after is None else after
        async with self._tailing(workspace, last) as tailer:
            if pos < last:
                # The log is cut only at its front: the entry after `pos` either exists or was cut off.
                [oldest] = await workspace.activities.after(pos, 1) or await _read_oldest(workspace.activities)
                if oldest.position > pos + 1:
                    yield FeedExpired(oldest.position - 1)
                    return
            # A follower that replays old entries is not lagging: report lag only after it has caught up once.
            has_caught_up = tailer.buffer.reaches(pos)
            yield FeedEntries(pos)
            heartbeat_at = clock() + quiet_seconds
            while True:
                if has_caught_up and not tailer.buffer.reaches(pos):
                    metrics.LAGS.inc()
                    yield FeedLagged(pos, tailer.buffer.pos - pos)
                try:
                    pos, found = await tailer.read(pos, heartbeat_at, pass_ids)
                except _Truncated as truncated:
                    yield FeedExpired(truncated.front)
                    return
                has_caught_up = tailer.buffer.reaches(pos)
                visible = tuple(activity for activity in found if matches(activity))
                if visible or clock() >= heartbeat_at:
                    yield FeedEntries(pos, visible)
                    heartbeat_at = clock() + quiet_seconds

    @contextlib.asynccontextmanager
    async def _tailing(self, workspace: Workspace, last: int) -> AsyncIterator[_Tailer]:
        tailer = self._tailers.get(workspace.id)
        if tailer is None:
            tailer = self._tailers[workspace.id] = _Tailer(self._bus, workspace, last, feed=self)
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
        """Interval at which a tailer reads the log if no message wakes it."""
        return self._tick_seconds

    @property
    def max_buffered(self) -> int:
        """Most entries in the buffer of one workspace. The more workspaces have followers, the fewer these are."""
        share = MAX_BUFFERED_ENTRIES_TOTAL // max(1, len(self._tailers))
        return min(self._max_buffered, max(MIN_BUFFERED_ENTRIES, share))

    @property
    def max_buffered_bytes(self) -> int:
        """Most data in the buffer of one workspace, as JSON."""
        return MAX_BUFFERED_BYTES // max(1, len(self._tailers))

    @property
    def buffered_entries(self) -> int:
        """Number of entries in all buffers now."""
        return sum(len(tailer.buffer) for tailer in self._tailers.values())

    @property
    def measures_lag(self) -> bool:
        """Whether tailers observe the feed lag. They can only if activities carry the system clock's time."""
        return self._measures_lag


class _Truncated(Exception):
    """The log was truncated behind the position that a follower reads. It continues after `front`."""

    def __init__(self, front: int) -> None:
        super().__init__(front)
        self.front = front


class _Tailer:
    """Reader of one workspace's new entries, which wakes the followers."""

    def __init__(self, bus: Bus, workspace: Workspace, pos: int, feed: Feed) -> None:
        self.followers = 0
        self._bus = bus
        self._workspace = workspace
        self.buffer = FeedBuffer(pos)
        self._feed = feed
        self._advanced = asyncio.Event()
        self._woken = asyncio.Event()
        # The tasks also serve later requests, so that they must not inherit the context of the first one.
        own_context = contextvars.Context()
        self._tasks = tuple(asyncio.create_task(run, context=own_context) for run in (self._listen(), self._tail()))

    async def aclose(self) -> None:
        pending = set(self._tasks)
        while pending:
            # redis-py swallows a cancellation that arrives while it connects, so cancel until the task has ended.
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.1)

    async def read(self, pos: int, deadline: float, pass_ids: Sequence[str] = ()) -> tuple[int, Sequence[Activity]]:
        """Return up to 500 entries after `pos`, and the position up to which nothing is left out.

        Behind the buffer, with `pass_ids`, return those of the passes. Return none if none arrived by the deadline (in the
        event loop's time). Raises _Truncated if the entry after `pos` was removed.
        """
        while True:
            advanced = self._advanced
            if pos < self.buffer.pos:
                if self.buffer.reaches(pos):
                    found = self.buffer.after(pos, TAIL_BATCH_SIZE)
                    return found[-1].position, found
                try:
                    if pass_ids:
                        return await self._read_passes(pos, pass_ids)
                    found = tuple(await self._workspace.activities.after(pos, REPLAY_BATCH_SIZE))
                    if not found or found[0].position > pos + 1:
                        front = (await self._workspace.read_log_history()).front
                        if front > pos:
                            raise _Truncated(front)
                except STORE_FAILURES:
                    await asyncio.sleep(self._feed.tick_seconds)
                    found = ()
                if found:
                    self._report_hole(pos, found)
                    return found[-1].position, found
            if asyncio.get_running_loop().time() >= deadline:
                return pos, ()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await advanced.wait()

    async def _read_passes(self, pos: int, pass_ids: Sequence[str]) -> tuple[int, Sequence[Activity]]:
        """Return what `read` does behind the buffer, by the index of the passes.

        A client that names an old cursor would otherwise make the process read the whole log of the workspace.
        """
        # Entries up to here exist before the read begins, so it finds all of them.
        end = self.buffer.pos
        page = await self._workspace.activities.after_of_passes(pass_ids, pos, REPLAY_BATCH_SIZE)
        front = (await self._workspace.read_log_history()).front
        if front > pos:
            raise _Truncated(front)
        found = [activity for activity in page.items if activity.position <= end]
        is_cut = page.has_more and len(found) == len(page.items)
        return (found[-1].position if is_cut else end), found

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
            except STORE_FAILURES as error:
                log.debug("feed not read: workspace=%s: %s", self._workspace.id, error)
            except Exception:
                # Keep the task running: to followers, an ended tailer looks like a workspace without activity.
                log.exception("feed not read, trying again: workspace=%s", self._workspace.id)

    async def _advance(self) -> bool:
        found = await self._workspace.activities.after(self.buffer.pos, TAIL_BATCH_SIZE)
        if not found:
            return False
        if self._report_hole(self.buffer.pos, found):
            # The buffer finds entries by position, so it cannot hold a gap. Followers read the log instead.
            self.buffer.skip_to(found[-1].position)
        else:
            self.buffer.append(found, self._feed.max_buffered, self._feed.max_buffered_bytes)
        if self._feed.measures_lag:
            now = time.time()
            for activity in found:
                metrics.FEED_SECONDS.observe(max(0.0, now - activity.recorded_at.timestamp()))
        advanced, self._advanced = self._advanced, asyncio.Event()
        advanced.set()
        return len(found) == TAIL_BATCH_SIZE

    def _report_hole(self, pos: int, found: Sequence[Activity]) -> bool:
        if found[-1].position - pos == len(found):
            return False
        present = {activity.position for activity in found}
        missing = [p for p in range(pos + 1, found[-1].position) if p not in present]
        log.critical(
            "activity log has holes, please report this bug: workspace=%s positions=%s", self._workspace.id, missing
        )
        return True


async def _read_oldest(activities: ActivityQueries) -> list[Activity]:
    return (await activities.page(ActivityQuery(include_silent=True), PageRequest(limit=1))).items
