"""Named queries over what rules made in one workspace: firings, their effects, and figures of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from app.domain.errors import Code, InvalidInput
from app.domain.events.events import POINT_ADD, POINT_SUB, RULE_CHANNEL, RULE_FIRED, Event
from app.domain.rules.statistics import MAX_FIRINGS, BriefFiring, FiringQuery, FiringStatus, ids_of_failed
from app.domain.values.decimals import ZERO, add
from app.domain.values.instants import EARLIEST, LATEST, from_ms, to_ms
from app.store.codecs.events import from_doc, is_event
from app.store.codecs.guards import is_declined
from app.store.mongo.conditions import between
from app.store.mongo.decimal128 import from_decimal128
from app.store.mongo.paging import Page, PageRequest, charge_examined, count_matching, read_page, to_stored_keys
from app.store.mongo.queries import Doc, WorkspaceQueries, in_chunks
from app.store.mongo.usage import charge

RULE = "origin.rule"
OCCURRED = "occurred_at"
_STATUSES: dict[FiringStatus, Doc] = {
    FiringStatus.CONTROL: {"metadata.control": True},
    FiringStatus.FAILED: {"metadata.effects.status": FiringStatus.FAILED.value},
    FiringStatus.SUCCEEDED: {
        "metadata.control": {"$ne": True},
        "metadata.effects.status": {"$ne": FiringStatus.FAILED.value},
    },
}


class FiringQueries(WorkspaceQueries):
    """Firings of one workspace, which are events. Errors: Unavailable, safe to repeat."""

    collection = "events"

    async def page(self, query: FiringQuery, span: PageRequest) -> Page[Event]:
        """Return firings, the newest first; key (occurred ms, id).

        Index: {workspace, pass, occurred_at, _id} with a pass, {workspace, origin.rule, type, occurred_at, _id} with a
        rule, else {workspace, type, occurred_at, _id}.
        """
        where, by = _where(self._in_workspace(), query)
        if not where.keys() <= {*by, OCCURRED}:
            await charge_examined(self._collection, {name: where[name] for name in (*by, OCCURRED)})
        order = ((OCCURRED, -1), ("_id", -1))
        return await read_page(self._collection, where, order, to_stored_keys(span), from_doc, by=by)

    async def count(self, query: FiringQuery) -> int:
        """Return the number of firings. Indexes as for `page`."""
        where, by = _where(self._in_workspace(), query)
        return await count_matching(self._collection, where, by, OCCURRED)

    async def made_for(self, roots: Iterable[str]) -> dict[str, list[Event]]:
        """Return by root of the family what rules made for its events, in the order in which it counts.

        What a walk made a moment ago may only be in the outbox of its pass: read `outboxes.entries` first.
        Index: {workspace, root}.
        """

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            where = self._in_workspace(root={"$in": list(chunk), "$gte": ""})
            return await self._collection.find(where).to_list(None)

        wanted = list(dict.fromkeys(roots))
        found: dict[str, list[Event]] = {root: [] for root in wanted}
        for doc in await in_chunks(find_chunk, wanted, self._in_chunk):
            if is_event(doc) and (event := from_doc(doc)).is_made and event.root is not None:
                found[event.root].append(event)
        return {root: sorted(events, key=lambda event: event.order) for root, events in found.items()}

    async def brief(
        self, rule_id: str, after: datetime | None, before: datetime | None, *path: str
    ) -> list[BriefFiring]:
        """Return all firings of a rule in a period, oldest first. Raises InvalidInput for more than 100,000.

        Index: {workspace, origin.rule, type, occurred_at, _id}.
        """
        where = self._of_rule(rule_id, RULE_FIRED, after, before)
        projection = {"pass": 1, OCCURRED: 1, "metadata.control": 1, "metadata.effects.status": 1}
        docs = await self._read_all(where, projection, (OCCURRED, "_id"), *path)
        return [_brief_of(doc) for doc in docs]

    async def count_retried(self, rule_id: str, after: datetime | None, before: datetime | None) -> int:
        """Return how many of the effects that failed at the firings of a period a retry has made since.

        `brief` has read these firings, so they are 100,000 at most. Indexes: {workspace, origin.rule, type, occurred_at,
        _id}, _id.
        """
        where = self._of_rule(rule_id, RULE_FIRED, after, before)
        # The condition outside the index is a stage of its own: else the embedded servers read the whole workspace.
        stages: list[Doc] = [{"$match": where}, {"$match": _STATUSES[FiringStatus.FAILED]}, {"$limit": MAX_FIRINGS}]
        docs = await self._collection.aggregate(stages).to_list(None)
        await charge(len(docs))
        made_ids = [each for doc in docs if is_event(doc) for each in ids_of_failed(from_doc(doc))]

        async def find_chunk(chunk: Sequence[str]) -> list[Doc]:
            return await self._collection.find(self._by_id({"$in": list(chunk)}), {"type": 1}).to_list(None)

        return sum(is_event(doc) for doc in await in_chunks(find_chunk, made_ids, self._in_chunk))

    async def points_awarded(
        self, rule_id: str, after: datetime | None, before: datetime | None, *path: str
    ) -> Decimal:
        """Return the points that a rule awarded in a period, less what corrections took back in it.

        Index: {workspace, origin.rule, type, occurred_at, _id}. Raises InvalidInput as `brief` does.
        """
        total = ZERO
        for kind, is_reversal in ((POINT_ADD, False), (POINT_SUB, True)):
            where = self._of_rule(rule_id, kind, after, before)
            for doc in await self._read_all(where, {"points": 1, "metadata.reversal": 1}, (OCCURRED, "_id"), *path):
                if bool(doc.get("metadata", {}).get("reversal")) is is_reversal:
                    total = add(total, from_decimal128(doc["points"]))
        return total

    async def conversions(
        self, types: Sequence[str], after: datetime, before: datetime, *path: str
    ) -> AsyncIterator[tuple[str, int]]:
        """Yield (pass id, instant in ms) of the recorded events of some types after an instant, up to another one.

        Declined events are left out.

        Index: {workspace, type, occurred_at, _id}. Raises InvalidInput for more than 1,000,000 events.
        """
        for kind in types:
            where = self._in_workspace(type=kind, occurred_at={"$gt": after, "$lt": before})
            projection = {"pass": 1, OCCURRED: 1, "origin.channel": 1, "outcome.status": 1}
            for doc in await self._read_all(where, projection, (OCCURRED, "_id"), *path, most=10 * MAX_FIRINGS):
                if doc["origin"]["channel"] != RULE_CHANNEL and not is_declined(doc):
                    yield doc["pass"], to_ms(doc[OCCURRED])

    async def first_firings(
        self, rule_id: str, pass_ids: Sequence[str], after: datetime | None, before: datetime | None
    ) -> dict[str, BriefFiring]:
        """Return by pass id the first firing of a rule in a period, without its effects, of those passes that have one.

        Index: {workspace, pass, occurred_at, _id}.
        """
        within = between(OCCURRED, after or EARLIEST, before)
        projection = {"pass": 1, OCCURRED: 1, "metadata.control": 1}

        async def find_first(pass_id: str) -> list[Doc]:
            stages: list[Doc] = [
                {"$match": self._in_workspace(**{"pass": pass_id}) | within},
                {"$match": {RULE: rule_id, "type": RULE_FIRED}},
                {"$sort": {OCCURRED: 1, "_id": 1}},
                {"$limit": 1},
                {"$project": projection},
            ]
            return await self._collection.aggregate(stages).to_list(None)

        found = await asyncio.gather(*map(find_first, pass_ids))
        return {doc["pass"]: _brief_of(doc) for docs in found for doc in docs}

    async def has_converted(self, pass_id: str, types: Sequence[str], fired_ms: int, within_ms: int) -> bool:
        """Return whether a recorded event of some types occurred on a pass after a firing, at most `within_ms` later.

        Index: {workspace, pass, occurred_at, _id}.
        """
        within = {"$gt": from_ms(fired_ms), "$lt": from_ms(min(fired_ms + within_ms + 1, to_ms(LATEST)))}
        stages: list[Doc] = [
            {"$match": self._in_workspace(**{"pass": pass_id, OCCURRED: within})},
            {"$match": {"type": {"$in": list(types)}, "origin.channel": {"$ne": RULE_CHANNEL}}},
            {"$limit": 1},
            {"$project": {"_id": 1}},
        ]
        return bool(await self._collection.aggregate(stages).to_list(None))

    def _of_rule(self, rule_id: str, kind: str, after: datetime | None, before: datetime | None) -> Doc:
        where = self._in_workspace(**{RULE: rule_id, "type": kind})
        return where | between(OCCURRED, after or EARLIEST, before)

    async def _read_all(
        self, where: Doc, projection: Doc, order: Sequence[str], *path: str, most: int = MAX_FIRINGS
    ) -> list[Doc]:
        found = self._collection.find(where, projection).sort([(name, 1) for name in order]).limit(most + 1)
        docs = await found.to_list(None)
        await charge(len(docs))
        if len(docs) > most:
            message = f"More than {most:,} events lie in this period; give a shorter one with `from` and `to`."
            raise InvalidInput(Code.TOO_MANY, message, *path)
        return docs


def _where(where: Doc, query: FiringQuery) -> tuple[Doc, tuple[str, ...]]:
    """Return the filter, and the fields before `occurred_at` of the index that serves it."""
    where["type"] = RULE_FIRED
    where |= between(OCCURRED, query.occurred_after or EARLIEST, query.occurred_before)
    by: tuple[str, ...] = ("workspace", "type")
    if query.rule_id is not None:
        where[RULE] = query.rule_id
        by = ("workspace", RULE, "type")
    if query.pass_id is not None:
        where["pass"] = query.pass_id
        by = ("workspace", "pass")
    if query.status is not None:
        where |= _STATUSES[query.status]
    return where, by


def _brief_of(doc: Doc) -> BriefFiring:
    metadata = doc.get("metadata", {})
    statuses = [result["status"] for result in metadata.get("effects", ())]
    return BriefFiring(
        pass_id=doc["pass"],
        at_ms=to_ms(doc[OCCURRED]),
        is_control=metadata.get("control", False),
        succeeded=statuses.count(FiringStatus.SUCCEEDED.value),
        failed=statuses.count(FiringStatus.FAILED.value),
    )
