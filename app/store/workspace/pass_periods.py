"""Sealed months and years of the passes of one workspace, and the events that are not in them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from app.domain.errors import Code, InvalidInput
from app.domain.events.events import Event
from app.domain.rollups.covers import Span
from app.domain.rollups.periods import COUNT, LAST_MONTH, month_of
from app.domain.values.decimals import ZERO
from app.store.codecs.counting import COUNTED, waits
from app.store.codecs.events import from_doc
from app.store.codecs.pass_periods import period_id
from app.store.mongo.decimal128 import from_decimal128, to_decimal128
from app.store.mongo.paging import PageRequest, count_results, read_page
from app.store.mongo.queries import Database, Doc, WorkspaceQueries, in_chunks, match_by_index, translating_errors
from app.store.mongo.usage import charge, charge_counted

MARKED = "pass_months"
"""The document in `constants` that says that passes of earlier versions are marked to be sealed."""
LAST_MONTHS_MARKED = "pass_last_months"
"""The document in `constants` that says that passes are marked whose last month an earlier version has sealed."""
MAX_UNSEALED_EVENTS = 50_000
"""Events outside of sealed months that one question about passes reads."""


class Ranking(NamedTuple):
    """List of passes by a value of their contents: of those of a month or year, or of last months in a year."""

    values: str
    period: int


PERIOD, TWELVE_ENDING, TWELVE_BEFORE, TWELVE_LATER = "value", "twelve", "twelve_before", "twelve_later"
"""Values by which passes are listed: those of a month or year, and the sums of twelve months of a last month."""


class RankedPass(NamedTuple):
    """Value of a pass in a content of a month or year. It is valid if the pass names the token."""

    pass_id: str
    value: Decimal
    token: int
    period: int


class Content(NamedTuple):
    """Sums of a month or year of a pass under a token."""

    pass_id: str
    period: int
    token: int


@dataclass(frozen=True, slots=True)
class PassState:
    """What is sealed of a pass: the token of each month and year, those with an event of the customer, and the marks."""

    tokens: Mapping[int, int] = field(default_factory=dict)
    active: frozenset[int] = frozenset()
    dirty_months: frozenset[int] = frozenset()


class PassPeriodReads(WorkspaceQueries):
    """Reads for questions about the passes of one workspace. Errors: Unavailable, safe to repeat.

    A question counts the events that it has read outside of sealed months in a `EventRoom`.
    """

    collection = "pass_periods"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, workspace_id, in_chunk, is_sharded=is_sharded)
        self._passes, self._events = db["passes"], db["events"]

    async def are_marked(self) -> bool:
        """Return whether every pass with events has a mark or sealed months. Index: _id."""
        return await are_passes_marked(self._db)

    async def have_twelve_months(self) -> bool:
        """Return whether each pass has sums of twelve months with its last month, as far as that is sealed.

        Once it is so, it remains so. Indexes: _id, {workspace, dirty_from}.
        """
        if not await are_passes_marked(self._db, LAST_MONTHS_MARKED):
            return False
        # The mark is a condition of its own: together, the embedded server reads all passes of the workspace.
        stages: list[Doc] = [
            {"$match": self._in_workspace(dirty_from={"$gte": 0})},
            {"$match": {"dirty_months": LAST_MONTH}},
            {"$limit": 1},
        ]
        return not await self._passes.aggregate([*stages, {"$project": {"_id": 1}}]).to_list(None)

    async def ranked(
        self, measure: str, ranking: Ranking, after: RankedPass | None, limit: int, *, low: Decimal
    ) -> tuple[list[RankedPass], bool]:
        """Return the next passes of a list by the value of a measure, greatest first, and whether more follow.

        Values below `low` are left out: the embedded servers read the whole range, whatever the limit is. Index: {workspace,
        measure, period, value, pass}, or one with the sums of twelve months in place of the value.
        """
        field, by = ranking.values, "last_year" if ranking.values == TWELVE_LATER else "period"
        # A question reads many ranges, and most of them are empty.
        await charge(1)
        key = None if after is None else (to_decimal128(after.value), after.pass_id)
        page = await read_page(
            self._collection,
            self._in_workspace(measure=measure, **{by: ranking.period, field: {"$gte": to_decimal128(low)}}),
            ((field, -1), ("pass", -1)),
            PageRequest(limit, after=key),
            partial(_ranked_from_doc, field),
            {"pass": 1, field: 1, "token": 1, "period": 1},
            by=("workspace", "measure", by),
        )
        charge_counted(len(page.items), examined=True)
        return page.items, page.has_more

    async def has_contents(self, measure: str, first: int, last: int) -> bool:
        """Return whether a pass has a value of a measure in a month of a span, valid or not.

        The embedded servers read all values of the span. Index: {workspace, measure, period, value, pass}.
        """
        where = self._in_workspace(measure=measure, period={"$gte": first, "$lt": last + 1})
        return await self._collection.find_one(where, {"_id": 1}) is not None

    async def with_contents(self, first: int, last: int, limit: int) -> set[str]:
        """Return up to `limit` passes with an event in a month of a span, valid or not.

        Index: {workspace, measure, period, value, pass}.
        """
        # Each content has a document of this measure.
        where = self._in_workspace(measure=COUNT, period={"$gte": first, "$lt": last + 1})
        docs = await self._collection.find(where, {"pass": 1}).limit(limit).to_list(None)
        charge_counted(len(docs), examined=True)
        return {doc["pass"] for doc in docs}

    async def below_zero(self, measure: str, period: int, limit: int) -> set[str]:
        """Return up to `limit` passes with a value below 0 in a month or year, valid or not.

        Index: {workspace, measure, period, value, pass}.
        """
        where = self._in_workspace(measure=measure, period=period, value={"$lt": to_decimal128(ZERO)})
        docs = await self._collection.find(where, {"pass": 1}).limit(limit).to_list(None)
        charge_counted(len(docs), examined=True)
        return {doc["pass"] for doc in docs}

    async def values(self, measure: str, contents: Iterable[Content]) -> dict[Content, Decimal]:
        """Return the values of a measure in contents. Those without a value are left out. Index: _id.

        Each content has one document for each measure, so an index by pass would find several times as many.
        """
        wanted = {
            period_id(content.pass_id, content.period, token=content.token, measure=measure): content
            for content in contents
        }
        docs = await self._by_ids(wanted, {"value": 1})
        charge_counted(len(docs), examined=True)
        return {wanted[doc["_id"]]: from_decimal128(doc["value"]) for doc in docs}

    async def states(self, pass_ids: Collection[str]) -> dict[str, PassState]:
        """Return what is sealed of those of the passes that exist and are neither merged nor erased. Index: _id."""

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            found = self._passes.find(self._by_id({"$in": list(chunk)}), _STATE_FIELDS)
            return [doc for doc in await found.to_list(None) if doc["workspace"] == self._workspace_id]

        docs = await in_chunks(find_chunk, sorted(pass_ids), self._in_chunk)
        charge_counted(len(docs), examined=True)
        return {doc["_id"]: _state_from_doc(doc) for doc in docs if "created_at" in doc}

    async def count_active(self, periods: Collection[int]) -> int:
        """Return the number of passes with an event of the customer in one of these sealed months or years.

        Index: {workspace, active}.
        """
        count = await self._passes.count_documents(self._in_workspace(active={"$in": sorted(periods)}))
        charge_counted(count)
        return count

    async def count_new(self, first_month: int, last_month: int) -> int:
        """Return the number of passes whose first sealed month with an event of the customer is one of a span.

        Index: {workspace, first_active}.
        """
        count = await self._passes.count_documents(
            self._in_workspace(first_active={"$gte": first_month, "$lt": last_month + 1})
        )
        charge_counted(count)
        return count

    async def dirty(self, last_month: int) -> dict[str, PassState]:
        """Return the passes with a mark of a month up to the last one, or of all. Index: {workspace, dirty_from}.

        Raises InvalidInput with the code LIMIT and advice if there are more than MAX_UNSEALED_EVENTS.
        """
        where = self._in_workspace(dirty_from={"$gte": 0, "$lt": last_month + 1})
        docs = await self._passes.find(where, _STATE_FIELDS).limit(MAX_UNSEALED_EVENTS + 1).to_list(None)
        EventRoom().take(len(docs))
        charge_counted(len(docs), examined=True)
        return {doc["_id"]: _state_from_doc(doc) for doc in docs}

    async def stale_months(self, span: Span, last_month: int, room: EventRoom) -> dict[str, set[int]]:
        """Return by pass the months whose sums may lack events: those of its pending events of a span, and marked ones.

        Months are marked up to the last one; ALL_MONTHS stands for all. Raises and reads as `pending_months` and `dirty`.
        """
        # An event that is folded between the two reads is pending for the first, or marked for the second.
        found = await self.pending_months(span, room)
        for pass_id, state in (await self.dirty(last_month)).items():
            found.setdefault(pass_id, set()).update(state.dirty_months)
        return found

    async def pending_months(self, span: Span, room: EventRoom) -> dict[str, set[int]]:
        """Return by pass the months of its pending events of a span. Index: {pend, workspace, …} or one of pending events.

        Raises InvalidInput with the code LIMIT and advice if there is no room for them.
        """
        # The instant is a condition of its own: together, the embedded server reads all events of the workspace.
        stages: list[Doc] = [
            {"$match": self._in_workspace(pend={"$gte": 0})},
            {"$match": {"occurred_at": {"$gte": span.after, "$lt": span.before}}},
            {"$limit": room.left + 1},
            {"$project": {"pass": 1, "occurred_at": 1}},
        ]
        docs = await self._events.aggregate(stages).to_list(None)
        room.take(len(docs))
        charge_counted(len(docs), examined=True)
        found: dict[str, set[int]] = {}
        for doc in docs:
            found.setdefault(doc["pass"], set()).add(month_of(doc["occurred_at"]))
        return found

    async def events(
        self, spans: Iterable[Span], room: EventRoom, pass_ids: Collection[str] | None = None
    ) -> list[Event]:
        """Return the events of spans, or those of some passes, pending ones included.

        Internal and declined events are left out, and those that wait for a decision.

        Raises InvalidInput with the code LIMIT and advice if there is no room for them. Index: {workspace, occurred_at,
        _id}, or {workspace, pass, occurred_at, _id}.
        """

        async def find(span: Span, chunk: Sequence[str] | None) -> list[Doc]:
            of_passes = {} if chunk is None else {"pass": {"$in": list(chunk)}}
            during = {"$gte": span.after, "$lt": span.before}
            stages = match_by_index(self._in_workspace(**of_passes, occurred_at=during))
            # Count first: the documents of a long span must not be loaded.
            number = await count_results(self._events, [*stages, {"$limit": room.left + 1}])
            room.take(number)
            await charge(number)
            counted = [*stages, {"$match": {"$and": COUNTED}}]
            return await self._events.aggregate(counted).to_list(None) if number else []

        size = self._in_chunk
        ids = None if pass_ids is None else sorted(pass_ids)
        chunks = [None] if ids is None else [ids[start : start + size] for start in range(0, len(ids), size)]
        found = await asyncio.gather(*(find(span, chunk) for span in spans for chunk in chunks))
        return [from_doc(doc) for docs in found for doc in docs if not waits(doc)]


class EventRoom:
    """Room for the events that one question reads outside of sealed months."""

    def __init__(self) -> None:
        self.left = MAX_UNSEALED_EVENTS

    def take(self, count: int) -> None:
        """Take room for events. Raises InvalidInput with the code LIMIT and advice if there is too little."""
        self.left -= count
        if self.left < 0:
            raise InvalidInput(
                Code.LIMIT,
                f"More than {MAX_UNSEALED_EVENTS:,} events of this time are in no sum of a month yet. Ask for whole months, "
                "for a shorter time, or some minutes later if many events were just recorded or removed.",
                "input",
            )


_STATE_FIELDS = {"workspace": 1, "created_at": 1, "months": 1, "active": 1, "dirty_months": 1}


def _state_from_doc(doc: Doc) -> PassState:
    return PassState(
        tokens={int(period): token for period, token in doc.get("months", {}).items()},
        active=frozenset(doc.get("active", ())),
        dirty_months=frozenset(doc.get("dirty_months", ())),
    )


def _ranked_from_doc(field: str, doc: Doc) -> RankedPass:
    return RankedPass(doc["pass"], from_decimal128(doc[field]), token=doc["token"], period=doc["period"])


async def are_passes_marked(db: Database, marked: str = MARKED) -> bool:
    """Return whether every pass with events has a mark or sealed months. Raises Unavailable. Index: _id.

    With LAST_MONTHS_MARKED, return whether every pass has a mark or a last month with sums of twelve months.
    """
    with translating_errors():
        progress = await db["constants"].find_one({"_id": marked})
    return bool((progress or {}).get("done"))
