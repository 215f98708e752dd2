"""What a process may remember: that a pass exists, what a workspace says of itself, its words. Bounded; never a negative."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.domain.event_types import EventTypes
from app.domain.workspaces import WorkspaceProfile

MOST = 100_000
MOST_WORKSPACES = 1_000
SECONDS = 10.0
"""How long a pass is taken to be there still: a pass may be erased, which this process need not hear of."""


class Known:
    """Positive answers only, of passes for a while: forgetting costs a look-up."""

    def __init__(self, most: int = MOST, now: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._now = now
        self._ids: dict[tuple[str, str], float] = {}
        self._external_ids: dict[tuple[str, str], tuple[str, float]] = {}
        self._words: dict[str, set[tuple[str, str]]] = {}
        self._event_types: dict[str, tuple[EventTypes, float]] = {}
        self.profiles: dict[str, tuple[WorkspaceProfile, bytes]] = {}

    def has(self, workspace_id: str, pass_id: str) -> bool:
        """Whether the pass is known to exist in the workspace."""
        return self._ids.get((workspace_id, pass_id), 0.0) > self._now()

    def id_of(self, workspace_id: str, external_id: str) -> str | None:
        """The id of the pass with this external id, if known."""
        pass_id, until = self._external_ids.get((workspace_id, external_id), (None, 0.0))
        return pass_id if until > self._now() else None

    def remember(self, workspace_id: str, pass_id: str, external_id: str | None = None) -> None:
        """Notes a pass that was just seen to exist; the oldest notes are dropped beyond the bound."""
        until = self._now() + SECONDS
        self._ids[workspace_id, pass_id] = until
        if external_id is not None:
            self._external_ids[workspace_id, external_id] = pass_id, until
        if len(self._ids) > self._most:
            del self._ids[next(iter(self._ids))]
        if len(self._external_ids) > self._most:
            del self._external_ids[next(iter(self._external_ids))]

    def forget(self, workspace_id: str, pass_id: str, external_id: str) -> None:
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
        if len(self._words) > MOST_WORKSPACES:
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
        if newest is not None and newest[0].rev > types.rev:
            return newest[0]
        self._event_types[types.workspace_id] = types, until
        if len(self._event_types) > MOST_WORKSPACES:
            del self._event_types[next(iter(self._event_types))]
        return types
