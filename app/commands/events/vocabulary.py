"""Vocabulary of a workspace: the types and sources of its events, stored when they first occur."""

from __future__ import annotations

from collections.abc import Sequence

from app.commands.context import Context
from app.domain.events.events import Event
from app.store.workspace.vocabulary import SOURCE, TYPE, Word

MAX_WORDS = 10_000
"""Approximate size of a workspace's vocabulary. It bounds the lists if every event names its own source."""


async def record_words(ctx: Context, events: Sequence[Event]) -> None:
    """Store the types and sources of events that are not stored yet. Only unknown words cause a round trip.

    Call this before the events are inserted, so that the vocabulary lists the words of every event. Above about 10,000
    words of a workspace, events are recorded without their new words being listed. Raises Unavailable; safe to repeat.
    """
    words: set[Word] = {(TYPE, word) for word in {event.type for event in events}}
    words |= {(SOURCE, word) for word in {event.source for event in events}}
    cache, store, workspace_id = ctx.resources.cache, ctx.workspace.vocabulary, ctx.workspace.id
    listed = cache.words(workspace_id)
    if listed is None:
        stored = {(TYPE, word) for word in await store.types()} | {(SOURCE, word) for word in await store.sources()}
        listed = cache.remember_words(workspace_id, stored)
    new = words - listed
    if new and len(listed) < MAX_WORDS:
        await store.insert(new)
        listed |= new
