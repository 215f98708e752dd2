"""Walks of copies of passes for queries: they read what the walk needs, and write nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from app.domain.definitions import Definitions
from app.domain.fold.copies import CopyWalk, Found, Reading, TooMuchToRead
from app.domain.fold.prefetch import WindowPage
from app.domain.passes.passes import Pass
from app.store.workspace.workspace import Workspace

from .context import Context

T = TypeVar("T")
MAX_ATTEMPTS = 5
"""Attempts to walk a copy of a pass that workers write meanwhile."""
LONG_HISTORY = 500
"""Events of a history above which a walk runs in a thread, so that it holds up no other request."""


async def read_definitions(ctx: Context, cards: Iterable[Pass]) -> Definitions:
    """Return the definitions that walks of the passes need. Read the passes first, as the fold does.

    One round trip if the process has them in its cache, else two. Index: {workspace, rev}.
    """
    cache, store = ctx.resources.cache, ctx.workspace.definitions
    cached, highest = cache.definitions(ctx.workspace.id), await store.highest_rev()
    if cached is not None and cached.revision == highest and all(map(cached.serve, cards)):
        return cached
    definitions = Definitions(await store.versions())
    cache.remember_definitions(ctx.workspace.id, definitions)
    return definitions


@dataclass(frozen=True, slots=True)
class _End(Generic[T]):
    """The end of a walk, and its result."""

    value: T


def _run(resume: Callable[[], Reading]) -> Reading | _End[Any]:
    # No future can hold a StopIteration, so the end of the walk becomes a value.
    try:
        return resume()
    except StopIteration as end:
        return _End(end.value)


class CopyReader:
    """Reader for the walks of copies of one pass. `has_read` says whether it has read events."""

    def __init__(self, workspace: Workspace) -> None:
        self._store = workspace.counted_events
        self.has_read = False

    async def run(self, walk: CopyWalk[T], max_events: int) -> T:
        """Return the result of a walk that may read so many events. If it needs more, TooMuchToRead is thrown into it.

        Raises TooMuchToRead if the walk does not catch it.
        """
        left = max_events
        step: Reading | _End[T] = _run(partial(next, walk))
        while isinstance(step, Reading):
            try:
                found, read_count = await self._read(step, left)
            except TooMuchToRead as error:
                step = _run(partial(walk.throw, error))
                continue
            left -= read_count
            resume = partial(_run, partial(walk.send, found))
            step = await asyncio.to_thread(resume) if len(found.history or ()) > LONG_HISTORY else resume()
        return step.value

    async def _read(self, reading: Reading, left: int) -> tuple[Found, int]:
        """Return what a walk without events needs, and the number of events read."""
        card, pages, read_count = reading.card, dict[str, WindowPage](), 0
        self.has_read = True
        for key, (measure, after_ms) in reading.windows.items():
            pages[key], examined = await self._store.expiring(card, measure, after_ms, left - read_count)
            read_count += examined
        if not reading.history:
            return Found(pages=pages), read_count
        if card.event_count > left - read_count:
            raise TooMuchToRead
        return Found(await self._store.history(card), pages), read_count + card.event_count
