"""Reads of the events that count in one pass, in order of occurrence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from app.domain.events.events import Event
from app.domain.fold.copies import TooMuchToRead
from app.domain.fold.prefetch import WindowPage
from app.domain.passes.passes import Pass
from app.domain.state.expiring import Expiring, append_expiring, group_expiring, merge_expiring
from app.domain.state.measures import Measure
from app.domain.state.refilling import cut_page, page_end_ms
from app.domain.state.windows import MAX_EXPIRING
from app.domain.values.instants import from_ms, to_ms
from app.store.codecs.counting import counting_in
from app.store.mongo.queries import Doc, WorkspaceQueries, in_chunks

PAGE_BATCH_SIZE = MAX_EXPIRING + 10
"""Events that one read of a window's history returns to a query. A window lists 100 instants."""
PASSES_PER_READ = 100
"""Passes whose histories one read returns. The cost of `$in` grows with the square of its size on the embedded servers."""
DECODED_IN_LOOP = 1_000
"""Events that the loop decodes itself. More of them would hold up other requests, so a thread decodes them."""
MAX_EXAMINED = 1_000
"""Events that a read of the newest matching ones examines."""


class ReadSorted(Protocol):
    """Read of the first documents that a filter finds, in an order."""

    def __call__(self, where: Doc, *, sort: Sequence[tuple[str, int]], limit: int) -> Awaitable[list[Doc]]:
        """Return the documents."""


async def read_expiring(
    read: ReadSorted, card: Pass, measure: Measure, after_ms: int, *, batch_size: int
) -> tuple[Sequence[Expiring], bool]:
    """Return what leaves a window next, among counted events after `after_ms`, and whether more follow.

    Index: {workspace, pass, occurred_at, _id}, read in batches until 100 instants, or those of a gap, are complete.
    """
    pairs: list[Expiring] = []
    end_ms = page_end_ms(card.measures.get(measure.key), after_ms)
    before = {} if end_ms is None else {"$lt": from_ms(end_ms)}
    read_ms, after_id = after_ms + 1, ""
    as_counting = counting_in(card)
    made = sorted((e for e in card.made_events if e.occurred_ms > after_ms), key=lambda e: e.occurred_ms)
    in_outbox = group_expiring(measure, made)
    while True:
        where: Doc = {
            "workspace": card.workspace_id,
            "pass": card.id,
            "occurred_at": {"$gte": from_ms(read_ms), **before},
        }
        if after_id:
            where |= {"occurred_at": from_ms(read_ms), "_id": {"$gt": after_id}}
        docs = await read(where, sort=(("occurred_at", 1), ("_id", 1)), limit=batch_size)
        is_full = len(docs) == batch_size
        if is_full and docs[0]["occurred_at"] != docs[-1]["occurred_at"]:
            # More events of the last instant may follow, so the next batch begins with that instant.
            last = docs[-1]["occurred_at"]
            docs = [doc for doc in docs if doc["occurred_at"] != last]
            next_ms, next_id = to_ms(last), ""
        elif is_full:
            next_ms, next_id = to_ms(docs[-1]["occurred_at"]), docs[-1]["_id"]
        else:
            next_ms, next_id = read_ms + 1, ""
        pairs = append_expiring(measure, pairs, group_expiring(measure, list(filter(None, map(as_counting, docs)))))
        if (end_ms is None and len(pairs) > MAX_EXPIRING) or not (is_full or after_id):
            return cut_page(merge_expiring(measure, pairs, in_outbox), end_ms)
        read_ms, after_id = next_ms, next_id


class CountedEventQueries(WorkspaceQueries):
    """Events that count in passes of one workspace. Errors: Unavailable, safe to repeat."""

    collection = "events"

    async def history(self, card: Pass) -> list[Event]:
        """Return all events that count in the pass as read, also those that only its outbox has.

        Index: {workspace, pass, occurred_at, _id}.
        """
        return (await self.histories([card]))[card.id]

    async def histories(self, cards: Sequence[Pass]) -> dict[str, list[Event]]:
        """Return the histories of several passes by pass id. Index: {workspace, pass, occurred_at, _id}."""

        async def find_chunk(pass_ids: Sequence[str]) -> list[Doc]:
            return await self._collection.find(self._in_workspace(**{"pass": {"$in": list(pass_ids)}})).to_list(None)

        found = {card.id: card.made_events for card in cards}
        as_counting = {card.id: counting_in(card) for card in cards}
        docs = await in_chunks(find_chunk, list(found), min(self._in_chunk, PASSES_PER_READ))

        def decode() -> dict[str, list[Event]]:
            for doc in docs:
                if (event := as_counting[doc["pass"]](doc)) is not None:
                    found[doc["pass"]].append(event)
            return found

        return await asyncio.to_thread(decode) if len(docs) > DECODED_IN_LOOP else decode()

    async def expiring(self, card: Pass, measure: Measure, after_ms: int, max_events: int) -> tuple[WindowPage, int]:
        """Return the page of a window after an instant, and the number of events read.

        Raises TooMuchToRead if it takes more events than `max_events`. Index: {workspace, pass, occurred_at, _id}.
        """
        examined = 0

        async def read(where: Doc, *, sort: Sequence[tuple[str, int]], limit: int) -> list[Doc]:
            nonlocal examined
            if examined + limit > max_events:
                raise TooMuchToRead
            docs: list[Doc] = await self._collection.find(where).sort(list(sort)).limit(limit).to_list(None)
            examined += len(docs)
            return docs

        expiring, has_more = await read_expiring(read, card, measure, after_ms, batch_size=PAGE_BATCH_SIZE)
        return WindowPage(after_ms, expiring, has_more), examined

    async def latest_matching(
        self, card: Pass, matches: Callable[[Event], bool], span_ms: tuple[int | None, int | None], limit: int
    ) -> tuple[list[Event], bool]:
        """Return the newest events that count in the pass and match, among the newest `MAX_EXAMINED` of a span of time.

        The second value is true if more may follow. Index: {workspace, pass, occurred_at, _id}.
        """
        start_ms, end_ms = span_ms
        occurred: dict[str, Any] = {} if start_ms is None else {"$gte": from_ms(start_ms)}
        if end_ms is not None:
            # For $lte, the embedded server leaves out equal values.
            occurred["$lt"] = from_ms(end_ms + 1)
        where = self._in_workspace(**{"pass": card.id}, **({"occurred_at": occurred} if occurred else {}))
        cursor = self._collection.find(where).sort([("occurred_at", -1), ("_id", -1)]).limit(MAX_EXAMINED)
        docs: list[Doc] = await cursor.to_list(None)
        events = list(filter(None, map(counting_in(card), docs)))
        events += [
            event
            for event in card.made_events
            if (start_ms is None or event.occurred_ms >= start_ms) and (end_ms is None or event.occurred_ms <= end_ms)
        ]
        found = sorted(filter(matches, events), key=lambda event: (event.occurred_ms, event.id), reverse=True)
        return found[:limit], len(found) > limit or len(docs) == MAX_EXAMINED
