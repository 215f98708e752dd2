"""The types and sources of a workspace's events, noted as they are first recorded."""

from __future__ import annotations

from collections.abc import Sequence

from app.commands.context import Context
from app.domain.events.events import Event
from app.store.workspace.vocabulary import SOURCE, TYPE, Word

MAX_WORDS = 10_000
"""About how many words of a workspace are noted: where a source names every event anew, its list ends somewhere."""


async def record_words(ctx: Context, events: Sequence[Event]) -> None:
    """Notes the types and sources that come for the first time; asks the store only for those.

    Called before the events are inserted, so that no event has a word that is not listed. Beyond about 10,000 words of a
    workspace the rest is recorded without being listed. Raises Unavailable, safe to repeat.
    """
    said: set[Word] = {(TYPE, word) for word in {event.type for event in events}}
    said |= {(SOURCE, word) for word in {event.source for event in events}}
    known, store, workspace_id = ctx.resources.cache, ctx.workspace.vocabulary, ctx.workspace.id
    noted = known.words(workspace_id)
    if noted is None:
        before = {(TYPE, word) for word in await store.types()} | {(SOURCE, word) for word in await store.sources()}
        noted = known.remember_words(workspace_id, before)
    fresh = said - noted
    if fresh and len(noted) < MAX_WORDS:
        await store.insert(fresh)
        noted |= fresh
