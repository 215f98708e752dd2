"""Reads and writes of the stage that seals the months and years of passes. Only `workers` may import them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pymongo import DeleteOne, UpdateOne

from app.domain.events.events import Event
from app.domain.passes.passes import Pass
from app.domain.rollups.active_periods import changed_periods, first_month
from app.domain.rollups.periods import ALL_MONTHS, PassPeriod, bounds_of, is_month, sum_months, token_of
from app.domain.rollups.twelve_months import TwelveMonths
from app.domain.values.instants import EARLIEST, LATEST
from app.store.codecs.counting import counting_in
from app.store.codecs.pass_periods import period_from_docs, period_to_docs, values_of_docs
from app.store.codecs.pass_search import FIND_PROJECTION
from app.store.codecs.passes import from_doc
from app.store.codecs.recounts import periods_to_recount, recount_part
from app.store.mongo.queries import Database, Doc, StageQueries, equal_to, in_chunks, insert_new, match_by_index
from app.store.mongo.read_order import reads_in_order
from app.store.mongo.time_ranges import RangeScan
from app.store.workspace.pass_periods import are_passes_marked
from app.store.workspace.rollup_heads import new_mark

from .active_counts import Recount

MAX_DIRTY_READ = 10_000
"""Passes of a workspace that one look for passes to be sealed reads."""
PAGE_SIZE = 5_000
"""Events of a pass that one read returns. Several passes with fewer are read at once."""
MAX_DOUBTED_READ = 1_000
"""Documents in doubt that one look reads."""
_PROJECTION = {name: shown for name, shown in FIND_PROJECTION.items() if name not in ("months", "active")}


@dataclass(frozen=True, slots=True)
class SealedPass:
    """Pass as read, with the token of each of its sealed months and years, and those of them with a customer's event.

    `recount` has the periods whose numbers of active passes may be out of date because of earlier writes to the pass.
    """

    card: Pass
    tokens: Mapping[int, int] = field(default_factory=dict)
    active: frozenset[int] = frozenset()
    recount: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Sealing:
    """What one write to a pass seals: the sums of months and years that changed, empty ones included.

    `twelve` has the sums of twelve months of the last month, if it is among these months.
    """

    before: SealedPass
    sums: Mapping[int, PassPeriod]
    twelve: Mapping[int, Mapping[str, TwelveMonths]] = field(default_factory=dict)
    mark: int = field(default_factory=new_mark)

    @property
    def token(self) -> int:
        """The token of the contents: that of the version of the pass that was read."""
        return token_of(self.before.card.write_id)

    def docs(self) -> Iterator[Doc]:
        """Yield the documents of the contents."""
        for period, sums in self.sums.items():
            twelve = self.twelve.get(period, {})
            yield from period_to_docs(self.before.card, period, self.token, sums, twelve=twelve)

    def replaces(self, docs: Iterable[Doc]) -> list[str]:
        """Return the ids of those contents of the pass that no pass names after the write."""
        return [doc["_id"] for doc in docs if doc["period"] in self.sums and doc["token"] != self.token]

    @property
    def active(self) -> frozenset[int]:
        """The sealed months and years with an event of the customer, after the write."""
        return (self.before.active - self.sums.keys()) | {each for each, sums in self.sums.items() if sums.count}

    @property
    def recount(self) -> Recount | None:
        """What the write says to be counted anew; None if it changes no number of active passes."""
        changed = changed_periods(self.before.active, self.active)
        return Recount(self.before.card.id, self.mark, changed | self.before.recount) if changed else None


class PassPeriodQueries(StageQueries):
    """Named queries of the sealing of passes. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, in_chunk, is_sharded=is_sharded)
        self._passes, self._events, self._periods = db["passes"], db["events"], db["pass_periods"]

    async def dirty(self, workspace_id: str) -> list[str]:
        """Return passes of a workspace with months to be sealed, up to MAX_DIRTY_READ. Index: {workspace, dirty_from}.

        None are returned until the passes of earlier versions are marked.
        """
        if not await are_passes_marked(self._db):
            return []
        where = {"workspace": workspace_id, "dirty_from": {"$gte": 0}}
        docs = await self._read_docs(self._passes, where, {"_id": 1}, limit=MAX_DIRTY_READ)
        return [doc["_id"] for doc in docs]

    async def read(self, pass_ids: Collection[str], workspace_id: str) -> list[SealedPass]:
        """Return the passes that have months to be sealed now, complete, with what is sealed. Index: _id."""
        workspace_ids = dict.fromkeys(pass_ids, workspace_id)
        docs = await self._find_by_ids(self._passes, pass_ids, workspace_ids, dict(_PROJECTION))
        return [_sealed_from_doc(doc) for doc in docs if "dirty_months" in doc]

    async def sums(self, cards: Sequence[Pass], month: int) -> dict[str, dict[int, PassPeriod]]:
        """Return by pass, and by month, the sums of the events that count in the pass as read.

        Events of one month are read, or those of all months for ALL_MONTHS. A month without events is left out. Passes with
        many events are read one by one, in pages. Index: {workspace, pass, occurred_at, _id}.
        """
        small = [card for card in cards if card.event_count <= PAGE_SIZE]
        found = {card.id: _sum(card.made_events, month) for card in cards}

        def add(card: Pass, docs: Sequence[Doc]) -> None:
            events = list(filter(None, map(as_counting[card.id], docs)))
            for each, sums in _sum(events, month).items():
                found[card.id][each] = found[card.id].get(each, PassPeriod()) + sums

        async def find_chunk(chunk: Sequence[Pass]) -> list[Doc]:
            of_passes = {"workspace": chunk[0].workspace_id, "pass": {"$in": [card.id for card in chunk]}}
            return await self._aggregate(self._events, match_by_index({**of_passes, **_in_month(month)}))

        as_counting = {card.id: counting_in(card) for card in cards}
        by_pass: dict[str, list[Doc]] = {}
        for doc in await in_chunks(find_chunk, small, self._in_chunk):
            by_pass.setdefault(doc["pass"], []).append(doc)
        for card in cards:
            if card.event_count <= PAGE_SIZE:
                add(card, by_pass.get(card.id, ()))
                continue
            where = {"workspace": card.workspace_id, "pass": card.id, **_in_month(month)}
            collection = reads_in_order(self._db.client, self._events)
            scan = RangeScan(collection, where, by=("workspace", "pass"), first="occurred_at", ascending=True)
            while not scan.is_over:
                await asyncio.to_thread(add, card, await scan.read(PAGE_SIZE))
        return found

    async def contents(
        self, passes: Mapping[str, SealedPass], periods: Collection[int], *, are_values_enough: bool = False
    ) -> dict[str, list[Doc]]:
        """Return by pass the documents of these months and years, valid or not, or only their values.

        Index: {workspace, pass, period}.
        """
        fields = {"pass": 1, "period": 1, "token": 1, "measure": 1, "value": 1} if are_values_enough else None

        async def find_chunk(chunk: Sequence[SealedPass]) -> list[Doc]:
            ids = [each.card.id for each in chunk]
            where = {"workspace": chunk[0].card.workspace_id, "pass": {"$in": ids}, "period": {"$in": sorted(periods)}}
            shown = [{"$project": fields}] if fields else []
            return await self._aggregate(self._periods, [*match_by_index(where), *shown])

        found: dict[str, list[Doc]] = {pass_id: [] for pass_id in passes}
        for doc in await in_chunks(find_chunk, list(passes.values()) if periods else (), self._in_chunk):
            found[doc["pass"]].append(doc)
        return found

    async def insert(self, sealings: Sequence[Sealing], system_ms: int) -> None:
        """Insert the contents of sealings, in doubt until `commit` has named them. Safe to repeat. Index: _id."""
        docs = [{**doc, "doubt": system_ms} for each in sealings for doc in each.docs()]
        for start in range(0, len(docs), self._in_chunk):
            await insert_new(self._periods, docs[start : start + self._in_chunk])

    async def commit(self, sealings: Sequence[Sealing]) -> set[str]:
        """Name the contents in the passes, if these still have the version that was read. Return the passes that do.

        Safe to repeat. Index: _id.
        """
        for start in range(0, len(sealings), self._in_chunk):
            operations = [self._commit_operation(each) for each in sealings[start : start + self._in_chunk]]
            await self._passes.bulk_write(operations, ordered=False)
        wanted = {each.before.card.id: each for each in sealings}
        workspace_ids = {pass_id: each.before.card.workspace_id for pass_id, each in wanted.items()}
        fields = {"v": 1, "fid": 1, "dirty_months": 1}
        docs = await self._find_by_ids(self._passes, wanted, workspace_ids, fields)
        return {
            doc["_id"]
            for doc in docs
            if "dirty_months" not in doc and doc["fid"] == wanted[doc["_id"]].before.card.write_id
        }

    def _commit_operation(self, sealing: Sealing) -> UpdateOne:
        card = sealing.before.card
        conditions = {"v": equal_to(card.version), "fid": equal_to(card.write_id)}
        active = sorted(sealing.active)
        changes: dict[str, Any] = {"active": active}
        unset: dict[str, str] = {"dirty_months": "", "dirty_from": ""}
        for period, sums in sealing.sums.items():
            if sums.is_empty:
                unset[f"months.{period}"] = ""
            else:
                changes[f"months.{period}"] = sealing.token
        first = first_month(active)
        if first is None:
            unset["first_active"] = ""
        else:
            changes["first_active"] = first
        if recount := sealing.recount:
            changes |= recount_part(recount.periods, recount.mark)
        return UpdateOne(self._by_id(card.id, card.workspace_id, **conditions), {"$set": changes, "$unset": unset})

    async def clear_doubt(
        self, workspace_id: str, valid: Sequence[str], doubted: Sequence[str], system_ms: int
    ) -> None:
        """Take the doubt from contents, by id, that passes name, and doubt contents that they named before.

        Safe to repeat. Index: _id.
        """
        operations = [UpdateOne(self._by_id(each, workspace_id), {"$unset": {"doubt": ""}}) for each in valid]
        operations += [UpdateOne(self._by_id(each, workspace_id), {"$set": {"doubt": system_ms}}) for each in doubted]
        for start in range(0, len(operations), self._in_chunk):
            await self._periods.bulk_write(operations[start : start + self._in_chunk], ordered=False)

    async def doubted(self, before_ms: int) -> list[Doc]:
        """Return some contents in doubt since before an instant of the system. Index: {doubt}."""
        where = {"doubt": {"$gte": 0, "$lt": before_ms}}
        fields = {"pass": 1, "period": 1, "token": 1, "workspace": 1}
        return await self._read_docs(self._periods, where, fields, limit=MAX_DOUBTED_READ)

    async def decide_doubted(self, docs: Sequence[Doc]) -> None:
        """Delete those contents in doubt that no pass names, and take the doubt from the others. Index: _id.

        A worker that could still name them must have ended.
        """
        workspace_ids = {doc["pass"]: doc["workspace"] for doc in docs}
        found = await self._find_by_ids(self._passes, workspace_ids, workspace_ids, {"months": 1})
        tokens = {doc["_id"]: doc.get("months", {}) for doc in found}
        operations: list[UpdateOne | DeleteOne] = []
        for doc in docs:
            where = self._by_id(doc["_id"], doc["workspace"])
            is_named = tokens.get(doc["pass"], {}).get(str(doc["period"])) == doc["token"]
            operations.append(UpdateOne(where, {"$unset": {"doubt": ""}}) if is_named else DeleteOne(where))
        for start in range(0, len(operations), self._in_chunk):
            await self._periods.bulk_write(operations[start : start + self._in_chunk], ordered=False)

    async def delete_of_pass(self, card: Pass) -> None:
        """Delete all contents of a pass that ended. Safe to repeat. Index: {workspace, pass, period}."""
        await self._periods.delete_many({"workspace": card.workspace_id, "pass": card.id})


