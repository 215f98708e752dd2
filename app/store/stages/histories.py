"""Reads of the events of passes that the fold counts again: whole histories, families of events, and windows.

Only `workers` may import them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial

from app.domain.events.events import TOMBSTONES, Event
from app.domain.fold.prefetch import Family
from app.domain.passes.passes import Pass
from app.domain.state.expiring import Expiring
from app.domain.state.measures import Measure
from app.domain.values.instants import EARLIEST, LATEST, from_ms, to_ms
from app.store.codecs import events
from app.store.codecs.counting import counting_in
from app.store.codecs.guards import is_declined
from app.store.mongo.queries import Collection, Doc, in_chunks
from app.store.mongo.read_order import reads_in_order
from app.store.mongo.time_ranges import ALL_TIME_MS, SEEK_AFTER_MS, RangeScan, ScanPosition
from app.store.workspace.counted_events import read_expiring

from .pending import PendingQueries

HISTORY_BATCH_SIZE = 300
"""Events that one read of a window's history returns."""
HISTORY_PAGE_SIZE = 5_000
"""Events of whole histories that one read returns; at most twice as many for several passes at once."""


class HistoryQueries(PendingQueries):
    """Named queries of histories. Errors: Unavailable, safe to repeat."""

    async def histories(self, cards: Sequence[Pass]) -> dict[str, list[Event]]:
        """Return by pass id all events that count in the pass as read, pending or not, or only in its outbox.

        One read serves several passes with few events. A pass with many is read in pages, each of them a read of its own.
        An event that another worker counts or removes meanwhile does no harm: that worker has written the pass, so the
        caller's compare-and-set changes nothing. Index: {workspace, pass, occurred_at, _id}.
        """
        found = {card.id: card.made_events for card in cards}

        async def read_group(group: Sequence[Pass]) -> None:
            for card, docs in zip(group, await self._read_small(group), strict=True):
                if docs is not None:
                    found[card.id] += docs
                    continue
                async for page in self._read_large(card):
                    found[card.id] += page

        await asyncio.gather(*(read_group(group) for group in _group_by_size(cards, self._in_chunk)))
        return found

    async def _read_small(self, group: Sequence[Pass]) -> list[list[Event] | None]:
        """Return the events that count in each pass of one workspace, by one read; None if there are too many."""
        too_many: list[list[Event] | None] = [None] * len(group)
        if group[0].event_count > HISTORY_PAGE_SIZE:
            return too_many
        where = {"workspace": group[0].workspace_id, "pass": {"$in": [card.id for card in group]}}
        docs = await self._read_docs(self._events, where, limit=2 * HISTORY_PAGE_SIZE)
        if len(docs) == 2 * HISTORY_PAGE_SIZE:
            return too_many
        by_pass: dict[str, list[Event]] = {card.id: [] for card in group}
        as_counting = {card.id: counting_in(card) for card in group}
        for doc in docs:
            if (event := as_counting[doc["pass"]](doc)) is not None:
                by_pass[doc["pass"]].append(event)
        return [by_pass[card.id] for card in group]

    async def _read_large(self, card: Pass) -> AsyncIterator[list[Event]]:
        """Yield the events that count in a pass, oldest first, in pages."""
        as_counting, collection = counting_in(card), reads_in_order(self._db.client, self._events)
        for scan in _scans_of(card, collection):
            while not scan.is_over:
                yield list(filter(None, map(as_counting, await scan.read(HISTORY_PAGE_SIZE))))

    async def families(self, roots_by_pass: Sequence[tuple[Pass, frozenset[str]]]) -> dict[str, dict[str, Family]]:
        """Return by pass id, and by root, the families of these roots: members that count in the pass as read.

        A family is split if a member that counted lies on another pass. Indexes: _id, {workspace, root}.
        """

        async def find_chunk(workspace_id: str, roots: Sequence[str]) -> list[Doc]:
            # The index is partial on `root`, so the condition repeats its filter.
            members = {"workspace": workspace_id, "root": {"$in": list(roots), "$gte": ""}}
            workspace_ids = dict.fromkeys(roots, workspace_id)
            found = await asyncio.gather(
                self._read_docs(self._events, members), self._find_by_ids(self._events, roots, workspace_ids)
            )
            return [doc for docs in found for doc in docs if "removed" not in doc]

        by_workspace: dict[str, set[str]] = {}
        for card, roots in roots_by_pass:
            by_workspace.setdefault(card.workspace_id, set()).update(roots)
        docs_by_root: dict[str, list[Doc]] = {}
        for workspace_id, wanted in by_workspace.items():
            for doc in await in_chunks(partial(find_chunk, workspace_id), sorted(wanted), self._in_chunk):
                for root in {doc.get("root"), doc["_id"]} & wanted:
                    docs_by_root.setdefault(root, []).append(doc)
        return {
            card.id: {root: _family_of(card, root, docs_by_root.get(root, ())) for root in roots}
            for card, roots in roots_by_pass
        }

    async def expiring_events(self, card: Pass, measure: Measure, after_ms: int) -> tuple[Sequence[Expiring], bool]:
        """Return what leaves a window next, as `read_expiring` does. Index: {workspace, pass, occurred_at, _id}."""
        read = partial(self._read_docs, self._events)
        return await read_expiring(read, card, measure, after_ms, batch_size=HISTORY_BATCH_SIZE)


