"""Vocabulary of a workspace: the types and sources of its events, stored when they first occur."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from app.commands.context import Context
from app.domain.events.events import TYPES, Event
from app.store.workspace.vocabulary import SOURCE, TYPE, Word

MAX_WORDS = 10_000
"""Approximate size of a workspace's vocabulary. It bounds the lists if every event names its own source."""


def words_of(events: Iterable[Event]) -> set[Word]:
    """Return the types and sources of events."""
    return {word for event in events for word in ((TYPE, event.type), (SOURCE, event.source))}


async def recorded_types(
    ctx: Context, named: Collection[str], read_types: Callable[[], Awaitable[list[str]]] | None = None
) -> set[str]:
    """Return the types of the events recorded so far, for a definition that names types; empty if all are built in.

    At most one round trip: `read_types` then returns the types. Raises Unavailable and StoreRefused; safe to repeat.
    """
    return set() if TYPES.keys() >= set(named) else set(await (read_types or ctx.workspace.vocabulary.types)())


async def record_words(ctx: Context, events: Sequence[Event]) -> set[Word]:
    """Store the types and sources of events that are not stored yet, and return them. Only these cause a round trip.

    Call this before the events are inserted, so that the vocabulary lists the words of every event. Above about 10,000
    words of a workspace, events are recorded without their new words being listed. Raises Unavailable; safe to repeat.
    """
    words = words_of(events)
    cache, store, workspace_id = ctx.resources.cache, ctx.workspace.vocabulary, ctx.workspace.id
    listed = cache.words(workspace_id)
    if listed is None:
        since = cache.last_epoch(workspace_id)
        listed = cache.remember_words(workspace_id, await store.certain(), since=since)
    new = words - listed
    if new and len(listed) < MAX_WORDS:
        await store.insert(new)
        listed |= new
    return new
