"""Sharing: which worker does which work, when several run.

Each key of a stage has one worker that prefers it. All workers compute the same from the heartbeats in the store: slots are
cut into equal parts, and other keys go by rendezvous hashing. A preference is no lock. Two workers may see different
heartbeats for a moment, and then work on one key; the protocol of docs/explanation/exactly-once.md allows it.

A worker does its own work at once. It helps with a key of another worker that makes no progress for 3 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from hashlib import blake2b
from typing import NamedTuple

from app.clock import system_ms
from app.domain.ids import SLOTS
from app.domain.values.instants import from_ms
from app.flow import bounds_of
from app.store.operations.heartbeats import Heartbeats, Share

log = logging.getLogger(__name__)

HEARTBEAT_INTERVAL_SECONDS = 1.0
SHARE_TTL_MS = 2_000
"""The time without a heartbeat after which a worker has no share. The others take its work over at the next sweep."""
HOLD_TTL_MS = 3_000
"""The time without a heartbeat after which the worker itself trusts its leases no longer."""
ALIVE_TTL = timedelta(seconds=20)
"""The time without a heartbeat after which a worker counts as crashed for operators."""
LEAVING_TTL_MS = 12_000
"""The time that the leases of a stopping worker are left to it."""
STALLED_AFTER_SECONDS = 3.0
"""The time without progress after which a worker helps with a key of another one; the next worker waits twice as long."""
STUCK_AFTER_SECONDS = 30.0
"""The same for a key at which its worker reports to be at work: on a busy machine, a long round is no reason to help."""
LOOK_INTERVAL_SECONDS = 10.0
"""The time between two looks at such a key. On the embedded servers, a look may read all that waits there."""
MAX_REPORTED = 200
"""Keys under way that a heartbeat names."""
NOTED_SECONDS = 60.0
"""How long a worker keeps a note on a key that no look has shown since."""
SLOT_STAGES = frozenset({"fold", "due"})
"""Stages whose keys are slot ranges."""
SHARED_BY_ALL = frozenset({"backfill", "deliver", "send"})
"""Stages of which each worker runs a wake-up: the slots, endpoints and channels of a workspace have several workers."""


class _Front(NamedTuple):
    """What was first at a key of another worker: since when it is, and when a look saw it last, in monotonic seconds."""

    value: object
    since: float
    seen_at: float


class Sharing:
    """The share of one worker. Without heartbeats of others, everything is its own."""

    def __init__(
        self, worker_id: str, heartbeats: Heartbeats, now_ms: Callable[[], int] = system_ms,
        seconds: Callable[[], float] = time.monotonic, running: Callable[[], Iterable[tuple[str, str]]] = tuple,
    ) -> None:  # fmt: skip
        self._id, self._heartbeats = worker_id, heartbeats
        self._now_ms, self._seconds, self._running = now_ms, seconds, running
        self._others: dict[str, Share] = {}
        """The shares of the other workers, as last read."""
        self._holds_ms: int | None = None
        """The end of the own heartbeat for leases; None before the first heartbeat."""
        self.lowest_writer = 0
        """The lowest schema version that may write to the database, as the last heartbeat read it."""
        self._is_leaving = False
        self._fronts: dict[str, dict[str, _Front]] = {}
        """Work of other workers, by stage and key."""
        self._helping: set[tuple[str, str]] = set()
        self._beating = asyncio.Lock()

    @property
    def holder(self) -> str | None:
        """The id under which the worker claims leases; None without a heartbeat, which others would look for."""
        return None if self._holds_ms is None else self._id

    @property
    def has_lapsed(self) -> bool:
        """Whether the last heartbeat is so old that another worker may take over the leases of this one."""
        return self._holds_ms is not None and self._now_ms() >= self._holds_ms

    async def beat(self) -> None:
        """Send a heartbeat and read those of the others. Raises Unavailable; safe to repeat."""
        async with self._beating:
            now_ms = self._now_ms()
            shares_ms, holds_ms = now_ms + SHARE_TTL_MS, now_ms + HOLD_TTL_MS
            if self._is_leaving:
                shares_ms, holds_ms = 0, now_ms + LEAVING_TTL_MS
            at = from_ms(now_ms)
            running = [f"{stage} {key}" for stage, key in list(self._running())[:MAX_REPORTED]]
            await self._heartbeats.beat(
                self._id, at, at + ALIVE_TTL, shares_ms=shares_ms, holds_ms=holds_ms, running=running
            )
            self._holds_ms = holds_ms
            found = await self._heartbeats.sharing(self._now_ms())
            self.lowest_writer = found.lowest_writer
            others = {each: share for each, share in found.workers.items() if each != self._id}
            if others.keys() != self._others.keys():
                log.info("other workers that share the work: %d", len(others))
            self._others = others

    async def renew_lapsed(self) -> bool:
        """Send a heartbeat if the last one has lapsed, and return whether it had. Raises Unavailable."""
        if not self.has_lapsed:
            return False
        await self.beat()
        return True

    async def leave(self) -> None:
        """Give the share of the work to the others, and keep the leases. Raises Unavailable; safe to repeat."""
        self._is_leaving = True
        await self.beat()

    async def remove(self) -> None:
        """Remove the heartbeat, after the last lease was released. Raises Unavailable; safe to repeat."""
        await self._heartbeats.remove(self._id)

    async def find_gone(self, holders: Collection[str]) -> set[str]:
        """Return those of the workers that hold leases but have ended. Reads the store only for unseen workers."""
        unseen = set(holders) - set(self.members()) - {self._id}
        return await self._heartbeats.gone(unseen, self._now_ms())

    def members(self) -> list[str]:
        """Return the ids of the workers that share the work now, sorted."""
        now_ms = self._now_ms()
        others = [each for each, share in self._others.items() if share.until_ms > now_ms]
        return sorted(others if self._is_leaving and others else [*others, self._id])

    @property
    def has_others(self) -> bool:
        """Whether another worker shares the work now."""
        return len(self.members()) > 1

    def owners(self, stage: str, key: str) -> set[str]:
        """Return the workers that prefer the key: one, or more if their slots lie in the same range."""
        members = self.members()
        if stage in SHARED_BY_ALL or len(members) == 1:
            return set(members)
        if stage not in SLOT_STAGES:
            return {_rank(members, stage, key)[0]}
        low, high = bounds_of(key)
        parts = {each: _slots_of(index, len(members)) for index, each in enumerate(members)}
        return {each for each, (first, last) in parts.items() if max(first, low) <= min(last, high)}

    def prefers(self, stage: str, key: str) -> bool:
        """Return whether this worker prefers the key."""
        return self._id in self.owners(stage, key)

    @property
    def slots(self) -> tuple[int, int]:
        """The first and the last slot of this worker's share; the last is lower than the first if it has none."""
        members = self.members()
        return _slots_of(members.index(self._id), len(members)) if self._id in members else (0, -1)

    def bounds(self, stage: str, key: str) -> tuple[int, int] | None:
        """Return the first and the last slot of a range that this worker serves now; None if it serves none of it.

        A worker that helps with the range serves all of it.
        """
        low, high = bounds_of(key)
        if (stage, key) not in self._helping:
            first, last = self.slots
            low, high = max(low, first), min(high, last)
        return (low, high) if low <= high else None

    def others_parts(self, key: str) -> list[tuple[int, int]]:
        """Return the first and the last slot of each part of a range that other workers serve."""
        low, high = bounds_of(key)
        first, last = self.slots
        if max(first, low) > min(last, high):
            return [(low, high)]
        return [part for part in ((low, first - 1), (last + 1, high)) if part[0] <= part[1]]

    def choose(self, stage: str, fronts: Mapping[str, object]) -> list[str]:
        """Return the keys of waiting work that this worker does now: its own, and those that make no progress.

        `fronts` gives for each key what is first there, for example the id of a pass. A front that stays the same shows
        that the worker that prefers the key makes no progress.
        """
        own = [key for key in fronts if self.prefers(stage, key)]
        return own + self.stalled(stage, {key: front for key, front in fronts.items() if key not in own})

    def stalled(self, stage: str, fronts: Mapping[str, object]) -> list[str]:
        """Note what is first at keys of other workers, and return the keys with which this worker helps.

        A look at a long backlog may leave keys out, so a note is kept for a while.
        """
        now = self._seconds()
        noted = self._fronts.setdefault(stage, {})
        for key, value in fronts.items():
            is_same = key in noted and noted[key].value == value
            noted[key] = _Front(value, noted[key].since if is_same else now, now)
        for key in [key for key, front in noted.items() if now - front.seen_at > NOTED_SECONDS]:
            del noted[key]
        return [key for key in fronts if now - noted[key].since >= self._patience_seconds(stage, key)]

    def should_look(self, stage: str, key: str) -> bool:
        """Return whether to look now what is first at a key of another worker. Looks at a key under way are rare."""
        front = self._fronts.get(stage, {}).get(key)
        if front is None or not self._is_under_way(stage, key):
            return True
        return self._seconds() - front.seen_at >= LOOK_INTERVAL_SECONDS

    def _is_under_way(self, stage: str, key: str) -> bool:
        """Return whether a worker that prefers the key reports to be at work there."""
        owners = self.owners(stage, key)
        return any(f"{stage} {key}" in self._others[each].running for each in owners if each in self._others)

    def _patience_seconds(self, stage: str, key: str) -> float:
        """Return how long this worker leaves a key without progress to those that come before it."""
        owners = self.owners(stage, key)
        seconds = STUCK_AFTER_SECONDS if self._is_under_way(stage, key) else STALLED_AFTER_SECONDS
        helpers = [each for each in _rank(self.members(), stage, key) if each not in owners]
        return seconds * (helpers.index(self._id) + 1 if self._id in helpers else 1)

    @contextlib.contextmanager
    def helping(self, stage: str, key: str) -> Iterator[None]:
        """Serve all slots of a range until the block ends."""
        self._helping.add((stage, key))
        try:
            yield
        finally:
            self._helping.discard((stage, key))

    def is_helping(self, stage: str, key: str) -> bool:
        """Return whether this worker does work that another one prefers."""
        return (stage, key) in self._helping or not self.prefers(stage, key)


def _slots_of(index: int, count: int) -> tuple[int, int]:
    """Return the first and the last slot of one of `count` equal parts of all slots."""
    return index * SLOTS // count, (index + 1) * SLOTS // count - 1


def _rank(members: Iterable[str], stage: str, key: str) -> list[str]:
    """Return the workers in the order in which they prefer a key. If one ends, only its own keys move."""
    return sorted(members, key=lambda each: blake2b(f"{each} {stage} {key}".encode(), digest_size=8).digest())
