"""What a process may remember: that a pass exists, what a workspace says of itself, its words. Bounded; never a negative."""

from __future__ import annotations

from app.domain.workspaces import WorkspaceProfile

MOST = 100_000
MOST_WORKSPACES = 1_000


class Known:
    """Positive answers only: a pass once seen exists for good, so forgetting costs a look-up and remembering nothing."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._ids: dict[tuple[str, str], None] = {}
        self._external_ids: dict[tuple[str, str], str] = {}
        self._words: dict[str, set[tuple[str, str]]] = {}
        self.profiles: dict[str, tuple[WorkspaceProfile, bytes]] = {}

    def has(self, workspace_id: str, pass_id: str) -> bool:
        """Whether the pass is known to exist in the workspace."""
        return (workspace_id, pass_id) in self._ids

    def id_of(self, workspace_id: str, external_id: str) -> str | None:
        """The id of the pass with this external id, if known."""
        return self._external_ids.get((workspace_id, external_id))

    def remember(self, workspace_id: str, pass_id: str, external_id: str | None = None) -> None:
        """Notes a pass that exists; the oldest notes are dropped beyond the bound."""
        self._ids[workspace_id, pass_id] = None
        if external_id is not None:
            self._external_ids[workspace_id, external_id] = pass_id
        if len(self._ids) > self._most:
            del self._ids[next(iter(self._ids))]
        if len(self._external_ids) > self._most:
            del self._external_ids[next(iter(self._external_ids))]

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
