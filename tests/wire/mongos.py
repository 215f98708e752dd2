"""What the router of a sharded MongoDB refuses, sends to every shard, or applies an uncertain number of times.

The rules stand before one store, so they show which commands a sharded cluster would serve badly, not what it answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bson import Timestamp

from app.store.operations.sharding import SHARD_KEYS
from tests.wire.framing import Command, Doc
from tests.wire.proxy import Forward, Rule, refusal, rule

CANNOT_CREATE_INDEX, SHARD_KEY_NOT_FOUND = 67, 61
STATEMENTS = {"update": "updates", "delete": "deletes"}
"""The list of statements in a command of this name."""


@rule("createIndexes")
async def refuse_unique_indexes(command: Command, forward: Forward) -> Doc:
    """Refuse an index that is unique and does not begin with the shard key: no shard could guard it alone."""
    key = list(SHARD_KEYS.get(command.collection, ()))
    for index in command.items("indexes"):
        if index.get("unique") and list(index["key"])[: len(key)] != key:
            return refusal(CANNOT_CREATE_INDEX, "CannotCreateIndex", f"unique {list(index['key'])} needs {key} first")
    return await forward(command)


@rule("update", "delete", "findAndModify")
async def refuse_single_writes(command: Command, forward: Forward) -> Doc:
    """Refuse to write one document if the filter does not give the whole shard key. Servers before 7.0 refuse most."""
    key = SHARD_KEYS.get(command.collection, {})
    if any(not names(each, field) for field in key for each in single_write_filters(command)):
        return refusal(SHARD_KEY_NOT_FOUND, "ShardKeyNotFound", f"{command.name} needs {key}")
    return await forward(command)


def names(condition: Mapping[str, Any], field: str) -> bool:
    """Return whether the filter gives values of a field of the shard key. A hash serves no range.

    The values of the first field lead the router to the shards that have some of them.
    """
    value = condition.get(field)
    return field in condition and (not isinstance(value, dict) or value.keys() <= {"$in", "$eq"})


def single_write_filters(command: Command) -> list[Doc]:
    """Return the filters of the statements that write at most one document."""
    if command.name == "findAndModify":
        return [command.body["query"]]
    is_many = {"update": lambda each: each.get("multi", False), "delete": lambda each: each["limit"] == 0}
    return [each["q"] for each in command.items(STATEMENTS[command.name]) if not is_many[command.name](each)]


def filters_of(command: Command) -> list[Doc]:
    """Return the filters of a command: one, or one for each statement of a bulk write."""
    if command.name in STATEMENTS:
        return [each["q"] for each in command.items(STATEMENTS[command.name])]
    if command.name == "aggregate":
        pipeline = command.body["pipeline"]
        return [pipeline[0].get("$match", {}) if pipeline else {}]
    where: Doc = command.body.get("filter") or command.body.get("query") or {}
    return [where]


@dataclass
class Broadcasts:
    """Counts the operations that a router would send to every shard, by what the test does meanwhile."""

    doing: str = ""
    sent: dict[str, Counter[str]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def during(self, doing: str) -> Iterator[None]:
        """Count what is sent in the block under this name."""
        self.doing = doing
        self.sent.setdefault(doing, Counter())
        yield
        self.doing = ""

    def rule(self) -> Rule:
        """Return the rule that counts."""

        @rule("find", "aggregate", "count", "distinct", "update", "delete", "findAndModify")
        async def count(command: Command, forward: Forward) -> Doc:
            if self.doing and command.collection in SHARD_KEYS:
                self.asked[self.doing] += 1
                first = next(iter(SHARD_KEYS[command.collection]))
                shapes = {" ".join(sorted(each)) for each in filters_of(command) if not names(each, first)}
                for shape in shapes:
                    self.sent[self.doing][f"{command.name} {command.collection} by {shape}"] += 1
            return await forward(command)

        return count


@dataclass
class ShardClocks:
    """Gives each read of passes, or of another collection, a later time. Notes the times at which events are read."""

    collection: str = "passes"

    read_at: list[Timestamp] = field(default_factory=list)
    events_from: list[Timestamp | None] = field(default_factory=list)
    """For each read of events by id: the time of which the shard must know all writes."""

    def rule(self) -> Rule:
        """Return the rule that gives and notes times."""

        @rule("find")
        async def tell(command: Command, forward: Forward) -> Doc:
            from_time = command.body.get("readConcern", {}).pop("afterClusterTime", None)
            if command.collection == "events" and "_id" in command.body["filter"]:
                self.events_from.append(from_time)
            reply = await forward(command)
            if command.collection == self.collection:
                self.read_at.append(Timestamp(2_000_000_000 + len(self.read_at), 1))
                reply["operationTime"] = self.read_at[-1]
            return reply

        return tell


def apply_many(times: int) -> Rule:
    """Return a rule that applies each update of many documents this often, as during the migration of a chunk.

    The answer does not tell: https://jira.mongodb.org/browse/SERVER-20361. Only collections with shards are concerned.
    """

    @rule("update")
    async def apply(command: Command, forward: Forward) -> Doc:
        updates = command.items("updates")
        if command.collection not in SHARD_KEYS or not any(each.get("multi") for each in updates):
            return await forward(command)
        assert all(each.get("multi") for each in updates), "a bulk write mixes updates of one and of many documents"
        reply: Doc = {"ok": 1.0, "n": 1, "nModified": 1}
        for _ in range(times):
            reply = await forward(command)
        return reply

    return apply


@dataclass
class Router:
    """Answers the commands of mongos that no other server has, and notes which collections were divided."""

    keys: dict[str, Doc] = field(default_factory=dict)
    indexes: list[tuple[str, list[str]]] = field(default_factory=list)
    is_balanced: bool = False

    def rules(self) -> list[Rule]:
        """Return the rules of the router."""

        @rule("hello", "isMaster", "ismaster")
        async def greet(command: Command, forward: Forward) -> Doc:
            reply = await forward(command)
            return {name: value for name, value in reply.items() if name not in {"setName", "hosts", "me"}} | {
                "msg": "isdbgrid"
            }

        @rule("shardCollection", "balancerCollectionStatus")
        async def answer(command: Command, forward: Forward) -> Doc:
            _, _, collection = str(command.body[command.name]).partition(".")
            if command.name == "balancerCollectionStatus":
                return {"ok": 1.0, "balancerCompliant": self.is_balanced}
            key = dict(command.body["key"])
            if self.keys.setdefault(collection, key) != key:
                return refusal(23, "AlreadyInitialized", "divided by another key")
            return {"ok": 1.0, "collectionsharded": command.body[command.name]}

        @rule("createIndexes")
        async def take_hashed(command: Command, forward: Forward) -> Doc:
            hashed = [index for index in command.items("indexes") if "hashed" in index["key"].values()]
            if not hashed:
                return await forward(command)
            self.indexes += [(command.collection, list(index["key"])) for index in hashed]
            return {"ok": 1.0}

        return [greet, answer, take_hashed]
