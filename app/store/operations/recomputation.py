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
from app.domain.insights.period_comparison import StoredPeriods, compare_periods
from app.domain.passes.passes import Pass
from app.domain.rollups.periods import PassPeriod, sum_months
from app.store.codecs.counting import counting_in
from app.store.codecs.pass_periods import periods_of_pass
from app.store.codecs.passes import from_doc
from app.store.mongo.queries import Database, Doc, ErrorTranslating
from app.store.workspace.definitions import DefinitionQueries
from app.store.workspace.pass_periods import LAST_MONTHS_MARKED, are_passes_marked

from .consistency import EVENTS_READ, LOOKS, Finding, batches_of, pass_ids

PASSES_AT_ONCE = 4
SEALED_FIELDS = ("months", "active", "first_active", "dirty_months")
"""Fields of a pass that its sealing writes without another version of the pass."""


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
    - `is_whole`: whether all was compared; else only the aggregates and the sums by month were, for it has too many events.
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
        self._is_marked = False

    async def check(self, report: Callable[[Finding], None], advance: Callable[[Recomputed], None]) -> Recomputed:
        """Recompute every pass, call `report` for each finding, and return the counts.

        `advance` is called with the counts after each part. Indexes as for `compare`.
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
        """Compare a few passes at once with their events.

        Indexes: _id, {workspace, pass, occurred_at, _id}, {workspace, pass, period}.
        """
        return await asyncio.gather(*map(self._compare_pass, some_ids))

    async def _compare_pass(self, pass_id: str) -> Comparison:
        doc, card = await self._read_pass(pass_id), None
        for _ in range(LOOKS):
            if doc is None:
                return Comparison(None)
            card = from_doc(doc)
            if card.erased is not None or card.alias_of is not None:
                return Comparison(None)
            found = await self._recompute(card, doc)
            before, doc = doc, await self._read_pass(pass_id)
            # If the pass was written meanwhile, the events and the pass may be of two moments.
            if doc is not None and all(doc.get(name) == before.get(name) for name in ("v", "fid", *SEALED_FIELDS)):
                return found
        return Comparison(None if doc is None else card, is_moving=doc is not None)

    async def _read_pass(self, pass_id: str) -> Doc | None:
        found: Doc | None = await self._db["passes"].find_one({"_id": pass_id})
        return found

    async def _read_periods(self, doc: Doc) -> StoredPeriods | None:
        """Return what is sealed of a pass; None if an upgrade has not marked its months yet.

        Index: {workspace, pass, period}.
        """
        if not (self._is_marked or await are_passes_marked(self._db, LAST_MONTHS_MARKED)):
            return None
        self._is_marked = True
        where = {"workspace": doc["workspace"], "pass": doc["_id"], "period": {"$gte": 0}}
        return periods_of_pass(doc, await self._db["pass_periods"].find(where).to_list(None))

    async def _recompute(self, card: Pass, doc: Doc) -> Comparison:
        # Contents that the pass named when it was read are kept for a day.
        periods = await self._read_periods(doc)
        months = sum_months(card.made_events)
        definitions = await self._read_definitions(card)
        recomputation, as_counting, count, parked = Recomputation(card), counting_in(card), len(card.made_events), 0
        recomputation.add(card.made_events)
        cursor = self._db["events"].find({"workspace": card.workspace_id, "pass": card.id}, batch_size=EVENTS_READ)
        async for docs in batches_of(cursor, EVENTS_READ):
            counting = list(filter(None, map(as_counting, docs)))
            count += len(counting)
            recomputation.add(counting)
            for month, sums in sum_months(counting).items():
                months[month] = months.get(month, PassPeriod()) + sums
            parked += sum(doc.get("pend") == -1 - slot_of(card.id) for doc in docs)
        return Comparison(
            card,
            differences=[
                # It may take a second of processor time, while a worker renews leases.
                *await asyncio.to_thread(recomputation.find_differences, definitions),
                *([] if periods is None else compare_periods(periods, months)),
            ],
            is_whole=recomputation.is_whole,
            parked_events=0 if "parked" in doc else parked,
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
