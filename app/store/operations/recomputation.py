"""Recomputation of all passes from their events, for `punchcard check --deep`. It only reads, also while workers run.

The memory it takes does not grow with the database: it reads a few passes at once, and the events of a pass in parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from app.domain.definitions import Definitions
from app.domain.fold.recomputation import Difference, Recomputation
from app.domain.ids import slot_of
from app.domain.passes.passes import Pass
from app.store.codecs.counting import counting_in
from app.store.codecs.passes import from_doc
from app.store.mongo.queries import Database, ErrorTranslating
from app.store.workspace.definitions import DefinitionQueries

from .consistency import EVENTS_READ, LOOKS, Finding, batches_of, pass_ids

PASSES_AT_ONCE = 4


@dataclass(slots=True)
class Recomputed:
    """Counts of a run: passes and events compared, passes compared by their aggregates only, and passes never at rest."""

    passes: int = 0
    events: int = 0
    too_long: int = 0
    moving: int = 0

    def add(self, compared: Comparison) -> None:
        """Count a pass."""
        if compared.is_moving:
            self.moving += 1
        elif compared.card is not None:
            self.passes += 1
            self.events += compared.events
            self.too_long += not compared.is_whole


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of one pass with its events.

    - `card`: the pass as read; None if it does not exist any more, was erased or merged.
    - `is_moving`: whether the pass was written during each look. Nothing was compared then.
    - `is_whole`: whether all was compared; else only the aggregates were, for the pass has too many events.
    - `parked_events`: events that are parked although the pass is not. They never count.
    - `events`: events that count.
    """

    card: Pass | None
    is_moving: bool = False
    differences: Sequence[Difference] = ()
    is_whole: bool = True
    parked_events: int = 0
    events: int = 0


class DeepCheck(ErrorTranslating):
    """The check of each pass against its events. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int) -> None:
        self._db, self._in_chunk = db, in_chunk
        self._definitions: dict[str, Definitions] = {}

    async def check(self, report: Callable[[Finding], None], advance: Callable[[Recomputed], None]) -> Recomputed:
        """Recompute every pass, call `report` for each finding, and return the counts.

        `advance` is called with the counts after each part. Indexes: _id, {workspace, pass, occurred_at, _id}.
        """
        done = Recomputed()
        async for ids in pass_ids(self._db, self._in_chunk):
            for start in range(0, len(ids), PASSES_AT_ONCE):
                for compared in await self.compare(ids[start : start + PASSES_AT_ONCE]):
                    done.add(compared)
                    for finding in _findings_of(compared):
                        report(finding)
            advance(done)
        return done

    async def compare(self, some_ids: Sequence[str]) -> list[Comparison]:
        """Compare a few passes at once with their events. Indexes: _id, {workspace, pass, occurred_at, _id}."""
        return await asyncio.gather(*map(self._compare_pass, some_ids))

    async def _compare_pass(self, pass_id: str) -> Comparison:
        card, is_parked = await self._read_pass(pass_id)
        for _ in range(LOOKS):
            if card is None or card.erased is not None or card.alias_of is not None:
                return Comparison(None)
            found = await self._recompute(card, is_parked)
            before, (card, is_parked) = card, await self._read_pass(pass_id)
            # If the pass was written meanwhile, the events and the pass may be of two moments.
            if card is not None and (card.version, card.write_id) == (before.version, before.write_id):
                return found
        return Comparison(card, is_moving=card is not None)

    async def _read_pass(self, pass_id: str) -> tuple[Pass | None, bool]:
        """Return the pass, and whether it is parked."""
        doc = await self._db["passes"].find_one({"_id": pass_id})
        return (None, False) if doc is None else (from_doc(doc), "parked" in doc)

    async def _recompute(self, card: Pass, is_parked: bool) -> Comparison:
        definitions = await self._read_definitions(card)
        recomputation, as_counting, count, parked = Recomputation(card), counting_in(card), len(card.made_events), 0
        recomputation.add(card.made_events)
        cursor = self._db["events"].find({"workspace": card.workspace_id, "pass": card.id}, batch_size=EVENTS_READ)
        async for docs in batches_of(cursor, EVENTS_READ):
            counting = list(filter(None, map(as_counting, docs)))
            count += len(counting)
            recomputation.add(counting)
            parked += sum(doc.get("pend") == -1 - slot_of(card.id) for doc in docs)
        return Comparison(
            card,
            # It may take a second of processor time, while a worker renews leases.
            differences=await asyncio.to_thread(recomputation.find_differences, definitions),
            is_whole=recomputation.is_whole,
            parked_events=0 if is_parked else parked,
            events=count,
        )

    async def _read_definitions(self, card: Pass) -> Definitions:
        """Return the definitions of the pass's workspace. They are read again for a pass that has a later revision."""
        found = self._definitions.get(card.workspace_id, Definitions())
        if card.revision > found.revision:
            queries = DefinitionQueries(self._db, card.workspace_id, self._in_chunk)
            found = Definitions(await queries.versions())
            self._definitions[card.workspace_id] = found
        return found


def _findings_of(compared: Comparison) -> Iterator[Finding]:
    card = compared.card
    if card is None:
        return
    for difference in compared.differences:
        yield Finding(card.workspace_id, card.id, str(difference))
    if compared.parked_events:
        text = f"{compared.parked_events} of its events are parked, but the pass is not: they never count."
        yield Finding(card.workspace_id, card.id, text)
