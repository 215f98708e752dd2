"""Reads and writes of the seal stage, across workspaces. Only `workers` may import them.

A content is stored under a random token before its head names the token, and it never changes. `check_at` says when
`SealQueries.drop_contents` looks whether the head names it, so that what a crash or a later seal leaves is deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pymongo import UpdateOne

from app.domain.ids import event_type_id
from app.domain.rollups.building import Content
from app.domain.rollups.dimensions import Dimension, Incomplete
from app.domain.rollups.levels import Level
from app.domain.rollups.marks import HeadKey
from app.domain.rollups.plans import Head
from app.domain.rollups.sealing import DirtyPeriod
from app.domain.values.instants import DAY_MS, EARLIEST, HOUR_MS, from_ms, to_ms
from app.domain.values.paths import Steps
from app.store.codecs.rollups import (
    content_ids,
    head_id,
    head_id_of_content,
    token_of_content,
)
from app.store.mongo.queries import Database, Doc, StageQueries, equal_to, insert_new
from app.store.workspace.event_types import EventTypeQueries, attributes_from_doc
from app.store.workspace.rollup_contents import head_from_doc
from app.store.workspace.rollup_heads import IS_DIRTY, mark_heads

from .hours import HourReader, PendingFound
from .pending import id_after

MAX_ATTEMPTS = 5
"""Attempts to record that a dimension overflows. Each one fails only if another change takes its revision."""
KEPT_MS = DAY_MS
"""How long a content is kept that its head does not name: a reader may have read the head a moment before."""


NO_DIMENSIONS: Mapping[Dimension, Steps] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Seal:
    """Content that is about to become valid: under which token, if the head still has this mark."""

    key: HeadKey
    mark: int
    token: int
    parts: Sequence[tuple[str, int]]
    dimensions: Sequence[tuple[str, int]] = ()


class SealQueries(StageQueries):
    """Named queries of the seal stage. Errors: Unavailable, safe to repeat."""

    def __init__(self, db: Database, in_chunk: int, *, is_sharded: bool = False) -> None:
        super().__init__(db, in_chunk, is_sharded=is_sharded)
        self._heads, self._contents, self._events = db["rollup_heads"], db["rollups"], db["events"]
        self._event_types = db["event_types"]

    async def waiting_workspaces(self, after: str, limit: int, known: Collection[str] = ()) -> list[str]:
        """Return the first workspaces behind an id that have dirty heads, without the known ones.

        One round trip for each, and for each known one, because a workspace may have many dirty heads.
        Index: {is_dirty, workspace, level, start}.
        """
        found: list[str] = []
        ahead = sorted(each for each in known if each > after)
        while len(found) < limit:
            # For $gt, the Python server also reads the heads of the workspace itself, however many they are.
            behind: Doc = {"$gte": id_after(after), **({"$lt": ahead[0]} if ahead else {})}
            where = {IS_DIRTY: 1, "workspace": behind}
            doc = await self._heads.find_one(where, {"workspace": 1}, sort=[(IS_DIRTY, 1), ("workspace", 1)])
            if doc is not None:
                after = doc["workspace"]
                found.append(after)
            elif ahead:
                after = ahead.pop(0)
            else:
                break
        return found

    async def dirty(self, workspace_id: str, limit: int, near_ms: int | None = None) -> list[DirtyPeriod]:
        """Return the dirty periods of a workspace that begin last, newest first.

        Before a limit applies, the embedded servers read all that a query finds. So after a call that has found `limit`
        periods, give the beginning of the oldest of them as `near_ms`. The read then goes back from there, part by part.
        Index: {is_dirty, workspace, level, start}.
        """
        found: list[DirtyPeriod] = []
        before: Doc = {}
        lows = [] if near_ms is None else [near_ms - hours * HOUR_MS for hours in (limit, 4 * limit, 16 * limit)]
        for low_ms in lows:
            low = from_ms(max(to_ms(EARLIEST), low_ms))
            found += await self._newest_dirty(workspace_id, {"$gte": low, **before}, limit - len(found))
            if len(found) == limit:
                return found
            before = {"$lt": low}
        return found + await self._newest_dirty(workspace_id, {"$gte": EARLIEST, **before}, limit - len(found))

    async def _newest_dirty(self, workspace_id: str, starts: Doc, limit: int) -> list[DirtyPeriod]:
        fields = {"_id": 0, "level": 1, "start": 1, "dirty": 1}
        where = {IS_DIRTY: 1, "workspace": workspace_id, "start": starts}
        docs = await asyncio.gather(
            *(
                self._read_docs(
                    self._heads, {**where, "level": level.value}, fields, sort=(("start", -1),), limit=limit
                )
                for level in Level
            )
        )
        found = [DirtyPeriod(Level(doc["level"]), to_ms(doc["start"]), doc["dirty"]) for own in docs for doc in own]
        return sorted(found, key=lambda each: each.start_ms, reverse=True)[:limit]

    async def heads(self, keys: Collection[HeadKey]) -> dict[HeadKey, Head]:
        """Return those of the heads that exist. Index: _id."""
        by_id = {head_id(*key): key for key in keys}
        docs = await self._find_by_ids(self._heads, by_id, {each: key.workspace_id for each, key in by_id.items()})
        return {by_id[doc["_id"]]: head_from_doc(doc) for doc in docs}

    async def mark(self, key: HeadKey) -> None:
        """Give a head a new mark. Safe to repeat. Index: _id."""
        await mark_heads(self._db, [key], self._in_chunk, is_sharded=self._is_sharded)

    async def dimensions(self, workspace_id: str) -> dict[Dimension, Steps]:
        """Return the dimensions of the event types of a workspace that do not overflow, with the steps of their paths.

        Index: {workspace, rev}.
        """
        stages: list[Doc] = [
            {"$match": {"workspace": workspace_id, "rev": {"$gt": 0}}},
            {"$match": {"dimensions_version": {"$gt": 0}}},
        ]
        docs = await self._event_types.aggregate(stages).to_list(None)
        return {
            Dimension(doc["key"], each.name): each.steps
            for doc in docs
            for each in attributes_from_doc(doc)
            if each.dimension and not each.overflowing
        }

    async def mark_overflowing(self, workspace_id: str, dimension: Dimension) -> None:
        """Record that a dimension has too many values. Safe to repeat. Indexes: {workspace, rev}, _id.

        The next seal that finds too many values records it, if others change the event types all the while.
        """
        event_types = EventTypeQueries(self._db, workspace_id, self._in_chunk)
        type_id = event_type_id(workspace_id, dimension.type)
        for _ in range(MAX_ATTEMPTS):
            if await event_types.mark_overflowing(type_id, dimension.path, await event_types.revision() + 1):
                return

    async def read_hour(
        self,
        workspace_id: str,
        start_ms: int,
        give_way: Callable[[], Awaitable[None]] | None,
        dimensions: Mapping[Dimension, Steps] = NO_DIMENSIONS,
    ) -> tuple[Content, Incomplete] | None:
        """Return the content of an hour from its events, and what it cannot claim; None if one of them is pending.

        It has rows by source, and those of dimensions. Parked events count as absent. Events are read in parts, with
        `give_way` between them, so the memory that it takes does not depend on how many there are. Without `give_way`, the
        hour is urgent, and some parts are read at the same time.
        Indexes: {workspace, occurred_at, _id}, {workspace, type, occurred_at, _id}.
        """
        reader = HourReader(self._events, workspace_id, give_way=give_way, dimensions=dimensions)
        try:
            return await reader.read(start_ms)
        except PendingFound:
            return None

    async def contents(self, heads: Mapping[HeadKey, Head]) -> dict[HeadKey, list[Doc]]:
        """Return the documents of the valid contents of heads. Index: _id.

        A head is left out if a document is missing.
        """
        ids = {key: content_ids(*key, token=head.token, kinds=head.kinds) for key, head in heads.items()}
        workspace_ids = {each: key.workspace_id for key, own in ids.items() for each in own}
        docs = {doc["_id"]: doc for doc in await self._find_by_ids(self._contents, workspace_ids, workspace_ids)}
        return {key: [docs[each] for each in own] for key, own in ids.items() if docs.keys() >= set(own)}

    async def insert(self, contents: Sequence[Doc], mark_of: Mapping[str, int], now_ms: int) -> None:
        """Insert the documents of contents that no head names yet. `mark_of` has the mark of each head, by its id.

        Not safe to repeat under the same tokens. `now_ms` is system time.
        """
        docs = [
            {**doc, "mark": mark_of[head_id_of_content(doc["_id"])], "check_at": now_ms + KEPT_MS} for doc in contents
        ]
        await insert_new(self._contents, docs)

    async def expire(self, heads: Mapping[HeadKey, Head], now_ms: int) -> None:
        """Let the valid contents of heads be checked in a day, because others are about to replace them. Index: _id."""
        ids = [each for key, head in heads.items() for each in content_ids(*key, token=head.token, kinds=head.kinds)]
        for start in range(0, len(ids), self._in_chunk):
            chunk = ids[start : start + self._in_chunk]
            await self._contents.update_many({"_id": {"$in": chunk}}, {"$set": {"check_at": now_ms + KEPT_MS}})

    async def commit(self, seals: Sequence[Seal]) -> int:
        """Make contents valid whose head still has the mark, and return how many became valid. Index: _id.

        Safe to repeat: a seal that became valid is not repeated, because its head has no mark any more.
        """
        updates = [
            UpdateOne(
                self._by_id(head_id(*seal.key), seal.key.workspace_id, dirty=equal_to(seal.mark)),
                _commit_update(seal),
            )
            for seal in seals
        ]
        return int((await self._heads.bulk_write(updates, ordered=False)).modified_count) if updates else 0

    async def drop_contents(self, now_ms: int, limit: int) -> bool:
        """Delete contents that no head names, and return whether more may be left. Safe to repeat. Index: {check_at}.

        Looks at up to `limit` documents whose time to be checked has come. It deletes those that their head neither names
        nor will name: a slow worker makes a content valid only while the head has the content's mark. `now_ms` is
        system time.
        """
        fields = {"workspace": 1, "mark": 1, "check_at": 1}
        docs = await self._read_docs(
            self._contents, {"check_at": {"$gte": 0, "$lte": now_ms}}, fields, sort=(("check_at", 1),), limit=limit
        )
        owners = {head_id_of_content(doc["_id"]): doc["workspace"] for doc in docs}
        heads = {doc["_id"]: doc for doc in await self._find_by_ids(self._heads, owners, owners)}
        keep: list[UpdateOne] = []
        drop: list[str] = []
        for doc in docs:
            head = heads.get(head_id_of_content(doc["_id"]), {})
            # A seal under way has postponed the check meanwhile: then the document stays as it is.
            unchanged = self._by_id(doc["_id"], doc["workspace"], check_at=equal_to(doc["check_at"]))
            if str(head.get("sealed")) == token_of_content(doc["_id"]):
                keep.append(UpdateOne(unchanged, {"$unset": {"check_at": ""}}))
            elif head.get("dirty") == doc["mark"]:
                keep.append(UpdateOne(unchanged, {"$set": {"check_at": now_ms + KEPT_MS}}))
            else:
                drop.append(doc["_id"])
        if keep:
            await self._contents.bulk_write(keep, ordered=False)
        for start in range(0, len(drop), self._in_chunk):
            await self._contents.delete_many({"_id": {"$in": drop[start : start + self._in_chunk]}})
        return len(docs) == limit


def _commit_update(seal: Seal) -> Doc:
    named: Doc = {"sealed": seal.token, "types": [list(each) for each in seal.parts]}
    if seal.dimensions:
        named["dimensions"] = [list(each) for each in seal.dimensions]
        return {"$set": named, "$unset": {"dirty": "", IS_DIRTY: ""}}
    return {"$set": named, "$unset": {"dirty": "", IS_DIRTY: "", "dimensions": ""}}
