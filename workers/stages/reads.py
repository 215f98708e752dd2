"""Reads of what walks need: beforehand for all passes of a round, and again for walks that lacked something."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.domain.definitions import Definitions
from app.domain.events.events import Event
from app.domain.fold.lacks import Lacks
from app.domain.fold.prefetch import Family, Prefetch, WindowPage, find_prefetch
from app.domain.passes.passes import Pass
from workers.worker import Worker

from .shares import choose_by_history


@dataclass(frozen=True, slots=True)
class PassWork:
    """A pass to walk, its pending events that are not counted yet, and whether more are pending than these."""

    card: Pass
    events: Sequence[Event] = ()
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class ReadWork:
    """A pass to walk, with what was read for its walk: see `advance`."""

    work: PassWork
    history: Sequence[Event] | None
    pages: Mapping[str, WindowPage]
    moved_ids: Collection[str]
    families: Mapping[str, Family] = field(default_factory=dict)
    before_ms: int | None = None


async def read_for_walks(
    worker: Worker, elapsed_ms: int, works: Sequence[PassWork], definitions: Mapping[str, Definitions]
) -> list[ReadWork]:
    """Read what each walk needs beforehand. Passes with too much history are left to the next round."""
    sized: list[tuple[tuple[PassWork, Prefetch], str, int]] = []
    for work in works:
        prefetch = find_prefetch(work.card, definitions[work.card.workspace_id], work.events, elapsed_ms)
        size = work.card.event_count if prefetch.history else 0
        sized.append(((work, prefetch), work.card.workspace_id, size))
    kept = choose_by_history(sized)
    histories = await worker.fold_queries.histories([work.card for work, prefetch in kept if prefetch.history])

    async def read_pages(work: PassWork, prefetch: Prefetch) -> dict[str, WindowPage]:
        pages = {}
        for key, (measure, after_ms) in prefetch.windows.items():
            expiring, has_more = await worker.fold_queries.expiring_events(work.card, measure, after_ms)
            pages[key] = WindowPage(after_ms=after_ms, expiring=expiring, has_more=has_more)
        return pages

    pages = await asyncio.gather(*(read_pages(work, prefetch) for work, prefetch in kept))
    moved_ids = await _find_moved(worker, [work for work, _ in kept], histories)
    families = await _read_families(worker, [(work.card, prefetch.families) for work, prefetch in kept])
    return [
        ReadWork(work, histories.get(work.card.id), page, moved_ids=moved_ids, families=families.get(work.card.id, {}))
        for (work, _), page in zip(kept, pages, strict=True)
    ]


async def read_what_lacked(worker: Worker, lacking: Sequence[tuple[ReadWork, Lacks]]) -> list[ReadWork]:
    """Read what walks lacked, for all of them in one round. Passes with too much history are left to the next round."""
    sized = [
        ((read, lacks), read.work.card.workspace_id, read.work.card.event_count if lacks.history else 0)
        for read, lacks in lacking
    ]
    kept = choose_by_history(sized)
    histories = await worker.fold_queries.histories([read.work.card for read, lacks in kept if lacks.history])
    families = await _read_families(worker, [(read.work.card, lacks.families) for read, lacks in kept])
    return [
        replace(
            read,
            history=histories.get(read.work.card.id, read.history),
            families={**read.families, **families.get(read.work.card.id, {})},
        )
        for read, _ in kept
    ]


async def _read_families(
    worker: Worker, wanted: Sequence[tuple[Pass, frozenset[str]]]
) -> Mapping[str, Mapping[str, Family]]:
    """Return the wanted families by pass id and root. Reads nothing if none is wanted."""
    named = [(card, roots) for card, roots in wanted if roots]
    return await worker.fold_queries.families(named) if named else {}


async def _find_moved(
    worker: Worker, works: Sequence[PassWork], histories: Mapping[str, Sequence[Event]]
) -> Collection[str]:
    """Return the ids that `advance` takes as `moved_ids`. Reads only if tombstones name events that were not read."""
    targets, workspace_ids = dict[str, str](), dict[str, str]()
    for work in works:
        if removed := {event.removes for event in work.events if event.removes is not None}:
            removed -= {event.id for event in (*work.events, *histories.get(work.card.id, ()))}
            targets |= dict.fromkeys(removed, work.card.id)
            workspace_ids |= dict.fromkeys(removed, work.card.workspace_id)
    if not targets:
        return ()
    return await worker.merge_queries.published_elsewhere(targets, workspace_ids=workspace_ids)
