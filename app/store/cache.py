"""Cache of a process for passes, workspace profiles, vocabularies and event types. Bounded; it never holds a negative.

A cached pass is valid only while its erasure epoch equals the workspace's, which each process re-reads every 250 ms. An
erasure changes the epoch and waits longer than that before it deletes the pass. (See `workers/stages/erase.py`.)
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable
from decimal import Decimal
from typing import NamedTuple

from app.domain.definitions import Definitions
from app.domain.events.event_types import EventTypes
from app.domain.log_history import LogHistory
from app.domain.workspaces import WorkspaceProfile

from .kept_orders import KeptOrders

MAX_PASSES = 100_000
MAX_WORKSPACES = 1_000
PASS_TTL_SECONDS = 10.0
"""How long a cached pass is valid. The pass may be merged meanwhile without this process noticing."""
HISTORY_TTL_SECONDS = 1.0
"""How long the restores and truncations of a log that were read last are valid."""
EPOCH_TTL_SECONDS = 0.25
"""How long the epochs of a workspace that were read last are valid."""


class Epochs(NamedTuple):
    """Values in the document of a workspace that tell processes to read anew what they have cached.

    `erasures` is an id that changes when passes are erased; "" before the first erasure. `tokens` counts the changes that
    concern tokens for one pass.
    """

    erasures: str = ""
    tokens: int = 0


_NEVER = Epochs(), 0.0
"""Epochs of a workspace that this process has not read, and until when they are valid."""


class WorkspaceCache:
    """Cache of what exists, never of what is missing. A dropped entry costs one query."""

    def __init__(self, max_passes: int = MAX_PASSES, now: Callable[[], float] = time.monotonic) -> None:
        self._max_passes = max_passes
        self._monotonic = now
        self._ids: dict[tuple[str, str], tuple[str, float]] = {}
        self._external_ids: dict[tuple[str, str], tuple[str, str, float]] = {}
        self._epochs: dict[str, tuple[Epochs, float]] = {}
        self._words: dict[str, tuple[str, set[tuple[str, str]]]] = {}
        self._positions: dict[str, int] = {}
        self._histories: dict[str, tuple[LogHistory, float]] = {}
        self._definitions: dict[str, Definitions] = {}
        self._event_types: dict[str, tuple[EventTypes, float]] = {}
        # The profile of a workspace with the instant until which it is valid, and the key of its fingerprints.
        self.profiles: dict[str, tuple[WorkspaceProfile, float]] = {}
        self.secrets: dict[str, bytes] = {}
        # Orders of passes, by workspace and question.
        self.rankings = KeptOrders(now)
        # Values at which orders of passes have ended, by workspace, measure and list.
        self.ranking_lows: dict[Hashable, Decimal] = {}
        # Workspaces in which each pass has sums of twelve months.
        self.summed_workspaces: set[str] = set()

    async def epochs(self, workspace_id: str, ask: Callable[[], Awaitable[Epochs]]) -> Epochs:
        """Return the epochs of a workspace, at most `EPOCH_TTL_SECONDS` old. Raises what `ask` raises.

        Calls `ask`, which reads the epochs from the store, only if the cached ones are older.
        """
        cached, valid_until = self._epochs.get(workspace_id, _NEVER)
        now = self._monotonic()
        if valid_until > now:
            return cached
        latest = await ask()
        # A call that began earlier may finish later: do not replace a newer epoch by an older one.
        if self._epochs.get(workspace_id, _NEVER)[1] <= now + EPOCH_TTL_SECONDS:
            self._epochs[workspace_id] = latest, now + EPOCH_TTL_SECONDS
        if len(self._epochs) > MAX_WORKSPACES:
            del self._epochs[next(iter(self._epochs))]
        return latest

    async def log_history(self, workspace_id: str, ask: Callable[[], Awaitable[LogHistory]]) -> LogHistory:
        """Return the history of a workspace's log, at most `HISTORY_TTL_SECONDS` old. Raises what `ask` raises."""
        cached = self._histories.get(workspace_id)
        if cached is not None and cached[1] > self._monotonic():
            return cached[0]
        latest = await ask()
        self._histories[workspace_id] = latest, self._monotonic() + HISTORY_TTL_SECONDS
        if len(self._histories) > MAX_WORKSPACES:
            del self._histories[next(iter(self._histories))]
        return latest

    def last_epoch(self, workspace_id: str) -> str:
        """Return the erasure epoch of a workspace that this process read last; "" before the first read."""
        return self._epochs.get(workspace_id, _NEVER)[0].erasures

    def remember_ranking_low(self, key: Hashable, low: Decimal) -> None:
        """Cache the value at which an order of passes has ended. Drops the oldest one above the limit."""
        self.ranking_lows.pop(key, None)
        self.ranking_lows[key] = low
        if len(self.ranking_lows) > MAX_WORKSPACES:
            del self.ranking_lows[next(iter(self.ranking_lows))]

    def remember_summed(self, workspace_id: str) -> None:
        """Cache that each pass of a workspace has sums of twelve months. Forgets all workspaces above the limit."""
        if len(self.summed_workspaces) >= MAX_WORKSPACES:
            self.summed_workspaces.clear()
        self.summed_workspaces.add(workspace_id)

    def has_pass(self, workspace_id: str, pass_id: str, since: str = "") -> bool:
        """Return whether the pass is cached as existing. `since` is the workspace's erasure epoch."""
        epoch, valid_until = self._ids.get((workspace_id, pass_id), ("", 0.0))
        return valid_until > self._monotonic() and epoch == since

    def pass_id_of(self, workspace_id: str, external_id: str, since: str = "") -> str | None:
        """Return the id of the cached pass with this external id, or None. `since` is the workspace's erasure epoch."""
        pass_id, epoch, valid_until = self._external_ids.get((workspace_id, external_id), (None, "", 0.0))
        return pass_id if valid_until > self._monotonic() and epoch == since else None

    def remember_pass(
        self, workspace_id: str, pass_id: str, external_id: str | None = None, *, since: str = ""
    ) -> None:
        """Cache a pass that was seen to exist while the erasure epoch was `since`.

        Drops the oldest entries above the limit.
        """
        valid_until = self._monotonic() + PASS_TTL_SECONDS
        self._ids[workspace_id, pass_id] = since, valid_until
        if external_id is not None:
            self._external_ids[workspace_id, external_id] = pass_id, since, valid_until
        if len(self._ids) > self._max_passes:
            del self._ids[next(iter(self._ids))]
        if len(self._external_ids) > self._max_passes:
            del self._external_ids[next(iter(self._external_ids))]

    def forget_pass(self, workspace_id: str, pass_id: str, external_id: str) -> None:
        """Remove a pass from the cache."""
        self._ids.pop((workspace_id, pass_id), None)
        self._external_ids.pop((workspace_id, external_id), None)

    def words(self, workspace_id: str) -> set[tuple[str, str]] | None:
        """Return the cached words (kind, word) of a workspace; None if none is cached.

        The stored vocabulary contains them all, so they need not be inserted again. They are valid while the erasure
        epoch that this process read last is the one under which they were read.
        """
        epoch, words = self._words.get(workspace_id, (None, set()))
        return words if epoch == self.last_epoch(workspace_id) else None

    def remember_words(
        self, workspace_id: str, words: set[tuple[str, str]], *, since: str = ""
    ) -> set[tuple[str, str]]:
        """Cache the words of a workspace, which were read while the erasure epoch was `since`, and return them.

        Drops the oldest workspace above the limit.
        """
        self._words[workspace_id] = since, words
        if len(self._words) > MAX_WORKSPACES:
            del self._words[next(iter(self._words))]
        return words

    def last_position(self, workspace_id: str) -> int:
        """Return a position that the workspace's activity log has for sure; 0 if none is cached."""
        return self._positions.get(workspace_id, 0)

    def remember_position(self, workspace_id: str, position: int) -> None:
        """Cache the last position of a workspace's activity log. Drops the oldest workspace above the limit."""
        self._positions[workspace_id] = position
        if len(self._positions) > MAX_WORKSPACES:
            del self._positions[next(iter(self._positions))]

    def definitions(self, workspace_id: str) -> Definitions | None:
        """Return the cached definitions of a workspace. The caller compares their revision with the stored one."""
        return self._definitions.get(workspace_id)

    def remember_definitions(self, workspace_id: str, definitions: Definitions) -> None:
        """Cache the definitions of a workspace. Drops the oldest workspace above the limit."""
        self._definitions[workspace_id] = definitions
        if len(self._definitions) > MAX_WORKSPACES:
            del self._definitions[next(iter(self._definitions))]

    def event_types(self, workspace_id: str) -> tuple[EventTypes, float] | None:
        """Return the cached event types of a workspace and until when (monotonic seconds) they are valid."""
        return self._event_types.get(workspace_id)

    def remember_event_types(self, types: EventTypes, valid_until: float) -> EventTypes:
        """Cache the event types of a workspace and return the newest. Drops the oldest workspace above the limit.

        A read that began before a change and finished after the change does not replace the newer types.
        """
        cached = self._event_types.get(types.workspace_id)
        if cached is not None and cached[0].revision > types.revision:
            return cached[0]
        self._event_types[types.workspace_id] = types, valid_until
        if len(self._event_types) > MAX_WORKSPACES:
            del self._event_types[next(iter(self._event_types))]
        return types
