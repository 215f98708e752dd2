"""What a process may remember: that a pass exists, what a workspace says of itself, its words. Bounded; never a negative.

That a pass is there is believed only by who has asked for the workspace's latest parting a moment ago: an erasure makes a
new one, and lets go of the pass and its name only when everybody must have heard of that. (See `workers/stages/erase.py`.)
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from app.domain.events.event_types import EventTypes
from app.domain.workspaces import WorkspaceProfile

MAX_PASSES = 100_000
MAX_WORKSPACES = 1_000
PASS_TTL_SECONDS = 10.0
"""How long a name is taken for a pass: it may be merged, which this process need not hear of."""
EPOCH_TTL_SECONDS = 0.25
"""How long the latest parting that was heard of is taken for the latest."""


class WorkspaceCache:
    """Positive answers only, of passes for a while: forgetting costs a look-up."""

    def __init__(self, most: int = MAX_PASSES, now: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._now = now
        self._ids: dict[tuple[str, str], tuple[str, float]] = {}
        self._external_ids: dict[tuple[str, str], tuple[str, str, float]] = {}
        self._partings: dict[str, tuple[str, float]] = {}
        self._words: dict[str, set[tuple[str, str]]] = {}
        self._event_types: dict[str, tuple[EventTypes, float]] = {}
        self.profiles: dict[str, tuple[WorkspaceProfile, bytes]] = {}

    async def erasure_epoch(self, workspace_id: str, ask: Callable[[], Awaitable[str]]) -> str:
        """The latest parting of a workspace, `EPOCH_TTL_SECONDS` old at most; asks no more often. Raises what `ask` raises."""
        held, until = self._partings.get(workspace_id, ("", 0.0))
        now = self._now()
        if until > now:
            return held
        latest = await ask()
        # Who asked earlier and is answered later knows less.
        if self._partings.get(workspace_id, ("", 0.0))[1] <= now + EPOCH_TTL_SECONDS:
            self._partings[workspace_id] = latest, now + EPOCH_TTL_SECONDS
        if len(self._partings) > MAX_WORKSPACES:
            del self._partings[next(iter(self._partings))]
        return latest

    def last_epoch(self, workspace_id: str) -> str:
        """The latest parting of a workspace that this process has heard of."""
        return self._partings.get(workspace_id, ("", 0.0))[0]

    def has_pass(self, workspace_id: str, pass_id: str, since: str = "") -> bool:
        """Whether the pass is known to exist in the workspace; `since` is the latest parting."""
        noted, until = self._ids.get((workspace_id, pass_id), ("", 0.0))
        return until > self._now() and noted == since

    def pass_id_of(self, workspace_id: str, external_id: str, since: str = "") -> str | None:
        """The id of the pass with this external id, if known; `since` is the latest parting."""
        pass_id, noted, until = self._external_ids.get((workspace_id, external_id), (None, "", 0.0))
        return pass_id if until > self._now() and noted == since else None

    def remember_pass(
        self, workspace_id: str, pass_id: str, external_id: str | None = None, *, since: str = ""
    ) -> None:
        """Notes a pass that was seen to exist after the parting `since`; the oldest notes are dropped beyond the bound."""
        until = self._now() + PASS_TTL_SECONDS
        self._ids[workspace_id, pass_id] = since, until
        if external_id is not None:
            self._external_ids[workspace_id, external_id] = pass_id, since, until
        if len(self._ids) > self._most:
            del self._ids[next(iter(self._ids))]
        if len(self._external_ids) > self._most:
            del self._external_ids[next(iter(self._external_ids))]

    def forget_pass(self, workspace_id: str, pass_id: str, external_id: str) -> None:
        """Takes back that a pass exists."""
        self._ids.pop((workspace_id, pass_id), None)
        self._external_ids.pop((workspace_id, external_id), None)

    def words(self, workspace_id: str) -> set[tuple[str, str]] | None:
        """The words (kind, word) known to be noted in a workspace's vocabulary, to be added to; None before the first."""
        return self._words.get(workspace_id)

    def remember_words(self, workspace_id: str, words: set[tuple[str, str]]) -> set[tuple[str, str]]:
        """What is remembered of a workspace's vocabulary, with these words; the oldest workspace's is dropped."""
        known = self._words.setdefault(workspace_id, set())
        known |= words
        if len(self._words) > MAX_WORKSPACES:
            del self._words[next(iter(self._words))]
        return known

    def event_types(self, workspace_id: str) -> tuple[EventTypes, float] | None:
        """What is known of a workspace's event types, and until when (monotonic seconds) it is believed."""
        return self._event_types.get(workspace_id)

    def remember_event_types(self, types: EventTypes, until: float) -> EventTypes:
        """The latest that is known of a workspace's event types; the oldest workspace's are dropped.

        Who asked before a change, and is answered after it, does not bring back what was before.
        """
        newest = self._event_types.get(types.workspace_id)
        if newest is not None and newest[0].revision > types.revision:
            return newest[0]
        self._event_types[types.workspace_id] = types, until
        if len(self._event_types) > MAX_WORKSPACES:
            del self._event_types[next(iter(self._event_types))]
        return types
