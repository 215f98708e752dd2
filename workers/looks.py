"""Looks: of which workspaces a round of the fold reads pending events, on a sharded MongoDB.

A look that names workspaces goes to their shards only. A wake-up names its workspace. The sweep, which finds the work of
lost wake-ups, names all workspaces. On other stores, no look names any.

The looks for months to be sealed have their own workspaces, on all stores.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

WORKSPACES_TTL_SECONDS = 1.0
"""How long the list of all workspaces is valid. Wake-ups name a newer workspace, or the next sweep does."""


@dataclass(slots=True)
class Asked:
    """What the next round looks at: these workspaces, or all."""

    workspace_ids: set[str] = field(default_factory=set)
    all: bool = False


class Looks:
    """What wake-ups and sweeps of one worker asked for, by slot range, until a round takes it."""

    def __init__(self) -> None:
        self._asked: dict[str, Asked] = {}
        self._workspace_ids: list[str] = []
        self._valid_until = 0.0
        self.unsealed: set[str] = set()
        """The workspaces with passes whose months may have to be sealed, as far as this worker has seen."""
        self.uncounted: dict[str, int] = {}
        """The system time in ms at which this worker next counts active passes, by workspace, if it knows of a mark."""
        self.has_counts: set[str] = set()
        """The workspaces in which this worker has inserted the numbers that an earlier version did not store."""

    def ask(self, key: str, workspace_id: str) -> None:
        """Let the next round look at a workspace, or at all if `workspace_id` is empty."""
        asked = self._asked.setdefault(key, Asked())
        if workspace_id:
            asked.workspace_ids.add(workspace_id)
        else:
            asked.all = True

    def take(self, key: str) -> Asked:
        """Return what was asked for since the last round, all if nothing was. What is asked from now on is kept apart."""
        return self._asked.pop(key, Asked(all=True))

    def put_back(self, key: str, asked: Asked) -> None:
        """Ask once more for what a round took, because more may be pending than it read."""
        now = self._asked.setdefault(key, Asked())
        now.workspace_ids |= asked.workspace_ids
        now.all = now.all or asked.all

    async def all_workspaces(self, read: Callable[[], Awaitable[list[str]]]) -> Sequence[str]:
        """Return all workspaces, at most `WORKSPACES_TTL_SECONDS` old. Raises what `read` raises."""
        if self._valid_until <= time.monotonic():
            self._workspace_ids = await read()
            self._valid_until = time.monotonic() + WORKSPACES_TTL_SECONDS
        return self._workspace_ids
