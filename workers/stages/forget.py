"""Forget: delete types and sources from a workspace's vocabulary after their last event was removed.

Whatever removes events marks their words as doubted. This stage looks for another event with each of these words. It
deletes the words without one, unless a process has recorded such an event meanwhile and thereby removed the doubt.

Processes cache words and do not store a cached word again. So the stage first changes the workspace's erasure epoch.
Then it waits until every process has read the change: from then on, each process stores doubted words again. A call may
have read its cache before, and insert its events only after the search. Its source is then listed again with the next
event from that source.
"""

from __future__ import annotations

import asyncio

from app.domain.events.event_queries import EventQuery
from app.store.workspace.vocabulary import TYPE, Word
from app.store.workspace.workspace import Workspace
from workers.worker import Worker

from .erase import CACHE_EXPIRY_SECONDS

SEARCH_BATCH_SIZE = 500
"""Events that one read of the search returns."""
MAX_SOURCES_PER_SEARCH = 50
"""Sources that one search looks for. Types are searched one by one, because an index finds the events of a type."""


async def forget(worker: Worker, key: str) -> None:
    """Delete the doubted words of a workspace that no event has. Safe to repeat, and to run in several workers."""
    await worker.run_alone("forget", key, lambda: forget_once(worker, key))


async def forget_once(worker: Worker, workspace_id: str) -> bool:
    """Check the doubted words once. Returns False: a later sweep continues if something is left. Raises Unavailable."""
    election = worker.last_election()
    workspace = worker.resources.workspace(workspace_id)
    doubted = await workspace.vocabulary.doubted()
    # The events of a pass are still found while it is being erased. Its words are doubted again before they vanish.
    if not doubted or await workspace.removals.is_erasing():
        return False
    await worker.erase_queries.change_erasure_epoch(workspace_id)
    await asyncio.sleep(CACHE_EXPIRY_SECONDS)
    used = await _find_used(worker, workspace, sorted(doubted))
    if not worker.stopping:
        # A new primary may not have shown the events that have a word.
        worker.require_same_primary(election)
        await workspace.vocabulary.keep({word: mark for word, mark in doubted.items() if word in used})
        await workspace.vocabulary.delete({word: mark for word, mark in doubted.items() if word not in used})
    return False


async def _find_used(worker: Worker, workspace: Workspace, words: list[Word]) -> set[Word]:
    """Return those of the words that an event has whose removal was not requested."""
    types = [word for word in words if word[0] == TYPE]
    sources = [word for word in words if word[0] != TYPE]
    size = MAX_SOURCES_PER_SEARCH
    searches = [[word] for word in types] + [sources[start : start + size] for start in range(0, len(sources), size)]
    used: set[Word] = set()
    for search in searches:
        left, position = set(search), None
        while left and not worker.stopping:
            names = tuple(sorted(name for _, name in left))
            query = EventQuery(types=names) if search[0][0] == TYPE else EventQuery(sources=names)
            events, position = await workspace.events.scan(query, position, SEARCH_BATCH_SIZE, oldest_first=False)
            removed = await workspace.removals.batches([event.id for event in events])
            found = {name for event in events if event.id not in removed for name in (event.type, event.source)}
            used |= {word for word in left if word[1] in found}
            left -= used
            if position is None:
                break
    return used