def valid_sums(sealed: SealedPass, docs: Sequence[Doc]) -> dict[int, PassPeriod]:
    """Return the sums of those months and years of a pass that its tokens name."""
    return {period: period_from_docs(found) for period, found in _valid_docs(sealed, docs).items()}


def valid_values(sealed: SealedPass, docs: Sequence[Doc]) -> dict[int, dict[str, Decimal]]:
    """Return the values by measure of those months of a pass that its tokens name."""
    return {period: values_of_docs(found) for period, found in _valid_docs(sealed, docs).items() if is_month(period)}


def _valid_docs(sealed: SealedPass, docs: Sequence[Doc]) -> dict[int, list[Doc]]:
    by_period: dict[int, list[Doc]] = {}
    for doc in docs:
        if sealed.tokens.get(doc["period"]) == doc["token"]:
            by_period.setdefault(doc["period"], []).append(doc)
    return by_period


def _in_month(month: int) -> Doc:
    start, end = (EARLIEST, LATEST) if month == ALL_MONTHS else bounds_of(month)
    return {"occurred_at": {"$gte": start, "$lt": end}}


def _sum(events: Sequence[Event], month: int) -> dict[int, PassPeriod]:
    return {each: sums for each, sums in sum_months(events).items() if month in (ALL_MONTHS, each)}


def _sealed_from_doc(doc: Doc) -> SealedPass:
    tokens = {int(period): token for period, token in doc.get("months", {}).items()}
    return SealedPass(from_doc(doc), tokens, frozenset(doc.get("active", ())), recount=periods_to_recount(doc))
