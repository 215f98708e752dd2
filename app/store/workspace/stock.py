"""Named queries over the stock of rewards in one workspace: a unit is a document, whose id names reward and number.

The unique id decides who has a unit. `reward_stocks` only helps to find a free number: it has the next number that no
call was given yet, and some numbers that were freed. A lost update there loses no unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pymongo import DeleteOne

from app.store.mongo.queries import Database, Doc, insert_new

from .restocking import RestockedQueries

MAX_REMEMBERED = 100
"""Freed numbers of a reward that are remembered. Others are found by counting."""
MAX_NUMBERS_READ = 1_000
"""Numbers of units that one search for a gap reads."""


class OpenUnit(NamedTuple):
    """Unit whose redemption the stage `restock` has not seen accepted yet."""

    reward_id: str
    number: int
    redemption_id: str | None
    pass_id: str | None

    @property
    def id(self) -> str:
        """The id of the unit."""
        return unit_id(self.reward_id, self.number)


class StockQueries(RestockedQueries):
    """Units of rewards in one workspace. Errors: Unavailable, safe to repeat."""

    collection = "reward_units"

    def __init__(self, db: Database, workspace_id: str, in_chunk: int) -> None:
        super().__init__(db, workspace_id, in_chunk)
        self._stocks = db["reward_stocks"]

    async def reserve(self, reward_id: str, total: int, count: int) -> list[int]:
        """Return up to `count` numbers that no call was given before; none if the next number exceeds `total`.

        A number that is never inserted is found again as a gap. One round trip, but for the first and last ones. Index: _id.
        """
        doc = await self._advance({"_id": reward_id, "next": {"$lte": total - count + 1}}, count)
        if doc is None:
            if (stock := await self._find_stock(reward_id)) is None:
                first = {"_id": reward_id, "workspace": self._workspace_id, "next": 1, "free": []}
                await insert_new(self._stocks, [first])
                stock = await self._find_stock(reward_id)
            count = 0 if stock is None else min(count, total - stock["next"] + 1)
            if stock is None or count <= 0:
                return []
            doc = await self._advance({"_id": reward_id, "next": stock["next"]}, count)
        return [] if doc is None else list(range(doc["next"], doc["next"] + count))

    async def recall(self, reward_id: str, total: int, count: int) -> list[int]:
        """Return up to `count` numbers that were freed and remembered, and forget them. Two round trips. Index: _id."""
        doc = await self._find_stock(reward_id)
        found: list[int] = [number for number in (doc or {"free": []})["free"] if number <= total][:count]
        if found:
            await self._stocks.update_one({"_id": reward_id}, {"$pull": {"free": {"$in": found}}})
        return found

    async def insert(
        self, reward_id: str, numbers: Sequence[int], *, redemption_id: str, pass_id: str, system_ms: int
    ) -> list[int]:
        """Take units for a redemption, and return the numbers that were free. Index: _id.

        `system_ms` is the instant from which the stage `restock` waits for the event of the redemption.
        """
        docs = [
            self._in_workspace(
                _id=unit_id(reward_id, number), reward=reward_id, n=number, of=redemption_id, open=system_ms,
                **{"pass": pass_id},
            )
            for number in numbers
        ]  # fmt: skip
        existing = await insert_new(self._collection, docs)
        return [number for index, number in enumerate(numbers) if index not in existing]

    async def held(self, redemption_id: str) -> list[tuple[str, int]]:
        """Return the units of a redemption, ascending: the id of the reward, and the number. Index: {workspace, of}."""
        docs = await self._collection.find(self._in_workspace(of=redemption_id), {"reward": 1, "n": 1}).to_list(None)
        return sorted((doc["reward"], doc["n"]) for doc in docs)

    async def count_taken(self, reward_id: str, low: int, high: int) -> int:
        """Return how many of the units from `low` to `high`, both inclusive, are taken. Index: _id."""
        return int(await self._collection.count_documents({"_id": _between(reward_id, low, high)}))

    async def taken(self, reward_id: str, low: int, high: int) -> set[int]:
        """Return the numbers from `low` to `high`, both inclusive, that are taken. Index: _id."""
        docs = await self._collection.find({"_id": _between(reward_id, low, high)}, {"n": 1}).to_list(None)
        return {doc["n"] for doc in docs}

    async def free(self, reward_id: str, redemption_id: str, numbers: Sequence[int]) -> None:
        """Free units that a redemption has. Units of others, and nameless ones, stay. Index: _id.

        If the process crashes after the delete, the numbers are found again as gaps.
        """
        deletes = [DeleteOne({"_id": unit_id(reward_id, number), "of": redemption_id}) for number in numbers]
        if deletes:
            await self._collection.bulk_write(deletes, ordered=False)
        remembered = list(numbers[:MAX_REMEMBERED])
        has_room: Doc = {"_id": reward_id, f"free.{MAX_REMEMBERED - len(remembered)}": {"$exists": False}}
        await self._stocks.update_one(has_room, {"$push": {"free": {"$each": remembered}}})

    async def open_units(self, before_ms: int, limit: int) -> list[OpenUnit]:
        """Return units that were taken or checked before an instant, the oldest first. Index: {open, workspace}."""
        docs = await self._find_open(before_ms, limit)
        return [OpenUnit(doc["reward"], doc["n"], redemption_id=doc.get("of"), pass_id=doc.get("pass")) for doc in docs]

    async def next_numbers(self, reward_ids: Iterable[str]) -> dict[str, int]:
        """Return by reward the number after the highest one that a call was given; rewards without any are left out.

        Index: _id.
        """
        ids = list(reward_ids)
        docs = await self._stocks.find({"_id": {"$in": ids}}, {"next": 1}).to_list(None) if ids else []
        return {doc["_id"]: doc["next"] for doc in docs}

    async def _find_stock(self, reward_id: str) -> Doc | None:
        found: Doc | None = await self._stocks.find_one({"_id": reward_id})
        return found

    async def _advance(self, where: Doc, count: int) -> Doc | None:
        """Add to the next number if the condition holds, and return the document as it was before."""
        found: Doc | None = await self._stocks.find_one_and_update(where, {"$inc": {"next": count}})
        return found


def unit_id(reward_id: str, number: int) -> str:
    """Return the id of a unit. Ids of one reward sort as the numbers do."""
    return f"{reward_id}|{number:07d}"


def _between(reward_id: str, low: int, high: int) -> Doc:
    return {"$gte": unit_id(reward_id, low), "$lte": unit_id(reward_id, high)}
