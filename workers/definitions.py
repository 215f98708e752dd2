"""The definitions of workspaces that a worker has read, so that a round reads only versions that are new."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable

from app.domain.definitions import Definitions
from app.domain.errors import STORE_FAILURES
from app.domain.passes.passes import Pass
from app.store.stages.fold import FoldQueries

log = logging.getLogger(__name__)


class DefinitionCache:
    """The definitions of workspaces that were read so far. All can be read from the store again."""

    def __init__(self, queries: FoldQueries) -> None:
        self._queries = queries
        self._cached: dict[str, Definitions] = {}
        self._unreadable: set[str] = set()

    def __getitem__(self, workspace_id: str) -> Definitions:
        return self._cached[workspace_id]

    async def read(self, workspace_ids: Iterable[str], cards: Iterable[Pass] = ()) -> dict[str, Definitions]:
        """Return the current definitions of workspaces, by workspace id. Reads only versions that are not in memory.

        They serve the walks of `cards`: if versions that a walk needs were dropped from memory, all are read again. A
        workspace with a definition that this version cannot read is left out, so that its passes wait alone.
        """
        ids = list(dict.fromkeys(workspace_ids))
        found = await self._read_each(ids, self._read_newer)
        cut = {
            card.workspace_id
            for card in cards
            if card.workspace_id in found and not found[card.workspace_id].serve(card)
        }
        for workspace_id in cut:
            del found[workspace_id]
        return found | await self._read_each(cut, self._read_again)

    def compact(self, workspace_id: str, revision: int) -> None:
        """Drop from memory the versions that no pass needs which was evaluated under the revision or a later one."""
        self._cached[workspace_id] = self._cached[workspace_id].compacted(revision)

    async def _read_newer(self, workspace_id: str) -> Definitions:
        cached = self._cached.setdefault(workspace_id, Definitions())
        newer = await self._queries.versions(workspace_id, cached.revision)
        if newer:
            cached = self._cached[workspace_id] = cached.extended(newer)
        return cached

    async def _read_again(self, workspace_id: str) -> Definitions:
        versions = await self._queries.versions(workspace_id, 0)
        found = self._cached[workspace_id] = Definitions(versions)
        return found

    async def _read_each(
        self, workspace_ids: Collection[str], read: Callable[[str], Awaitable[Definitions]]
    ) -> dict[str, Definitions]:
        """Return what was read, by workspace id. A workspace that cannot be read is logged once until it can."""
        found: dict[str, Definitions] = {}
        answers = await asyncio.gather(*map(read, workspace_ids), return_exceptions=True)
        for workspace_id, answer in zip(workspace_ids, answers, strict=True):
            if isinstance(answer, Definitions):
                found[workspace_id] = answer
                self._unreadable.discard(workspace_id)
            elif isinstance(answer, STORE_FAILURES) or not isinstance(answer, Exception):
                raise answer
            elif workspace_id not in self._unreadable:
                self._unreadable.add(workspace_id)
                text = "a definition of workspace %s cannot be read, so its passes wait; reference %s"
                log.error(text, workspace_id, uuid.uuid4().hex, exc_info=answer)
        return found