def _group_by_size(cards: Sequence[Pass], max_passes: int) -> list[list[Pass]]:
    """Return groups of passes of one workspace whose histories fit into one page. A pass with more is a group alone."""
    groups: list[list[Pass]] = []
    size = 0
    for card in sorted(cards, key=lambda each: each.workspace_id):
        size += card.event_count
        is_same = bool(groups) and groups[-1][0].workspace_id == card.workspace_id
        if is_same and size <= HISTORY_PAGE_SIZE and len(groups[-1]) < max_passes:
            groups[-1].append(card)
        else:
            groups.append([card])
            size = card.event_count
    return groups


def _scans_of(card: Pass, collection: Collection) -> Iterator[RangeScan]:
    """Yield the scans that together read all events of a pass, oldest first.

    The aggregates tell when the counted events begin, and how close together they lie. So the first range is not read to
    its end on a store that reads all of it.
    """
    rows = [row for rows in (card.aggregates, card.made_aggregates) for row in rows.values()]
    first_ms = min((row.first_ms for row in rows), default=to_ms(EARLIEST))
    span_ms = max((row.last_ms for row in rows), default=first_ms) - first_ms
    width_ms = max(1, span_ms * HISTORY_PAGE_SIZE // card.event_count) if rows else SEEK_AFTER_MS
    for low, high, width in ((EARLIEST, from_ms(first_ms), ALL_TIME_MS), (from_ms(first_ms), LATEST, width_ms)):
        where = {"workspace": card.workspace_id, "pass": card.id, "occurred_at": {"$gte": low, "$lt": high}}
        start = ScanPosition(to_ms(low), "", width)
        yield RangeScan(collection, where, by=("workspace", "pass"), first="occurred_at", ascending=True, start=start)


def _family_of(card: Pass, root: str, docs: Sequence[Doc]) -> Family:
    """Return the family of a root for a pass, from the documents of its members on any pass and from the outbox."""
    as_counting = counting_in(card)
    unique = {doc["_id"]: doc for doc in docs if doc["type"] not in TOMBSTONES}.values()
    members = [event for doc in unique if doc["pass"] == card.id and (event := as_counting(doc)) is not None]
    members += [event for event in card.made_events if event.family == root]
    folded = frozenset(card.last_folded_ids)
    # An event that is pending counts for the first time where it is, unless a merge moved it.
    counted = [doc for doc in unique if "pend" not in doc or doc.get("moved", {}).get("told", False)]
    coming = [doc for doc in counted if not is_declined(doc) and (doc["pass"] != card.id or _waits(doc, folded))]
    is_split = any(doc["pass"] != card.id for doc in coming)
    return Family(members, is_split, [events.from_doc(doc) for doc in coming])


def _waits(doc: Doc, folded: frozenset[str]) -> bool:
    return "pend" in doc and doc["_id"] not in folded
